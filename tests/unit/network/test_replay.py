from __future__ import annotations

import numpy as np
import pytest

from stream_app.errors import NetworkFileError, RecordingError
from stream_app.network.recording import Recording
from stream_app.network.replay import captures_of
from stream_app.records.validate import check_capture
from tests.unit.network.networks import network

_NS = 10**9


def _recording(
    receiver: str, start_s: float, rate: float, seconds: float = 4.6, frequency: float = 77_500
) -> Recording:
    numbers = np.arange(int(seconds * rate), dtype=np.int32).view(np.int16).reshape(-1, 2)
    return Recording(receiver, frequency, round(start_s * _NS), rate, numbers)


_RECORDINGS = [_recording("a", 1000.3, 12_001.3), _recording("c", 1000.7, 11_999.1)]


def test_captures_are_of_the_whole_seconds_that_all_recordings_cover() -> None:
    captures = list(captures_of(_RECORDINGS, network()))
    assert [capture.captured_at_us for capture in captures] == [1001 * 10**6, 1002 * 10**6, 1003 * 10**6]
    assert len({capture.capture_id for capture in captures}) == 3
    for capture in captures:
        check_capture(capture)
        assert (capture.network, capture.center_frequency_hz) == ("test", 77_500)
        assert [(c.receiver_id, c.latitude, c.altitude_m) for c in capture.channels] == [
            ("a", 47.8, 400),
            ("c", 47.7, 450),
        ]


@pytest.mark.parametrize("seconds", [1.0, 0.25, 0.3])
def test_a_channels_first_sample_is_the_one_taken_at_its_start_time(seconds: float) -> None:
    for capture in captures_of(_RECORDINGS, network(), seconds):
        for channel, recording in zip(capture.channels, _RECORDINGS, strict=True):
            numbers = np.frombuffer(channel.samples, np.int32)
            taken = recording.start_time_ns / _NS + numbers[0] / recording.sample_rate_hz
            assert channel.start_time_ns / _NS == pytest.approx(taken, abs=1e-6)
            assert 0 <= channel.start_time_ns - capture.captured_at_us * 1000 < 1.01 * _NS / recording.sample_rate_hz
            assert channel.sample_rate_hz == recording.sample_rate_hz
            assert np.all(np.diff(numbers) == 1)
            assert len(numbers) == int(seconds * recording.sample_rate_hz)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), 10.0])
def test_a_length_that_does_not_fit_is_refused(seconds: float) -> None:
    with pytest.raises(RecordingError, match=r"cannot last|too little"):
        list(captures_of(_RECORDINGS, network(), seconds))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (_recording("a", 1000.0, 12_000), "appears twice"),
        (_recording("c", 1000.0, 12_000, frequency=60_000), "different center frequencies"),
        (_recording("c", 9000.0, 12_000), "share 0.000 s"),
    ],
)
def test_recordings_that_do_not_belong_together_are_refused(second: Recording, words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        list(captures_of([_RECORDINGS[0], second], network()))


def test_a_receiver_that_the_network_does_not_have_is_named() -> None:
    with pytest.raises(NetworkFileError, match="no receiver 'zz'"):
        list(captures_of([_RECORDINGS[0], _recording("zz", 1000.0, 12_000)], network()))
