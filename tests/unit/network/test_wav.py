from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from stream_app.errors import RecordingError
from stream_app.network.sources import Given, captures_from, read_recordings
from stream_app.network.wav import read_wav
from tests.unit.network.networks import network
from tests.unit.network.recordings import chunk, riff

_NAME = "SDRSharp_20190101_120000Z_433920000Hz_IQ.wav"
_TYPES = {"cu8": (1, 8, "u1"), "ci16_le": (1, 16, "<i2"), "ci32_le": (1, 32, "<i4"), "cf32_le": (3, 32, "<f4")}


def form(tag: int = 1, bits: int = 16, channels: int = 2, rate: int = 1000, more: bytes = b"") -> bytes:
    width = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits) + more)


def make(folder: Path, name: str = _NAME, datatype: str = "ci16_le", count: int = 3000) -> Path:
    tag, bits, kind = _TYPES[datatype]
    data = (np.arange(2 * count) % 100).astype(kind).tobytes()
    path = folder / name
    path.write_bytes(riff([form(tag, bits), chunk(b"LIST", b"odd"), chunk(b"data", data)]))
    return path


@pytest.mark.parametrize("datatype", list(_TYPES))
def test_samples_come_as_they_are_stored(tmp_path: Path, datatype: str) -> None:
    recording = read_wav(make(tmp_path, datatype=datatype))
    assert (recording.datatype, recording.sample_rate_hz) == (datatype, 1000.0)
    np.testing.assert_array_equal(recording.samples.ravel(), np.arange(6000) % 100)


@pytest.mark.parametrize(
    ("name", "receiver", "frequency"),
    [
        (_NAME, "SDRSharp", 433.92e6),
        ("HDSDR_20190101_120000Z_433920kHz_RF.wav", "HDSDR", 433.92e6),
        ("SDRuno_20190101_120000Z_88.11MHz.wav", "SDRuno", 88.11e6),
        ("a_20190101T120000Z.wav", "a", None),
        ("20190101T120000Z_77500Hz_x.WAV", "20190101T120000Z_77500Hz_x", 77_500.0),
    ],
)
def test_names_of_common_programs_say_when_and_what(
    tmp_path: Path, name: str, receiver: str, frequency: float | None
) -> None:
    recording = read_wav(make(tmp_path, name))
    assert recording.start_time_ns == 1_546_344_000 * 10**9
    assert (recording.receiver_id, recording.center_frequency_hz) == (receiver, frequency)
    # A name knows whole seconds: what is told of the clock must not be better.
    assert recording.start_sigma_ns == pytest.approx(1e9 / 12**0.5)


def test_a_start_that_is_given_is_exact(tmp_path: Path) -> None:
    recordings = read_recordings([make(tmp_path, "a.wav")], Given(start="2019-01-01T12:00:00.123456789Z"))
    assert recordings[0].start_time_ns == 1_546_344_000_123_456_789
    assert recordings[0].start_sigma_ns is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.wav", "does not say when it was recorded: give --start"),
        ("SDRSharp_20190101_120000_433920000Hz_IQ.wav", "does not say that its time is UTC"),
        ("SDRSharp_20191301_120000Z_433920000Hz_IQ.wav", "holds no time: month"),
    ],
)
def test_a_name_without_a_time_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        read_wav(make(tmp_path, name))


def test_receivers_are_named_by_the_option(tmp_path: Path) -> None:
    paths = [make(tmp_path, name) for name in (_NAME, "HDSDR_20190101_120000Z_433920kHz_RF.wav")]
    total, captures = captures_from(paths, network(), None, Given(receivers=("c", "b")))
    assert total == 3
    assert [channel.receiver_id for channel in next(captures).channels] == ["c", "b"]


def test_sizes_that_were_never_filled_in_and_64_bit_ones_are_read(tmp_path: Path) -> None:
    data, path = np.arange(40, dtype="<i2").tobytes(), tmp_path / _NAME
    for size in (0, 0xFFFFFFFF):
        path.write_bytes(b"RIFF\0\0\0\0WAVE" + form() + b"data" + struct.pack("<I", size) + data)
        assert len(read_wav(path).samples) == 20
    wide = chunk(b"ds64", struct.pack("<QQQI", 0, len(data), 0, 0))
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + wide + form() + b"data\xff\xff\xff\xff" + data + b"tail")
    assert len(read_wav(path).samples) == 20


def test_the_extensible_format_is_read(tmp_path: Path) -> None:
    more = struct.pack("<HHI", 22, 32, 3) + struct.pack("<H", 3) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    path = tmp_path / _NAME
    path.write_bytes(riff([form(0xFFFE, 32, more=more), chunk(b"data", np.float32([0.5, -0.5]).tobytes())]))
    assert read_wav(path).datatype == "cf32_le"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([form(channels=1), chunk(b"data", b"1234")], r"has 1 channel\(s\)"),
        ([form(bits=24), chunk(b"data", b"123456")], "24-bit samples of format 1"),
        ([form(tag=85), chunk(b"data", b"1234")], "of format 85"),
        ([form(rate=0), chunk(b"data", b"1234")], "sample rate is 0"),
        ([form(), chunk(b"data", b"123456")], "no whole number of samples"),
        ([form()], "no data chunk"),
        ([chunk(b"data", b"1234"), form()], "no fmt chunk before"),
        ([chunk(b"fmt ", b"short")], "has 5 bytes, not 16"),
        ([form(), b"data" + struct.pack("<I", 4000) + b"1234"], "truncated: its data chunk claims 4000 bytes, 4 are"),
    ],
)
def test_what_is_no_iq_recording_is_one_line(tmp_path: Path, parts: list[bytes], words: str) -> None:
    path = tmp_path / _NAME
    path.write_bytes(riff(parts))
    with pytest.raises(RecordingError, match=words) as raised:
        read_wav(path)
    assert _NAME in str(raised.value)
