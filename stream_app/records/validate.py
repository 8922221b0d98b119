"""Whether a capture that decodes can be true. Pure: no clock is asked, so a record has the same answer for ever."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stream_app.errors import InvalidCapture, InvalidReception
from stream_app.records.capture import BYTES_PER_SAMPLE, MAX_CHANNELS, Channel, IqCapture
from stream_app.records.reception import IqReception

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST_NAME = 256  # characters
MAX_METADATA = 1024  # entries
LATEST_US = 7_258_118_400_000_000  # the year 2200, which dates in every format of every reader can hold
LATEST_NS = 1000 * LATEST_US
HIGHEST_HZ = 1e12  # a center frequency
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1e-3, 1e11  # slower than any sensor; faster than any converter that is read out
LOWEST_M, HIGHEST_M = -12_000.0, 5e7  # below any sea floor; above geostationary satellites
LARGEST_SIGMA_NS = 1e12  # a clock that is a quarter of an hour off
LARGEST_GAIN_DB = 200.0
LARGEST_SAMPLE = 1e12  # of cf32_le, whose full scale is 1: sums of squares stay within single precision

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN = 60


def check_capture(capture: IqCapture) -> None:
    """Raises InvalidCapture, which names capture, receiver, field and limits, unless all fields can be true."""
    if not _is_name(capture.capture_id):
        raise InvalidCapture(f"capture_id {_name_reason(capture.capture_id)}: give each capture a unique name")
    if not _is_name(capture.network):
        raise _invalid(capture, f"network {_name_reason(capture.network)}: name the receiver network")
    if not 0 <= capture.captured_at_us < LATEST_US:
        raise _invalid(capture, f"captured_at is {capture.captured_at_us} us: it must lie within 1970 to 2199")
    if not 0 <= capture.center_frequency_hz <= HIGHEST_HZ:
        raise _invalid(capture, f"center_frequency_hz is {capture.center_frequency_hz}: it must be 0 to 1e12 Hz")
    if len(capture.metadata) > MAX_METADATA:
        raise _invalid(capture, f"metadata has {len(capture.metadata)} entries: it may have {MAX_METADATA}")
    count = len(capture.channels)
    if not 1 <= count <= MAX_CHANNELS:
        raise _invalid(capture, f"it has {count} channels: it must have 1 to {MAX_CHANNELS}")
    if len({channel.receiver_id for channel in capture.channels}) != count:
        names = [channel.receiver_id for channel in capture.channels]
        twice = next(name for name in names if names.count(name) > 1)
        raise _invalid(capture, f"receiver_id {shown(twice)} is there twice: send one channel a receiver")
    for channel in capture.channels:
        # One chain of comparisons (NaN fails each) keeps the sound channel cheap; words are for the others.
        if not (
            _is_name(channel.receiver_id)
            and -90 <= channel.latitude <= 90
            and -180 <= channel.longitude <= 180
            and LOWEST_M <= channel.altitude_m <= HIGHEST_M
            and 0 <= channel.start_time_ns < LATEST_NS
            and LOWEST_RATE_HZ <= channel.sample_rate_hz <= HIGHEST_RATE_HZ
            and channel.sample_count >= 2
            and channel.sample_count * BYTES_PER_SAMPLE.get(channel.datatype, 0) == len(channel.samples)
            and (channel.start_sigma_ns is None or 0 <= channel.start_sigma_ns <= LARGEST_SIGMA_NS)
            and (channel.gain_db is None or abs(channel.gain_db) <= LARGEST_GAIN_DB)
            and (channel.antenna_id is None or len(channel.antenna_id) <= LONGEST_NAME)
            and (channel.loss_ratio is None or 0 <= channel.loss_ratio <= 1)
            and (channel.datatype != "cf32_le" or are_numbers(channel.samples))
        ):
            raise _invalid(capture, f"receiver {shown(channel.receiver_id)}: {_reason(channel)}")


def check_reception(reception: IqReception) -> None:
    """Raises InvalidReception unless its samples could be a capture of one channel."""
    capture = IqCapture(
        f"{reception.channel.receiver_id} at {reception.slot_at_us}"[:LONGEST_NAME],
        reception.network,
        reception.slot_at_us,
        reception.center_frequency_hz,
        (reception.channel,),
        reception.metadata,
    )
    try:
        check_capture(capture)
    except InvalidCapture as error:
        raise InvalidReception(f"a reception cannot be true: {error}") from error


def shown(text: str) -> str:
    """``text`` in quotes, as much of it as a message can take."""
    return repr(text) if len(text) <= LONGEST_NAME else f"{text[:_SHOWN]!r}... ({len(text)} characters)"


def _invalid(capture: IqCapture, why: str) -> InvalidCapture:
    return InvalidCapture(f"capture {capture.capture_id!r}: {why}")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST_NAME and _CONTROL.search(text) is None


def _name_reason(text: str) -> str:
    if not text:
        return "is empty"
    if len(text) > LONGEST_NAME:
        return f"{shown(text)} has more than {LONGEST_NAME} characters"
    return f"{text!r} holds a control character"


def are_numbers(samples: bytes | memoryview) -> bool:
    """Whether all floats are finite and of a size that can be worked with."""
    values = _floats(samples)
    # Two passes without a copy; NaN is the largest and the smallest of anything.
    return bool(values.max() <= LARGEST_SAMPLE and values.min() >= -LARGEST_SAMPLE)


def _floats(samples: bytes | memoryview) -> NDArray[np.float32]:
    import numpy as np  # only where floats come: a receiver of integers goes without it

    return np.frombuffer(samples, "<f4")


def _reason(channel: Channel) -> str:
    if not _is_name(channel.receiver_id):
        return f"receiver_id {_name_reason(channel.receiver_id)}: name the receiver"
    if not -90 <= channel.latitude <= 90:
        return f"latitude is {channel.latitude}: it must be -90 to 90 degrees"
    if not -180 <= channel.longitude <= 180:
        return f"longitude is {channel.longitude}: it must be -180 to 180 degrees"
    if not LOWEST_M <= channel.altitude_m <= HIGHEST_M:
        return f"altitude_m is {channel.altitude_m}: it must be {LOWEST_M:g} to {HIGHEST_M:g} m"
    if not 0 <= channel.start_time_ns < LATEST_NS:
        return f"start_time_ns is {channel.start_time_ns}: it must lie within 1970 to 2199"
    if not LOWEST_RATE_HZ <= channel.sample_rate_hz <= HIGHEST_RATE_HZ:
        return f"sample_rate_hz is {channel.sample_rate_hz}: it must be {LOWEST_RATE_HZ:g} to {HIGHEST_RATE_HZ:g} Hz"
    if channel.sample_count < 2:
        return f"sample_count is {channel.sample_count}: at least 2 samples are needed"
    size = BYTES_PER_SAMPLE.get(channel.datatype)
    if size is None:
        return f"datatype {shown(channel.datatype)} is not known: use one of {', '.join(BYTES_PER_SAMPLE)}"
    if channel.sample_count * size != len(channel.samples):
        return (
            f"sample_count is {channel.sample_count}, which takes {channel.sample_count * size} bytes of "
            f"{channel.datatype}, but {len(channel.samples)} bytes came"
        )
    if channel.start_sigma_ns is not None and not 0 <= channel.start_sigma_ns <= LARGEST_SIGMA_NS:
        return f"start_sigma_ns is {channel.start_sigma_ns}: it must be 0 to {LARGEST_SIGMA_NS:g} ns, or null"
    if channel.gain_db is not None and not abs(channel.gain_db) <= LARGEST_GAIN_DB:
        limit = f"{LARGEST_GAIN_DB:g}"
        return f"gain_db is {channel.gain_db}: it must be -{limit} to {limit} dB, or null"
    if channel.antenna_id is not None and len(channel.antenna_id) > LONGEST_NAME:
        return f"antenna_id {_name_reason(channel.antenna_id)}"
    if channel.loss_ratio is not None and not 0 <= channel.loss_ratio <= 1:
        return f"loss_ratio is {channel.loss_ratio}: it must be 0 to 1, or null"
    values = _floats(channel.samples)
    first = int((abs(values) <= LARGEST_SAMPLE).argmin())
    return (
        f"sample {first // 2} of its cf32_le samples holds {values[first]}: all must be numbers of at most "
        f"{LARGEST_SAMPLE:g} (full scale is 1)"
    )
