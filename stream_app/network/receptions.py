"""Captures taken apart: what each receiver would have sent by itself."""

from __future__ import annotations

from stream_app.records.capture import IqCapture
from stream_app.records.reception import IqReception


def receptions_of(capture: IqCapture) -> list[IqReception]:
    """One reception a channel, in the channels' order; the slot is the capture's ``captured_at_us``."""
    return [
        IqReception(
            network=capture.network,
            center_frequency_hz=capture.center_frequency_hz,
            slot_at_us=capture.captured_at_us,
            channel=channel,
            metadata=dict(capture.metadata),
        )
        for channel in capture.channels
    ]
