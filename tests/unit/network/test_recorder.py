"""What fixstream record writes is valid SigMF, and comes back as the captures that it was made from."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.errors import RecordingError
from stream_app.network.recorded import recorded_captures
from stream_app.network.recorder import Recorder
from stream_app.records.capture import BYTES_PER_SAMPLE, Channel, IqCapture
from stream_app.records.validate import check_capture

sigmf = pytest.importorskip("sigmf")

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_BIG = st.floats(-200, 200)


@st.composite
def channels(draw: st.DrawFn, name: str) -> Channel:
    datatype = draw(st.sampled_from(sorted(set(BYTES_PER_SAMPLE) - {"cf32_le"})))
    count = draw(st.integers(2, 9))
    size = count * BYTES_PER_SAMPLE[datatype]
    return Channel(
        receiver_id=name,
        latitude=draw(st.floats(-90, 90)),
        longitude=draw(st.floats(-180, 180)),
        altitude_m=draw(st.floats(-12_000, 5e7)),
        start_time_ns=draw(st.integers(0, 7_258_118_400_000_000_000 - 1)),
        sample_rate_hz=draw(st.floats(1e-3, 1e11)),
        datatype=datatype,
        sample_count=count,
        samples=draw(st.binary(min_size=size, max_size=size)),
        start_sigma_ns=draw(st.none() | st.floats(0, 1e12)),
        time_sync=draw(st.none() | st.sampled_from(["NONE", "GPS", "OTHER"])),
        gain_db=draw(st.none() | _BIG),
        antenna_id=draw(st.none() | _TEXT),
        loss_ratio=draw(st.none() | st.floats(0, 1)),
        overload=draw(st.none() | st.booleans()),
    )


@st.composite
def captures(draw: st.DrawFn) -> IqCapture:
    names = draw(
        st.lists(
            st.sampled_from(["a", "b", "../c", "", "é/ü"]).filter(bool) | _NAME, min_size=1, max_size=4, unique=True
        )
    )
    return IqCapture(
        capture_id=draw(_NAME),
        network=draw(_NAME),
        captured_at_us=draw(st.integers(0, 7_258_118_400_000_000 - 1)),
        center_frequency_hz=draw(st.floats(0, 1e12)),
        channels=tuple(draw(channels(name)) for name in names),
        metadata=draw(st.dictionaries(_TEXT, _TEXT, max_size=3)),
    )


def _written(folder: Path, wanted: Sequence[IqCapture], **more: int) -> None:
    with Recorder(folder, **more) as recorder:
        for capture in wanted:
            recorder.write(capture)
    assert recorder.count == len(wanted)


def _one(number: int = 0, receivers: Sequence[str] = ("a", "b"), samples: int = 4) -> IqCapture:
    return IqCapture(
        f"c{number}",
        "net",
        1_000_000 + number,
        433.92e6,
        tuple(
            Channel(name, 47.8, 9.0, 400.0, 1_000_000_123 + number, 1e6, "ci16_le", samples, os.urandom(4 * samples))
            for name in receivers
        ),
        {"note": str(number)},
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(captures(), min_size=1, max_size=3), st.integers(1, 3))
def test_captures_come_back_field_by_field(wanted: list[IqCapture], part: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "recorded"
        for capture in wanted:
            check_capture(capture)
        _written(folder, wanted, part_captures=part)
        assert list(recorded_captures(folder)) == wanted


def test_what_is_written_is_valid_by_sigmfs_own_rules(tmp_path: Path) -> None:
    capture = replace(_one(), center_frequency_hz=0.0, metadata={"": "é"})
    channel = capture.channels[0]
    channel.start_sigma_ns, channel.time_sync, channel.overload, channel.start_time_ns = 0.0, "GPSDO", False, 0
    channel.latitude, channel.altitude_m, channel.sample_rate_hz = -90.0, -12_000.0, 1e-3
    _written(tmp_path / "new", [capture, _one(1, ["z"])])
    metas = list(tmp_path.rglob("*.sigmf-meta"))
    assert len(metas) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that of an extension that is not declared
        for meta in metas:
            sigmf.fromfile(meta).validate()  # reads and checks the checksum, too


def test_floats_of_samples_come_back_bit_for_bit(tmp_path: Path) -> None:
    capture = _one()
    for channel in capture.channels:
        channel.datatype, channel.sample_count = "cf32_le", 2
        channel.samples = bytes.fromhex("000000800000000001000000cdcccc3d")  # -0, 0, a subnormal, 0.1
    _written(tmp_path / "new", [capture])
    assert list(recorded_captures(tmp_path / "new")) == [capture]


def test_others_read_the_samples_and_when_and_where_they_were_taken(tmp_path: Path) -> None:
    wanted = [_one(n) for n in range(3)]
    _written(tmp_path / "new", wanted)
    file = sigmf.fromfile(next(tmp_path.rglob("*-a.sigmf-meta")))
    assert [c["core:datetime"] for c in file.get_captures()] == [
        f"1970-01-01T00:00:01.{123 + n:09d}Z" for n in range(3)
    ]
    assert file.get_captures()[0]["core:geolocation"]["coordinates"] == [9.0, 47.8, 400.0]
    assert file.sample_count == 12
    assert file.sample_rate == 1e6


def test_a_folder_that_holds_something_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecordingError, match="nothing is overwritten"):
        Recorder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_until_a_part_is_whole_nobody_sees_it(tmp_path: Path) -> None:
    with Recorder(tmp_path / "new", part_captures=2) as recorder:
        recorder.write(_one(0))
        assert not list((tmp_path / "new").glob("0*"))
        recorder.write(_one(1))
        recorder.write(_one(2))
        assert [capture.capture_id for capture in recorded_captures(tmp_path / "new")] == ["c0", "c1"]
    assert [capture.capture_id for capture in recorded_captures(tmp_path / "new")] == ["c0", "c1", "c2"]


def test_open_files_are_bounded(tmp_path: Path) -> None:
    """Receivers of ever new names begin new parts."""
    script = (
        "import sys, tests.unit.network.test_recorder as t; from pathlib import Path\n"
        "t._written(Path(sys.argv[1]), [t._one(n, [f'r{n}-{k}' for k in range(32)]) for n in range(16)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "new")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (520, 520)),
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "new").iterdir())) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full")
def test_a_full_disk_is_one_line_and_keeps_what_was_finished(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new", part_captures=1)
    recorder.write(_one(0))
    with pytest.raises(RecordingError, match=r"cannot write to .*new: File too large"):
        _with_small_files(recorder, _one(1, samples=200_000))
    with recorder:
        recorder.write(_one(2))
    assert [capture.capture_id for capture in recorded_captures(tmp_path / "new")] == ["c0", "c2"]
    assert not list((tmp_path / "new").glob(".*"))


def _with_small_files(recorder: Recorder, capture: IqCapture) -> None:
    """Writes where files may have 100 KB: what a full disk is to a program, without one."""
    import signal

    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        recorder.write(capture)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_capture_whose_file_is_missing_is_named(tmp_path: Path) -> None:
    _written(tmp_path / "new", [_one()])
    next(tmp_path.rglob("*-b.sigmf-meta")).unlink()
    with pytest.raises(RecordingError, match=r"capture 0 of .* has 1 of its 2 channels"):
        list(recorded_captures(tmp_path / "new"))


def test_samples_that_changed_on_disk_are_not_replayed(tmp_path: Path) -> None:
    _written(tmp_path / "new", [_one()])
    data = next(tmp_path.rglob("*-b.sigmf-data"))
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    with pytest.raises(RecordingError, match="hash does not match"):
        list(recorded_captures(tmp_path / "new"))


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no recorded captures"):
        list(recorded_captures(tmp_path))
    with pytest.raises(RecordingError, match=r"cannot read .*: No such file"):
        list(recorded_captures(tmp_path / "no"))
    _written(tmp_path / "new", [_one()])
    meta = next(tmp_path.rglob("*-b.sigmf-meta"))
    text = json.loads(meta.read_text())
    text["captures"] = [{"core:sample_start": 0}]
    meta.write_text(json.dumps(text))
    with pytest.raises(RecordingError, match="is no recording of fixstream record"):
        list(recorded_captures(tmp_path / "new"))
    shutil.rmtree(tmp_path / "new")
