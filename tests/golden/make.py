"""The golden records, and how their files were made: python -m tests.golden.make (only for a new schema version)."""

from __future__ import annotations

from pathlib import Path

from stream_app.records.capture import Channel, IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.deployment import (
    Deployment,
    DeploymentState,
    ModelStatus,
    Route,
    RouteMode,
    RunningVersion,
    Split,
)
from stream_app.records.fix import CacheOutcome, Fix, Timings

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
)


def main() -> None:
    """Writes all files."""
    codecs = Codecs()
    (FOLDER / "iq_capture.1.bin").write_bytes(codecs.encode_capture(CAPTURE))
    (FOLDER / "fix.1.bin").write_bytes(codecs.encode_fix(FIX))
    (FOLDER / "deployment.1.bin").write_bytes(codecs.encode_deployment(DEPLOYMENT))
    (FOLDER / "model_status.1.bin").write_bytes(codecs.encode_status(STATUS))


if __name__ == "__main__":
    main()
