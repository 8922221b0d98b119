"""Captures in which receivers whose clocks are distrusted weigh less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import hypot

from stream_app.records.capture import IqCapture

_TELL_A_PLACE = 3  # receivers


def lowered(capture: IqCapture, sigmas_ns: Mapping[str, float]) -> tuple[IqCapture, tuple[str, ...]]:
    """The capture as a model is to see it, and the receiver_ids in it that weigh less.

    ``sigmas_ns``: what the clocks of distrusted receivers deserve. Where three others are left, these are left out: a
    place that one of four contradicts is no compromise between them (decision 0013). Where fewer are, arrival times
    have no choice of a place, and the clock's sigma goes into start_sigma_ns, where ellipses heed it.
    """
    names = tuple([channel.receiver_id for channel in capture.channels if channel.receiver_id in sigmas_ns])
    if not names:
        return capture, ()
    others = tuple([channel for channel in capture.channels if channel.receiver_id not in sigmas_ns])
    if len(others) >= _TELL_A_PLACE:
        return replace(capture, channels=others), names
    widened = [
        replace(channel, start_sigma_ns=hypot(channel.start_sigma_ns or 0.0, sigmas_ns[channel.receiver_id]))
        if channel.receiver_id in sigmas_ns
        else channel
        for channel in capture.channels
    ]
    return replace(capture, channels=tuple(widened)), names
