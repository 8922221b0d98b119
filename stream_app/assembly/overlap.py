"""The time that the channels of a slot share, in each channel's own whole samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from stream_app.records.capture import BYTES_PER_SAMPLE, Channel

LEAST_SAMPLES = 16  # that each channel must have of the common time: fewer, and no lag can be told
_SLACK = 0.02  # of a channel, that may lie outside: receivers never begin at one instant, and the locator allows for it
_ROUNDING = 1e-6  # samples


def fit(channels: Sequence[Channel], at_least: int) -> list[Channel]:
    """The channels, cut to the time they share where they overlap only partly.

    Where all together share no time, or fewer than LEAST_SAMPLES, whoever overlaps least with the others is left out,
    down to ``at_least`` channels; where those share none either, nobody is left.
    """
    kept = list(channels)
    while len(kept) >= at_least:
        cut = _common(kept)
        if cut is not None:
            return cut
        del kept[_loneliest(kept)]
    return []


def _common(channels: Sequence[Channel]) -> list[Channel] | None:
    begin_ns = max([channel.start_time_ns for channel in channels])
    starts = [(channel.start_time_ns - begin_ns) * 1e-9 for channel in channels]  # seconds, at most 0
    lengths = [channel.sample_count / channel.sample_rate_hz for channel in channels]
    end = min([start + length for start, length in zip(starts, lengths, strict=True)])
    if all(end >= length * (1 - _SLACK) for length in lengths):
        return list(channels)
    cut = [_cut(channel, start, end) for channel, start in zip(channels, starts, strict=True)]
    return cut if all(channel.sample_count >= LEAST_SAMPLES for channel in cut) else None


def _cut(channel: Channel, start: float, end: float) -> Channel:
    """What of the channel lies within 0..end seconds, where its first sample is at ``start``."""
    rate = channel.sample_rate_hz
    skip = math.ceil(-start * rate - _ROUNDING)
    first = start + skip / rate
    count = max(0, min(math.floor((end - first) * rate + _ROUNDING), channel.sample_count - skip))
    if (skip, count) == (0, channel.sample_count):
        return channel
    width = BYTES_PER_SAMPLE[channel.datatype]
    return replace(
        channel,
        start_time_ns=channel.start_time_ns + round(skip * 1e9 / rate),
        sample_count=count,
        samples=memoryview(channel.samples)[skip * width : (skip + count) * width],
    )


def _loneliest(channels: Sequence[Channel]) -> int:
    """Which overlaps least with the others, seconds summed; of several the last."""
    origin = channels[0].start_time_ns
    spans = [
        ((c.start_time_ns - origin) * 1e-9, (c.start_time_ns - origin) * 1e-9 + c.sample_count / c.sample_rate_hz)
        for c in channels
    ]
    shared = [
        sum(max(0.0, min(end, other_end) - max(start, other)) for other, other_end in spans) - (end - start)
        for start, end in spans
    ]
    return max(range(len(channels)), key=lambda index: (-shared[index], index))
