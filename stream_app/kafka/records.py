"""What crosses the Kafka edge: raw records in, micro-batches of them, outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

_BATCH_IDS = count()


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as it was read; ``received_at`` is time.perf_counter() when librdkafka handed it over."""

    value: bytes
    key: bytes | None
    topic: str
    partition: int
    offset: int
    received_at: float


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Records that are answered together, and why they left: full, age of the oldest, or idle."""

    records: list[RawRecord]
    reason: str
    number: int = field(default_factory=lambda: next(_BATCH_IDS))


@dataclass(frozen=True, slots=True)
class Output:
    """A record to be sent."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
