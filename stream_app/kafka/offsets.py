"""Which offsets may be committed: of every partition, the finished prefix of what was handed out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import TopicPartition

from stream_app.kafka.records import MicroBatch, Output, Partition


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group stands in a partition: the offset to read from, and the note that was committed with it."""

    offset: int
    note: str = ""


def places_of(found: Iterable[TopicPartition]) -> dict[Partition, Place]:
    """What a consumer's ``committed`` says; a partition for which nothing was ever committed is left out."""
    return {(p.topic, p.partition): Place(p.offset, p.metadata or "") for p in found if p.offset >= 0}


@dataclass(frozen=True, slots=True)
class Claim:
    """What of some batches is still this worker's to answer, and as which member of the group."""

    ends: Mapping[int, Mapping[Partition, int]]  # by batch number: the offsets after its last records
    member: object | None  # librdkafka's group metadata, with the generation; None: no member now

    @property
    def offsets(self) -> dict[Partition, int]:
        """The offsets to commit when all is answered."""
        found: dict[Partition, int] = {}
        for ends in self.ends.values():
            for partition, end in ends.items():
                found[partition] = max(end, found.get(partition, 0))
        return found

    def without(self, settled: Mapping[Partition, int]) -> Claim:
        """What is left of it when these offsets are committed already."""
        left = {
            number: {place: end for place, end in ends.items() if end > settled.get(place, -1)}
            for number, ends in self.ends.items()
        }
        return Claim(left, self.member)

    def owed(self, batch: MicroBatch, outputs: Sequence[Output]) -> list[Output]:
        """The outputs that answer records of partitions that are still owned."""
        return [output for output in outputs if output.source in self.ends[batch.number]]


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

    def ends(self, batch: MicroBatch) -> dict[Partition, int]:
        """The offset after the batch's last record of each partition that is still this worker's since it was read."""
        return {
            partition: end
            for partition in self._open.get(batch.number, ())
            for number, end in self._handed_out.get(partition, ())
            if number == batch.number
        }

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
