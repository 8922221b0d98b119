"""Whether a capture that decodes can be true."""

from __future__ import annotations

from math import isfinite

from stream_app.errors import InvalidCapture
from stream_app.records.capture import BYTES_PER_SAMPLE, MAX_CHANNELS, Channel, IqCapture

_HIGHEST_HZ = 1e12
_LOWEST_M, _HIGHEST_M = -12_000.0, 5e7  # below any sea floor; above geostationary satellites


def check_capture(capture: IqCapture) -> None:
    """Raises InvalidCapture, which names capture, receiver, field and limits, unless all fields can be true."""
    if not capture.capture_id:
        raise InvalidCapture("capture_id is empty: give each capture a unique name")
    if not capture.network:
        raise _invalid(capture, "network is empty: name the receiver network")
    if capture.captured_at_us < 0:
        raise _invalid(capture, f"captured_at is {capture.captured_at_us} us: it lies before 1970")
    if not 0 <= capture.center_frequency_hz <= _HIGHEST_HZ:
        raise _invalid(capture, f"center_frequency_hz is {capture.center_frequency_hz}: it must be 0 to 1e12 Hz")
    count = len(capture.channels)
    if not 1 <= count <= MAX_CHANNELS:
        raise _invalid(capture, f"it has {count} channels: it must have 1 to {MAX_CHANNELS}")
    if len({channel.receiver_id for channel in capture.channels}) != count:
        names = [channel.receiver_id for channel in capture.channels]
        twice = next(name for name in names if names.count(name) > 1)
        raise _invalid(capture, f"receiver_id {twice!r} is there twice: send one channel a receiver")
    for channel in capture.channels:
        # One chain of comparisons (NaN fails each) keeps the sound channel cheap; words are for the others.
        if not (
            channel.receiver_id
            and -90 <= channel.latitude <= 90
            and -180 <= channel.longitude <= 180
            and _LOWEST_M <= channel.altitude_m <= _HIGHEST_M
            and channel.start_time_ns >= 0
            and 0 < channel.sample_rate_hz <= _HIGHEST_HZ
            and channel.sample_count >= 2
            and channel.sample_count * BYTES_PER_SAMPLE.get(channel.datatype, 0) == len(channel.samples)
            and (channel.start_sigma_ns is None or 0 <= channel.start_sigma_ns < float("inf"))
            and (channel.gain_db is None or isfinite(channel.gain_db))
            and (channel.loss_ratio is None or 0 <= channel.loss_ratio <= 1)
        ):
            raise _invalid(capture, f"receiver {channel.receiver_id!r}: {_reason(channel)}")


def _invalid(capture: IqCapture, why: str) -> InvalidCapture:
    return InvalidCapture(f"capture {capture.capture_id!r}: {why}")


def _reason(channel: Channel) -> str:
    if not channel.receiver_id:
        return "receiver_id is empty: name the receiver"
    if not -90 <= channel.latitude <= 90:
        return f"latitude is {channel.latitude}: it must be -90 to 90 degrees"
    if not -180 <= channel.longitude <= 180:
        return f"longitude is {channel.longitude}: it must be -180 to 180 degrees"
    if not _LOWEST_M <= channel.altitude_m <= _HIGHEST_M:
        return f"altitude_m is {channel.altitude_m}: it must be {_LOWEST_M:g} to {_HIGHEST_M:g} m"
    if channel.start_time_ns < 0:
        return f"start_time_ns is {channel.start_time_ns}: it lies before 1970"
    if not 0 < channel.sample_rate_hz <= _HIGHEST_HZ:
        return f"sample_rate_hz is {channel.sample_rate_hz}: it must be above 0 and at most 1e12 Hz"
    if channel.sample_count < 2:
        return f"sample_count is {channel.sample_count}: at least 2 samples are needed"
    size = BYTES_PER_SAMPLE.get(channel.datatype)
    if size is None:
        return f"datatype {channel.datatype!r} is not known: use one of {', '.join(BYTES_PER_SAMPLE)}"
    if channel.sample_count * size != len(channel.samples):
        return (
            f"sample_count is {channel.sample_count}, which takes {channel.sample_count * size} bytes of "
            f"{channel.datatype}, but {len(channel.samples)} bytes came"
        )
    if channel.start_sigma_ns is not None and not 0 <= channel.start_sigma_ns < float("inf"):
        return f"start_sigma_ns is {channel.start_sigma_ns}: it must be 0 or more, or null"
    if channel.gain_db is not None and not isfinite(channel.gain_db):
        return f"gain_db is {channel.gain_db}: it must be a finite number of decibels, or null"
    return f"loss_ratio is {channel.loss_ratio}: it must be 0 to 1, or null"
