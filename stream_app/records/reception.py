"""An IQ reception: the samples of one slot from one receiver, which knows nothing of the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream_app.records.capture import Channel


@dataclass(slots=True)
class IqReception:
    """Field meanings are those of ``schemas/iq_reception``."""

    network: str
    center_frequency_hz: float
    slot_at_us: int  # microseconds since 1970, UTC: the slot's nominal start, the same at all receivers
    channel: Channel
    metadata: dict[str, str] = field(default_factory=dict)
