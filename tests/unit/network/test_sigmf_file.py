"""SigMF recordings, written by the sigmf package, become captures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_app.errors import NetworkFileError, RecordingError
from stream_app.network.sources import Given, captures_from, read_recordings, receptions_from
from stream_app.records.capture import IqCapture
from stream_app.records.validate import check_capture
from tests.unit.network.networks import network

sigmf = pytest.importorskip("sigmf")

_TYPES = {"cu8": "u1", "ci8": "i1", "ci16_le": "<i2", "ci32_le": "<i4", "cf32_le": "<f4"}
_AT = "2023-11-14T22:13:20.000000123Z"
_AT_NS = 1_700_000_000_000_000_123


def make(
    folder: Path,
    name: str = "a",
    datatype: str = "ci16_le",
    count: int = 3000,
    channels: int = 1,
    captures: list[tuple[int, dict[str, Any]]] | None = None,
    annotations: list[tuple[int, int | None]] | None = None,
    archive: bool = False,
    **fields: Any,
) -> Path:
    """A recording as the package writes it; values of the samples run on through all channels."""
    data = folder / f"{name}.sigmf-data"
    (np.arange(2 * count * channels) % 100).astype(_TYPES.get(datatype, "<f8")).tofile(data)
    about = {"core:datatype": datatype, "core:sample_rate": 1000.0, "core:num_channels": channels}
    file = sigmf.SigMFFile(data_file=data, global_info=about | {f"core:{key}": value for key, value in fields.items()})
    for first, more in captures or [(0, {"core:datetime": _AT, "core:frequency": 433.92e6})]:
        file.add_capture(first, more)
    for first, length in annotations or []:
        file.add_annotation(first, length, {"core:label": "burst"})
    if archive:
        file.archive(folder / f"{name}.sigmf")
        data.unlink()
        return folder / f"{name}.sigmf"
    file.tofile(folder / f"{name}.sigmf-meta", skip_validate=True)
    return folder / f"{name}.sigmf-meta"


def _captures(paths: list[Path], seconds: float | None = None, **given: Any) -> list[IqCapture]:
    total, found = captures_from(paths, network(), seconds, Given(**given))
    captures = list(found)
    assert total == len(captures)
    for capture in captures:
        check_capture(capture)
    return captures


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("datatype", list(_TYPES))
def test_samples_of_each_datatype_come_as_they_are_stored(tmp_path: Path, datatype: str, archive: bool) -> None:
    paths = [make(tmp_path, name, datatype, archive=archive) for name in ("a", "b")]
    captures = _captures(paths)
    # The first sample is 123 ns late, which is less than a sample's 1 ms.
    assert [capture.captured_at_us for capture in captures] == [1_700_000_000_000_000 + n * 10**6 for n in range(3)]
    first = captures[1].channels[0]
    wanted = (np.arange(2000, 4000) % 100).astype(_TYPES[datatype])
    np.testing.assert_array_equal(np.frombuffer(first.samples, _TYPES[datatype]), wanted)
    assert (first.datatype, first.sample_count, first.sample_rate_hz) == (datatype, 1000, 1000.0)
    assert first.start_time_ns == _AT_NS + 10**9
    assert (first.latitude, first.longitude, first.altitude_m) == (47.8, 9.0, 400)  # the network file's
    assert captures[0].center_frequency_hz == 433.92e6


@pytest.mark.parametrize(("datatype"), ["rf32_le", "ci16_be", "cf64_le", "cu16_le"])
@pytest.mark.parametrize("archive", [False, True])
def test_other_datatypes_are_named(tmp_path: Path, datatype: str, archive: bool) -> None:
    with pytest.raises(
        RecordingError, match=f"holds samples of {datatype}: cu8, ci8, ci16_le, ci32_le, cf32_le are read"
    ):
        read_recordings([make(tmp_path, datatype=datatype, archive=archive)], Given())


def test_each_annotation_is_one_slot(tmp_path: Path) -> None:
    marks: list[tuple[int, int | None]] = [(100, 50), (700, 333), (900, 10), (1000, None), (2990, 10)]
    paths = [make(tmp_path, "a", annotations=marks), make(tmp_path, "b")]
    captures = _captures(paths)
    assert [c.captured_at_us - _AT_NS // 1000 for c in captures] == [100_000, 700_000, 900_000, 2_990_000]
    for capture, (first, count) in zip(captures, [mark for mark in marks if mark[1]], strict=True):
        for channel in capture.channels:
            assert channel.start_time_ns == _AT_NS + first * 10**6
            assert np.frombuffer(channel.samples, "<i2")[0] == 2 * first % 100
            assert channel.sample_count == count
    assert len(_captures(paths, 0.5)) == 6  # a length that is given goes first


def test_interleaved_channels_are_receivers(tmp_path: Path) -> None:
    path = make(tmp_path, "both", channels=3, annotations=[(10, 20)])
    (capture,) = _captures([path], receivers=("a", "b", "c"))
    assert [channel.receiver_id for channel in capture.channels] == ["a", "b", "c"]
    for number, channel in enumerate(capture.channels):
        frames = np.frombuffer(channel.samples, "<i2").reshape(-1, 2)
        assert list(frames[0]) == [(6 * 10 + 2 * number) % 100, (6 * 10 + 2 * number + 1) % 100]
        assert list(frames[1] - frames[0]) == [6, 6]


def test_metadata_may_name_the_channels(tmp_path: Path) -> None:
    path = make(tmp_path, "both", channels=2)
    text = json.loads(path.read_text())
    text["global"]["fixstream:receivers"] = ["c", "a"]
    path.write_text(json.dumps(text))
    assert [channel.receiver_id for channel in _captures([path])[0].channels] == ["c", "a"]


@pytest.mark.parametrize("where", ["captures", "global"])
def test_where_it_was_recorded_goes_before_the_network_file(tmp_path: Path, where: str) -> None:
    place = {"type": "Point", "coordinates": [8.5, 47.25, 612.5]}
    if where == "captures":
        first = make(tmp_path, "a", captures=[(0, {"core:datetime": _AT, "core:geolocation": place})])
    else:
        first = make(tmp_path, "a", geolocation=place)
    a, b = _captures([first, make(tmp_path, "b")])[0].channels
    assert (a.latitude, a.longitude, a.altitude_m) == (47.25, 8.5, 612.5)
    assert (b.latitude, b.longitude, b.altitude_m) == (47.75, 9.15, 900)


def test_a_place_without_height_keeps_the_network_files(tmp_path: Path) -> None:
    place = {"type": "Point", "coordinates": [8.5, 47.25]}
    paths = [make(tmp_path, "a", geolocation=place), make(tmp_path, "b")]
    assert _captures(paths)[0].channels[0].altitude_m == 400


def test_a_gap_between_captures_costs_the_slots_that_it_is_in(tmp_path: Path) -> None:
    parts = [(0, {"core:datetime": _AT}), (1500, {"core:datetime": "2023-11-14T22:13:22.000000123Z"})]
    whole = make(tmp_path, "b", count=4000)
    captures = _captures([make(tmp_path, "a", captures=parts), whole], 0.25)
    after = [(capture.captured_at_us - 1_700_000_000_000_000) // 250_000 for capture in captures]
    assert after == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
    _, receptions = receptions_from([tmp_path / "a.sigmf-meta", whole], network(), 0.25, Given())
    per = [reception.channel.receiver_id for reception in receptions]
    assert (per.count("a"), per.count("b")) == (12, 16)


def test_samples_that_a_stream_lost_are_a_gap(tmp_path: Path) -> None:
    parts = [(0, {"core:datetime": _AT}), (1500, {"core:global_index": 2000})]
    recordings = read_recordings([make(tmp_path, "a", captures=parts)], Given())
    assert [recording.start_time_ns - _AT_NS for recording in recordings] == [0, 2 * 10**9]


def test_a_file_without_a_time_takes_it_from_the_option(tmp_path: Path) -> None:
    paths = [make(tmp_path, name, captures=[(0, {})]) for name in ("a", "b")]
    with pytest.raises(RecordingError, match=r"does not say when it was recorded .*--start"):
        read_recordings(paths, Given())
    assert read_recordings(paths, Given(start=_AT))[0].start_time_ns == _AT_NS
    with pytest.raises(RecordingError, match="--start: 'noon' is no time"):
        read_recordings(paths, Given(start="noon"))
    assert _captures(paths, start=_AT)[0].center_frequency_hz == 433.92e6  # the network's


def test_header_bytes_of_other_formats_are_skipped(tmp_path: Path) -> None:
    """A non-conforming dataset: SigMF metadata beside another program's file."""
    path = make(tmp_path, "a")
    data, text = tmp_path / "a.sigmf-data", json.loads(path.read_text())
    (tmp_path / "a.raw").write_bytes(b"h" * 77 + data.read_bytes() + b"t" * 5)
    data.unlink()
    del text["global"]["core:sha512"]
    text["global"] |= {"core:dataset": "a.raw", "core:trailing_bytes": 5}
    text["captures"][0]["core:header_bytes"] = 77
    path.write_text(json.dumps(text))
    (recording,) = read_recordings([path], Given())
    assert len(recording.samples) == 3000
    assert list(recording.samples[1]) == [2, 3]


