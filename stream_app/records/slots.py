"""Slots: spans of time that begin at whole multiples of their length since 1970, so that receivers agree unasked."""

from __future__ import annotations

import math

NS = 10**9
_AT_NS = 1.5  # times are whole nanoseconds, sums of them off by one: a sample this close before a limit is at it


def slot_length_ns(seconds: float) -> int:
    """The length in ns, of whole microseconds; 0 or less for one that cannot be."""
    return round(seconds * 1e6) * 1000 if math.isfinite(seconds) else 0


def next_slot_ns(at_ns: int, length_ns: int) -> int:
    """Start of the first slot at or after ``at_ns``."""
    return -(-at_ns // length_ns) * length_ns


def sample_time_ns(start_ns: int, index: int, rate_hz: float) -> int:
    """When sample ``index`` of a stream was taken that begins at ``start_ns``."""
    return start_ns + round(index * NS / rate_hz)


def first_sample(start_ns: int, rate_hz: float, at_ns: int) -> int:
    """Index of the first sample taken at or after ``at_ns``; negative where the stream begins later."""
    return math.ceil((at_ns - start_ns - _AT_NS) * rate_hz / NS)


def samples_in(length_ns: int, rate_hz: float) -> int:
    """Whole samples in a span of that length."""
    return math.floor((length_ns + _AT_NS) * rate_hz / NS)
