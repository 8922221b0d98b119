"""Records on the wire: golden bytes, every value back, and broken bytes refused in words."""

from __future__ import annotations

import json
import struct
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.errors import CaptureError, InvalidCapture, UndecodableRecord, UnknownSchema
from stream_app.records.capture import BYTES_PER_SAMPLE, Channel, IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome
from stream_app.records.schemas import shipped_dir
from stream_app.records.validate import LATEST_NS, LATEST_US
from tests.golden.make import CAPTURE, DEPLOYMENT, FIX, FOLDER, RECEPTION, STATUS, TRACK, WRITTEN
from tests.support.bad_input import BYTES

CODECS = Codecs()
RECORDS = {
    "iq_capture": CAPTURE,
    "iq_reception": RECEPTION,
    "fix": FIX,
    "track": TRACK,
    "deployment": DEPLOYMENT,
    "model_status": STATUS,
}


def _crc64(data: bytes) -> int:
    """CRC-64-AVRO as the Avro specification defines it, bit by bit."""
    empty = 0xC15D213AA4D7A795
    value = empty
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (empty if value & 1 else 0)
    return value


def _shipped(name: str) -> Any:
    return json.loads((shipped_dir() / name / f"{WRITTEN[name]}.avsc").read_text())


def _golden(name: str, version: int | None = None) -> bytes:
    return (FOLDER / f"{name}.{version or WRITTEN[name]}.bin").read_bytes()


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("iq_capture", CODECS.encode_capture),
        ("iq_reception", CODECS.encode_reception),
        ("fix", CODECS.encode_fix),
        ("track", CODECS.encode_track),
        ("deployment", CODECS.encode_deployment),
        ("model_status", CODECS.encode_status),
    ],
)
def test_golden_bytes_stay_as_they_are(name: str, encode: Any) -> None:
    assert encode(RECORDS[name]) == _golden(name)


def test_golden_files_are_read() -> None:
    assert CODECS.decode_capture(_golden("iq_capture")) == CAPTURE
    assert CODECS.decode_reception(_golden("iq_reception")) == RECEPTION
    assert CODECS.decode_fix(_golden("fix")) == FIX
    assert CODECS.decode_track(_golden("track")) == TRACK
    assert CODECS.decode_deployment(_golden("deployment")) == DEPLOYMENT
    assert CODECS.decode_status(_golden("model_status")) == STATUS


def test_records_of_earlier_versions_get_the_defaults_of_what_came_later() -> None:
    assert CODECS.decode_fix(_golden("fix", 1)) == replace(FIX, receivers=(), distrusted=())
    assert CODECS.decode_status(_golden("model_status", 1)) == replace(STATUS, beacons=(), clocks=())


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_the_header_is_the_marker_and_the_schemas_crc(name: str) -> None:
    canonical = fastavro.schema.to_parsing_canonical_form(_shipped(name))
    header = b"\xc3\x01" + struct.pack("<Q", _crc64(canonical.encode()))
    assert _golden(name)[:10] == header


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_field_says_what_it_means(name: str) -> None:
    def undocumented(schema: Any, path: str) -> list[str]:
        if isinstance(schema, list):
            return [each for branch in schema for each in undocumented(branch, path)]
        if not isinstance(schema, dict):
            return []
        found = [f"{path}.{f['name']}" for f in schema.get("fields", []) if not f.get("doc")]
        for field in schema.get("fields", []):
            found += undocumented(field["type"], f"{path}.{field['name']}")
        return found + undocumented(schema.get("items"), path)

    assert undocumented(_shipped(name), name) == []


_names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
)  # without control characters
_moments = st.integers(0, LATEST_US - 1)
_times = st.integers(0, LATEST_NS - 1)


@st.composite
def _channels(draw: st.DrawFn, name: str) -> Channel:
    kind = draw(st.sampled_from(sorted(BYTES_PER_SAMPLE)))
    count = draw(st.integers(2, 9))
    size = count * BYTES_PER_SAMPLE[kind]
    numbers = st.lists(st.floats(-1e9, 1e9, width=32), min_size=2 * count, max_size=2 * count)
    floats = numbers.map(lambda values: struct.pack(f"<{len(values)}f", *values))
    return Channel(
        name,
        draw(st.floats(-90, 90)),
        draw(st.floats(-180, 180)),
        draw(st.floats(-1000, 1e6)),
        draw(_times),
        draw(st.floats(1e-3, 1e11)),
        kind,
        count,
        draw(floats if kind == "cf32_le" else st.binary(min_size=size, max_size=size)),
        draw(st.none() | st.floats(0, 1e9)),
        draw(st.none() | st.sampled_from(["NONE", "NTP", "PTP", "GPS", "GPSDO", "OTHER"])),
        draw(st.none() | st.floats(-200, 200)),
        draw(st.none() | _names),
        draw(st.none() | st.floats(0, 1)),
        draw(st.none() | st.booleans()),
    )


@st.composite
def _captures(draw: st.DrawFn) -> IqCapture:
    names = draw(st.lists(_names, min_size=1, max_size=4, unique=True))
    return IqCapture(
        draw(_names),
        draw(_names),
        draw(_moments),
        draw(st.floats(0, 1e12)),
        tuple(draw(_channels(name)) for name in names),
        draw(st.dictionaries(_names, st.text(max_size=9), max_size=3)),
    )


@given(_captures())
def test_a_capture_comes_back_as_it_was(capture: IqCapture) -> None:
    assert CODECS.decode_capture(CODECS.encode_capture(capture)) == capture


