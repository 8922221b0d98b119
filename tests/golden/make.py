"""The golden records, and how their files were made: python -m tests.golden.make (only for a new schema version)."""

from __future__ import annotations

from pathlib import Path

from stream_app.records.capture import Channel, IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.deployment import (
    BeaconLevel,
    BeaconStatus,
    Deployment,
    DeploymentState,
    ModelStatus,
    ReceiverClock,
    Route,
    RouteMode,
    RunningVersion,
    Split,
)
from stream_app.records.fix import CacheOutcome, Fix, Timings
from stream_app.records.reception import IqReception
from stream_app.records.track import Track, TrackState

FOLDER = Path(__file__).parent

CAPTURE = IqCapture(
    capture_id="golden-1",
    network="golden",
    captured_at_us=1_700_000_000_123_456,
    center_frequency_hz=433.92e6,
    channels=(
        Channel("a", 47.5, 9.25, 450.0, 1_700_000_000_123_456_789, 1e6, "ci16_le", 2, bytes(range(8)), 15.0, "GPSDO"),
        Channel("b", -33.5, -70.75, 12.5, 1_700_000_000_123_456_000, 1_000_012.5, "cu8", 3, bytes(range(6))),
        Channel("c", 0.0, 180.0, 0.0, 0, 0.5, "cf32_le", 2, bytes(16), 0.0, "NONE", -3.0, "north", 0.25, True),
    ),
    metadata={"campaign": "März"},
)
RECEPTION = IqReception("golden", 433.92e6, 1_700_000_000_123_456, CAPTURE.channels[0], {"firmware": "2.1"})
FIX = Fix(
    capture_id="golden-1",
    network="golden",
    captured_at_us=1_700_000_000_123_456,
    center_frequency_hz=433.92e6,
    latitude=47.75,
    longitude=9.125,
    cov_east_m2=25.0,
    cov_north_m2=9.0,
    cov_east_north_m2=-2.5,
    sigma_x_m=5.0,
    sigma_y_m=3.0,
    theta_rad=0.5,
    semi_major_m=12.0,
    semi_minor_m=7.0,
    orientation_deg=61.0,
    confidence=0.95,
    outline_geojson='{"type":"Polygon","coordinates":[]}',
    model_name="fixstream-tdoa",
    model_version="7",
    fallback=False,
    model_confidence=0.875,
    border=True,
    cache=CacheOutcome.FEATURES,
    timings=Timings(0.5, 1.25, 2.0, 8.0),
    receivers=("a", "b", "c"),
    distrusted=("b",),
)
TRACK = Track(
    track_id="golden/433920000/1",
    network="golden",
    center_frequency_hz=433.92e6,
    state=TrackState.CONFIRMED,
    at_us=1_700_000_000_123_456,
    started_at_us=1_699_999_990_123_456,
    latitude=47.75,
    longitude=9.125,
    velocity_east_m_s=3.0,
    velocity_north_m_s=4.0,
    covariance=tuple(float(number) for number in range(16)),
    semi_major_m=12.0,
    semi_minor_m=7.0,
    orientation_deg=61.0,
    confidence=0.95,
    speed_m_s=5.0,
    speed_sigma_m_s=0.5,
    course_deg=36.875,
    course_sigma_deg=5.75,
    fixes=101,
    rejected=2,
    capture_id="golden-1",
)

DEPLOYMENT = Deployment(
    model_name="fixstream-tdoa",
    revision=12,
    routes=(Route("7", 90.0), Route("@challenger", 10.0), Route("9", 0.5, RouteMode.SHADOW)),
    split=Split.KEY,
    issued_by="operator@host",
    issued_at_us=1_700_000_000_123_456,
    note="Käfer behoben",
)
STATUS = ModelStatus(
    worker="host-4711",
    model_name="fixstream-tdoa",
    revision=13,
    state=DeploymentState.REFUSED,
    running_revision=12,
    versions=(
        RunningVersion("7", "7", "ab" * 32, 90.0, RouteMode.LIVE),
        RunningVersion("@challenger", "8", "cd" * 32, 10.0, RouteMode.LIVE, suspended=True),
        RunningVersion("9", "9", "ef" * 32, 0.5, RouteMode.SHADOW),
    ),
    reason="the registry has no version 14",
    at_us=1_700_000_000_654_321,
    beacons=(BeaconStatus("golden", "mast", 200, 0.625, 0.9375, 1.5, -2.5, 4.0, BeaconLevel.WATCH),),
    clocks=(ReceiverClock("golden", "b", 850.0, 12.5, 400, True),),
)

# What each file holds; a record's newest version is what is written now, and files of earlier ones stay.
WRITTEN = {"iq_capture": 1, "iq_reception": 1, "fix": 2, "track": 1, "deployment": 1, "model_status": 2}


def main() -> None:
    """Writes all files."""
    codecs = Codecs()
    encoded = {
        "iq_capture": codecs.encode_capture(CAPTURE),
        "iq_reception": codecs.encode_reception(RECEPTION),
        "fix": codecs.encode_fix(FIX),
        "track": codecs.encode_track(TRACK),
        "deployment": codecs.encode_deployment(DEPLOYMENT),
        "model_status": codecs.encode_status(STATUS),
    }
    for name, value in encoded.items():
        (FOLDER / f"{name}.{WRITTEN[name]}.bin").write_bytes(value)


if __name__ == "__main__":
    main()
