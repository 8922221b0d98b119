"""Captures in which receivers whose clocks are distrusted weigh less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import hypot

from stream_app.records.capture import Channel, IqCapture

_TELL_A_PLACE = 3  # receivers


def lowered(capture: IqCapture, offsets_ns: Mapping[str, float]) -> tuple[IqCapture, tuple[str, ...]]:
    """The capture as a model is to see it, and the receiver_ids in it that weigh less.

    ``offsets_ns``: how much too late each distrusted receiver stamps its samples. Where three others are left, these
    are left out: a place that one of four contradicts is no compromise between them (decision 0013). Where fewer are,
    each is taken at what its clock was found to be, and its start_sigma_ns grows by the offset's size: the clock was
    wrong once, and may as well go right again.
    """
    names = tuple([channel.receiver_id for channel in capture.channels if channel.receiver_id in offsets_ns])
    if not names:
        return capture, ()
    others = tuple([channel for channel in capture.channels if channel.receiver_id not in offsets_ns])
    if len(others) >= _TELL_A_PLACE:
        return replace(capture, channels=others), names
    changed = [_doubted(channel, offsets_ns.get(channel.receiver_id, 0.0)) for channel in capture.channels]
    return replace(capture, channels=tuple(changed)), names


def _doubted(channel: Channel, offset_ns: float) -> Channel:
    if not offset_ns:
        return channel
    return replace(
        channel,
        start_time_ns=channel.start_time_ns - round(offset_ns),
        start_sigma_ns=hypot(channel.start_sigma_ns or 0.0, offset_ns),
    )
