from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from stream_app.errors import RecordingError
from stream_app.network.kiwisdr import read_kiwisdr
from tests.unit.network.recordings import BLOCK, GPS_EPOCH_S, WEEK_S, block, chunk, header, riff, write

_NAMED = int(datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC).timestamp())
_NAME = "20171127T104156Z_77500_AA1A_iq.wav"


def _noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, (count, 2), np.int16)


def _good() -> list[bytes]:
    return [header(), *(block(_noise(BLOCK, n), 1000 + n * BLOCK / 12_000) for n in range(5))]


def _read(folder: Path, data: bytes) -> None:
    (folder / _NAME).write_bytes(data)
    read_kiwisdr(folder / _NAME)


@pytest.mark.parametrize(("start", "rate"), [(1.234567891, 12_001.137), (-30.5, 11_998.9)])
def test_a_recording_comes_back_with_its_start_and_true_rate(tmp_path: Path, start: float, rate: float) -> None:
    samples = _noise(40 * BLOCK + 100)
    recording = read_kiwisdr(write(tmp_path, samples, _NAMED, start, rate))
    assert (recording.receiver_id, recording.center_frequency_hz) == ("AA1A", 77_500)
    assert recording.start_time_ns - _NAMED * 10**9 == pytest.approx(start * 1e9, abs=2)
    assert recording.sample_rate_hz == pytest.approx(rate, rel=1e-9)
    assert recording.duration_s == pytest.approx(len(samples) / rate)
    assert recording.residual_s < 5e-9
    np.testing.assert_array_equal(recording.samples, samples)


def test_the_week_may_turn_within_a_recording(tmp_path: Path) -> None:
    turn = GPS_EPOCH_S + WEEK_S * ((_NAMED - GPS_EPOCH_S) // WEEK_S)
    path = write(tmp_path, _noise(40 * BLOCK), turn, -0.5, 12_000.0)
    path = path.rename(path.with_name(datetime.fromtimestamp(turn, UTC).strftime("%Y%m%dT%H%M%SZ_77500_AA1A_iq.wav")))
    recording = read_kiwisdr(path)
    assert recording.start_time_ns - turn * 10**9 == pytest.approx(-5e8, abs=2)
    assert recording.sample_rate_hz == pytest.approx(12_000, rel=1e-9)


def test_start_up_chunks_whose_time_does_not_continue_are_left_out(tmp_path: Path) -> None:
    parts = _good()
    parts[1] = block(_noise(BLOCK), 900.0)
    (tmp_path / _NAME).write_bytes(riff(parts))
    recording = read_kiwisdr(tmp_path / _NAME)
    assert len(recording.samples) == 4 * BLOCK
    np.testing.assert_array_equal(recording.samples[:BLOCK], _noise(BLOCK, 1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a RIFF/WAVE file"),
        (b"MThd" + riff(_good())[4:], "not a RIFF/WAVE file"),
        (riff(_good())[:-100], r"truncated at byte \d+"),
        (riff([*_good(), b"kiwi"]), "truncated at byte .* header"),
        (riff([header(channels=1), *_good()[1:]]), "not 2-channel 16-bit PCM"),
        (riff([header(bits=8), *_good()[1:]]), "not 2-channel 16-bit PCM"),
        (riff([chunk(b"fmt ", b"\1\0"), *_good()[1:]]), "fmt chunk has 2 bytes"),
        (riff([header(), chunk(b"data", _noise(BLOCK).tobytes())]), "no kiwi time"),
        (riff(_good()[1:]), "no fmt chunk"),
        (riff([header(), chunk(b"kiwi", b"\0" * 4)]), "kiwi chunk .* has 4 bytes"),
        (riff([*_good(), chunk(b"kiwi", struct.pack("<BBII", 0, 0, 1000, 0)), chunk(b"data", b"\0" * 6)]), "no whole"),
        (riff(_good()[:3]), "at least 3"),
        (riff([*_good(), *(block(_noise(BLOCK), 1010 + n * BLOCK / 12_000) for n in range(4))]), "samples are missing"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(RecordingError, match=f"{_NAME}.*{words}|{words}.*{_NAME}"):
        _read(tmp_path, data)


@pytest.mark.parametrize("name", ["music.wav", "20171340T104156Z_77500_AA1A_iq.wav", _NAME])
def test_a_file_of_another_name_or_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match=name):
        read_kiwisdr(tmp_path / name)
