"""An IQ capture: the samples of one moment from 1..32 receivers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_app.records.reception import IqReception

MAX_CHANNELS = 32

# Bytes of one complex sample, by SigMF datatype.
BYTES_PER_SAMPLE = {"cu8": 2, "ci8": 2, "ci16_le": 4, "ci32_le": 8, "cf32_le": 8}


# Not frozen, as all that is made for each capture: a frozen one takes six times as long to make.
@dataclass(slots=True)
class Channel:
    """One receiver's samples. Field meanings are those of ``schemas/iq_capture``."""

    receiver_id: str
    latitude: float
    longitude: float
    altitude_m: float
    start_time_ns: int  # GNSS/UTC time of the first sample, nanoseconds since 1970
    sample_rate_hz: float
    datatype: str
    sample_count: int
    samples: bytes | memoryview
    start_sigma_ns: float | None = None
    time_sync: str | None = None
    gain_db: float | None = None
    antenna_id: str | None = None
    loss_ratio: float | None = None
    overload: bool | None = None


@dataclass(slots=True)
class IqCapture:
    """The channels of one slot, to be answered with one fix."""

    capture_id: str
    network: str
    captured_at_us: int  # microseconds since 1970, UTC
    center_frequency_hz: float
    channels: tuple[Channel, ...]
    metadata: dict[str, str] = field(default_factory=dict)


def key_of(record: IqCapture | IqReception) -> bytes:
    """The record's key, network and frequency: one emitter's captures stay in their order."""
    return f"{record.network}/{record.center_frequency_hz:.0f}".encode()