def test_an_unknown_receiver_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match=r"no receiver 'zz', whose recording zz.sigmf-meta .*--receiver"):
        _captures([make(tmp_path, "zz"), make(tmp_path, "a")])


def test_names_must_be_as_many_as_channels(tmp_path: Path) -> None:
    with pytest.raises(
        RecordingError, match=r"--receiver is given 1 times, but the files have 2 channels: a.sigmf-meta, "
    ):
        _captures([make(tmp_path, "a"), make(tmp_path, "b")], receivers=("c",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"global": {"core:version": "1.2.0"}}, "'core:datatype' is a required property"),
        ({"captures": [{"core:sample_start": -1}]}, "-1 is less than the minimum"),
        ({"captures": [{"core:sample_start": 9999, "core:datetime": _AT}]}, "outside of the 12000 bytes"),
        ({"captures": [{"core:sample_start": 9}, {"core:sample_start": 3}]}, "outside"),
        ({"captures": [{"core:sample_start": 0, "core:datetime": "2023-02-30T00:00:00Z"}]}, "core:datetime .*day"),
        ({"captures": [{"core:sample_start": 0, "core:datetime": "2023-02-20"}]}, "is no time such as"),
        ({"global:core:geolocation": {"type": "Point", "coordinates": [9, 147]}}, "geolocation"),
        ({"global:core:num_channels": 7}, "cannot reshape"),
        ({"global:core:sample_rate": None}, "None is not of type|core:sample_rate"),
        ({"global:core:sha512": "0" * 128}, "hash does not match"),
        (
            {"global:core:extensions": [{"name": "x", "version": "1.0.0", "optional": False}]},
            "needs the SigMF extension 'x'",
        ),
    ],
)
def test_broken_metadata_is_one_line_that_says_what(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = make(tmp_path, "a")
    text = json.loads(path.read_text())
    for key, value in change.items():
        if key.startswith("global:"):
            text["global"][key.removeprefix("global:")] = value
        else:
            text[key] = value
    path.write_text(json.dumps(text))
    with pytest.raises(RecordingError, match=words) as raised:
        read_recordings([path], Given())
    assert "a.sigmf-meta" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_samples_and_files_are_named(tmp_path: Path) -> None:
    path = make(tmp_path, "a")
    (tmp_path / "a.sigmf-data").unlink()
    with pytest.raises(RecordingError, match=r"a.sigmf-data is not beside it"):
        read_recordings([path], Given())
    with pytest.raises(RecordingError, match="no such file"):
        read_recordings([tmp_path / "z.sigmf"], Given())
    with pytest.raises(RecordingError, match="are read"):
        read_recordings([tmp_path / "z.mp3"], Given())


def test_without_the_package_there_is_one_line(tmp_path: Path) -> None:
    path = make(tmp_path, "a")
    script = (
        "import sys; sys.modules['sigmf'] = None\n"
        "from stream_app.cli.main import main\n"
        f"sys.argv = ['fixstream', 'replay', {str(path)!r}, '--network', 'examples/demo.yaml']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "fixstream: reading a.sigmf-meta takes the sigmf package, which is not here: pip install 'fixstream[sigmf]'"
    )
