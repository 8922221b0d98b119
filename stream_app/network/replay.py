"""Recordings of one moment become captures of a chosen length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from stream_app.errors import NetworkFileError, RecordingError
from stream_app.network.file import Network, Receiver
from stream_app.network.kiwisdr import KiwiRecording
from stream_app.records.capture import Channel, IqCapture

_NS = 10**9


def captures_of(
    recordings: Sequence[KiwiRecording], network: Network, capture_seconds: float = 1.0
) -> Iterator[IqCapture]:
    """Captures of ``capture_seconds`` that all recordings cover, from the first whole second on.

    Positions come from the network file. Raises RecordingError where the recordings do not belong together,
    NetworkFileError where a receiver is not in the file.
    """
    if not math.isfinite(capture_seconds) or capture_seconds <= 0:
        raise RecordingError(f"a capture cannot last {capture_seconds} s: give a positive length")
    _check(recordings)
    receivers = [_receiver(network, recording) for recording in recordings]
    begin = max(recording.start_time_ns for recording in recordings)
    end = min(recording.start_time_ns + int(recording.duration_s * _NS) for recording in recordings)
    first, step = -(-begin // _NS) * _NS, round(capture_seconds * _NS)
    if first + step > end:
        raise RecordingError(
            f"the recordings share {max(0, end - begin) / _NS:.3f} s, too little for one capture of {capture_seconds} s"
        )
    for slot in range((end - first) // step):
        at = first + slot * step
        channels = []
        for recording, receiver in zip(recordings, receivers, strict=True):
            skip = math.ceil((at - recording.start_time_ns) * recording.sample_rate_hz / _NS)
            count = math.floor(capture_seconds * recording.sample_rate_hz)
            samples = recording.samples[skip : skip + count]
            channels.append(
                Channel(
                    receiver_id=receiver.receiver_id,
                    latitude=receiver.latitude,
                    longitude=receiver.longitude,
                    altitude_m=receiver.altitude_m,
                    start_time_ns=recording.start_time_ns + round(skip * _NS / recording.sample_rate_hz),
                    sample_rate_hz=recording.sample_rate_hz,
                    datatype="ci16_le",
                    sample_count=len(samples),
                    samples=samples.tobytes(),
                    time_sync="GPS",
                )
            )
        yield IqCapture(
            capture_id=f"{network.name}-{at // 1000}",
            network=network.name,
            captured_at_us=at // 1000,
            center_frequency_hz=recordings[0].center_frequency_hz,
            channels=tuple(channels),
        )


def _receiver(network: Network, recording: KiwiRecording) -> Receiver:
    receiver = network.receiver(recording.receiver_id)
    if receiver is None:
        known = ", ".join(r.receiver_id for r in network.receivers)
        raise NetworkFileError(
            f"network {network.name} has no receiver {recording.receiver_id!r}, whose recording is given: "
            f"add it to the file's receivers (there are {known})"
        )
    return receiver


def _check(recordings: Sequence[KiwiRecording]) -> None:
    if len(recordings) < 2:
        raise RecordingError(f"{len(recordings)} recording(s) given; a fix needs at least 2 receivers")
    names = [recording.receiver_id for recording in recordings]
    if len(set(names)) < len(names):
        raise RecordingError(f"one receiver appears twice among {', '.join(names)}: give one recording each")
    if len({recording.center_frequency_hz for recording in recordings}) > 1:
        raise RecordingError("the recordings are of different center frequencies: give those of one signal")
