"""What crosses the Kafka edge: raw records in, micro-batches of them, outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from stream_app.errors import CaptureError, FixStreamError
from stream_app.records.capture import IqCapture
from stream_app.records.fix import Fix

Partition = tuple[str, int]  # topic, number
_BATCH_IDS = count()


@dataclass(slots=True)
class RawRecord:
    """A record as it was read, or a capture that came by another door and waits for its answer.

    ``received_at`` is time.perf_counter() when librdkafka handed it over.
    """

    value: bytes | None  # None: a tombstone, and its dead letter is one, too
    key: bytes | None
    topic: str
    partition: int
    offset: int
    received_at: float
    capture: IqCapture | None = None
    reply: Callable[[Fix | FixStreamError], object] | None = None  # the answer goes here, not to Kafka
    headers: Sequence[tuple[str, bytes | None]] | None = None
    refusal: CaptureError | None = None  # why nothing of the record is at hand
    at_ms: int = 0  # the record's own time, Unix

    @property
    def source(self) -> Partition:
        """The partition that it was read from."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Records that are answered together, and why they left: full, age of the oldest, or idle."""

    records: list[RawRecord]
    reason: str
    number: int = field(default_factory=lambda: next(_BATCH_IDS))


@dataclass(slots=True)
class Output:
    """A record to be sent. ``source`` is the partition whose record it answers: who lost it must not answer."""

    topic: str
    key: bytes | None
    value: bytes | None  # None: a tombstone
    headers: list[tuple[str, bytes]]
    source: Partition | None = None
    partition: int = -1  # of ``topic``; -1: the key decides
    at_ms: int = 0  # the record's time, Unix; 0: when it is sent