@given(st.sampled_from(list(CacheOutcome)), st.floats(-90, 90), st.none() | st.text(), st.none() | st.floats(0, 1))
def test_a_fix_comes_back_as_it_was(
    cache: CacheOutcome, latitude: float, outline: str | None, confidence: float | None
) -> None:
    fix = replace(FIX, cache=cache, latitude=latitude, outline_geojson=outline, model_confidence=confidence)
    assert CODECS.decode_fix(CODECS.encode_fix(fix)) == fix


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_else(data: bytes) -> None:
    for decode in (
        CODECS.decode_capture,
        CODECS.decode_reception,
        CODECS.decode_fix,
        CODECS.decode_track,
        CODECS.decode_deployment,
        CODECS.decode_status,
    ):
        with pytest.raises(UndecodableRecord):
            decode(data)


@given(st.data())
def test_a_record_that_was_cut_or_changed_is_a_capture_or_a_clear_error(data: st.DataObject) -> None:
    whole = bytearray(_golden("iq_capture"))
    whole[data.draw(st.integers(10, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with suppress(CaptureError):
        assert isinstance(CODECS.decode_capture(cut), IqCapture)


def test_an_unknown_schema_is_named_by_its_fingerprint() -> None:
    with pytest.raises(UnknownSchema, match="0011223344556677"):
        CODECS.decode_capture(bytes.fromhex("c3010011223344556677"))


def test_bytes_behind_the_record_are_refused() -> None:
    with pytest.raises(UndecodableRecord, match="3 bytes before"):
        CODECS.decode_capture(CODECS.encode_capture(CAPTURE) + b"abc")


def _written(schema: Any, record: dict[str, Any], folder: Path) -> bytes:
    """The record as a producer with that schema writes it, the schema given to FixStream in ``folder``."""
    (folder / "theirs.avsc").write_text(json.dumps(schema))
    out = BytesIO()
    mark = _crc64(fastavro.schema.to_parsing_canonical_form(schema).encode())
    out.write(b"\xc3\x01" + struct.pack("<Q", mark))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def _record(keep: set[str] | None = None) -> dict[str, Any]:
    names = keep or set(Channel.__dataclass_fields__)
    return {
        "capture_id": CAPTURE.capture_id,
        "network": CAPTURE.network,
        "captured_at": CAPTURE.captured_at_us,
        "center_frequency_hz": CAPTURE.center_frequency_hz,
        "metadata": CAPTURE.metadata,
        "channels": [{n: getattr(c, n) for n in names} for c in CAPTURE.channels],
    }


def test_a_newer_writer_with_a_field_more_is_resolved(tmp_path: Path) -> None:
    schema = _shipped("iq_capture")
    schema["fields"].append({"name": "weather", "type": "string", "default": "", "doc": "new"})
    value = _written(schema, _record() | {"weather": "fog"}, tmp_path)
    assert Codecs(str(tmp_path)).decode_capture(value) == CAPTURE
    with pytest.raises(UnknownSchema):
        CODECS.decode_capture(value)


def test_an_older_writer_with_a_field_less_gets_its_default(tmp_path: Path) -> None:
    schema = _shipped("iq_capture")
    items = next(f for f in schema["fields"] if f["name"] == "channels")["type"]["items"]
    items["fields"] = [f for f in items["fields"] if f["name"] != "overload"]
    keep = set(Channel.__dataclass_fields__) - {"overload"}
    expected = replace(CAPTURE, channels=tuple(replace(c, overload=None) for c in CAPTURE.channels))
    value = _written(schema, _record(keep), tmp_path)
    assert Codecs(str(tmp_path)).decode_capture(value) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sample_count": 5}, "20 bytes of ci16_le, but 8 bytes came"),
        ({"latitude": 91.0}, "latitude"),
        ({"latitude": float("nan")}, "latitude"),
        ({"longitude": -181.0}, "longitude"),
        ({"sample_rate_hz": 0.0}, "sample_rate_hz"),
        ({"datatype": "ci12"}, "datatype 'ci12'"),
        ({"start_sigma_ns": -1.0}, "start_sigma_ns"),
        ({"loss_ratio": 1.5}, "loss_ratio"),
        ({"receiver_id": "b"}, "twice"),
    ],
)
def test_what_cannot_be_true_is_named(change: dict[str, Any], words: str) -> None:
    wrong = replace(CAPTURE, channels=(replace(CAPTURE.channels[0], **change), *CAPTURE.channels[1:]))
    with pytest.raises(InvalidCapture, match=words) as raised:
        CODECS.decode_capture(CODECS.encode_capture(wrong))
    assert "golden-1" in str(raised.value)


def test_items_are_counted_before_any_is_made() -> None:
    for bad in BYTES:
        if bad.name in ("70,000 channels", "a million notes"):
            value = bad.make(CAPTURE)
            tracemalloc.start()
            try:
                with pytest.raises(UndecodableRecord, match="at most 65536 are read"):
                    CODECS.decode_capture(value)
                assert tracemalloc.get_traced_memory()[1] < 100_000
            finally:
                tracemalloc.stop()


def test_long_records_are_scanned_to_their_end() -> None:
    channels = tuple(replace(each, antenna_id=each.antenna_id or "mast") for each in CAPTURE.channels)
    long = replace(channels[0], sample_count=100_000, samples=bytes(range(250)) * 1600)
    capture = replace(CAPTURE, channels=(long, *channels[1:]))
    assert CODECS.decode_capture(CODECS.encode_capture(capture)) == capture
