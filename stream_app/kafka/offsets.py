"""Which offsets may be committed: of every partition, the finished prefix of what was handed out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from stream_app.kafka.records import MicroBatch

Partition = tuple[str, int]


class OffsetTracker:
    """Not thread-safe: the channel holds its lock around every call."""

    def __init__(self) -> None:
        # Of each partition, in order: [batch number, offset after its last record].
        self._handed_out: dict[Partition, deque[tuple[int, int]]] = {}
        self._open: dict[int, set[Partition]] = {}
        self._finished: set[int] = set()

    @property
    def open_batches(self) -> int:
        """Batches that were handed out and are not done."""
        return len(self._open)

    def add(self, batch: MicroBatch) -> None:
        """Notes a batch that is handed out. Its records of a partition are in offset order."""
        ends: dict[Partition, int] = {}
        for record in batch.records:
            if record.reply is not None:  # it came by another door and has no offset
                continue
            ends[record.topic, record.partition] = record.offset + 1
        self._open[batch.number] = set(ends)
        for partition, end in ends.items():
            self._handed_out.setdefault(partition, deque()).append((batch.number, end))

    def done(self, batch: MicroBatch) -> None:
        """Notes that all outputs of a batch are acknowledged."""
        self._open.pop(batch.number, None)
        self._finished.add(batch.number)

    def committable(self) -> dict[Partition, int]:
        """Offsets to commit now, by partition; each is returned once."""
        found: dict[Partition, int] = {}
        for partition, queue in self._handed_out.items():
            while queue and queue[0][0] in self._finished:
                found[partition] = queue.popleft()[1]
        waiting = {number for queue in self._handed_out.values() for number, _ in queue}
        self._finished &= waiting
        return found

    def waits_for(self, partitions: Iterable[Partition]) -> bool:
        """Whether records of these partitions are still being worked on."""
        return any(number not in self._finished for p in partitions for number, _ in self._handed_out.get(p, ()))

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drops partitions that another worker owns now: what is done later must not be committed here."""
        for partition in partitions:
            self._handed_out.pop(partition, None)
