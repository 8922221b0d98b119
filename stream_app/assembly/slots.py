"""Receptions of one partition, in any order, become captures: pure, without Kafka, clock or thread.

Slots are told apart by network, frequency (whole hertz, as in the record's key) and nominal start. A slot ends

- complete: every receiver of the network's file is there;
- by event time: the stream's newest slot is ``patience_us + lateness_us`` ahead. Newest is the highest one that as
  many receivers have sent as a capture needs, so that a single wrong clock cannot end the others' slots. It is the
  stream's own, not the partition's: a replay of last year beside live receivers would be late with every slot;
- by the wall clock, ``idle_s`` after it began: a stream that stops moves no event time;
- early, where the bounds on memory, on what a restart reads again, or on the note want it.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stream_app.assembly.note import MOST_BYTES, Mark, encode_note
from stream_app.assembly.overlap import fit
from stream_app.errors import (
    CaptureError,
    FixStreamError,
    FrequencyMismatch,
    LateReception,
    NoOverlap,
    TooFewReceivers,
    UnknownNetwork,
    UnknownReceiver,
)
from stream_app.network.file import Network
from stream_app.records.capture import Channel, IqCapture
from stream_app.records.reception import IqReception
from stream_app.records.validate import MAX_METADATA

NEVER = -(2**62)  # before every slot
_LONGEST_NETWORK = 200  # characters of it in a capture's name, which may have 256 in all
_SMALL = 16  # closed slots that are not worth a higher floor


@dataclass(frozen=True, slots=True)
class Rules:
    """When slots end, and the bounds of a partition."""

    patience_us: int = 1_000_000
    lateness_us: int = 2_000_000
    idle_s: float = 10.0
    min_receivers: int = 2
    max_span: int = 50_000  # records between the committed offset and what was read
    note_bytes: int = MOST_BYTES


class Held(NamedTuple):
    """A reception that waits for its slot's end; ``record`` is whatever the caller knows it by."""

    reception: IqReception
    record: Any
    offset: int
    size: int  # bytes that it keeps in memory


@dataclass(slots=True)
class Assembled:
    """A slot's capture, and what it was made of."""

    capture: IqCapture
    held: list[Held]
    why: str  # complete, patience, idle or early


@dataclass(slots=True)
class Refused:
    """A reception that is in no capture, and why."""

    record: Any
    error: FixStreamError


Result = Assembled | Refused


@dataclass(slots=True)
class _Slot:
    at_us: int
    opened_s: float
    offset: int  # of its first reception
    held: dict[str, Held] = field(default_factory=dict)  # by receiver, as they came


class _Stream:
    """One network's receptions of one frequency."""

    def __init__(self, name: bytes, network: Network, replays: int, rules: Rules, mark: Mark | None) -> None:
        self.name, self.network, self.replays = name, network, replays
        self.bits = {receiver.receiver_id: 1 << bit for bit, receiver in enumerate(network.receivers)}
        self.needed = min(rules.min_receivers, len(self.bits))
        self.newest_us, self.floor_us = (NEVER, NEVER) if mark is None else (mark.newest_us, mark.floor_us)
        self.closed: dict[int, int] = {} if mark is None else dict(mark.closed)  # slot: its receivers' bits
        self.open: dict[int, _Slot] = {}
        self.heap = list(self.closed)  # open and closed slots above the floor
        heapq.heapify(self.heap)
        self.last_offset = 0

    def mark(self) -> Mark:
        return Mark(mark_name(self.name), self.newest_us, self.floor_us, self.closed)


def stream_name(reception: IqReception, replays: int) -> bytes:
    """Who belongs together. What was sent again is a stream of its own: the first one is past it for good."""
    name = f"{reception.network}/{reception.center_frequency_hz:.0f}"
    return (f"{name}#{replays}" if replays else name).encode()


def mark_name(stream: bytes) -> bytes:
    """The stream in a note: 8 bytes."""
    return hashlib.blake2b(stream, digest_size=8).digest()


class PartitionSlots:
    """The open and the closed slots of one partition. ``results`` grow with every call; the caller takes them away.

    Records come in the order of their offsets. Those below ``known_to`` were read by a predecessor: what it answered
    is passed over, what it left open is held again.
    """

    def __init__(
        self,
        networks: Mapping[str, Network],
        rules: Rules,
        position: int = 0,
        known_to: int = 0,
        marks: Iterable[Mark] = (),
    ) -> None:
        self._networks, self._rules, self.known_to = networks, rules, known_to
        self._marks = {mark.stream: mark for mark in marks}
        self._streams: OrderedDict[bytes, _Stream] = OrderedDict()  # who was heard last is last
        self._open: OrderedDict[tuple[bytes, int], _Slot] = OrderedDict()  # in the order of their first receptions
        self._alive_s = 0.0
        self.position = position  # the next offset to be read
        self.held_bytes = 0
        self.results: list[Result] = []
        self.repeated = 0

    @property
    def open_slots(self) -> int:
        """How many."""
        return len(self._open)

    @property
    def offset(self) -> int:
        """Of the oldest open reception; where there is none, the next to be read."""
        return next(iter(self._open.values())).offset if self._open else self.position

    def answered(self, offset: int) -> bool:
        """Whether a record that belongs to no slot was answered before. Notes that it is read."""
        known = offset < max(self.known_to, self.position)
        self.position = max(self.position, offset + 1)
        return known

    def add(self, reception: IqReception, record: Any, offset: int, size: int, replays: int = 0) -> None:
        """Takes a reception that can be true; ends what it completes, or what it shows to be over."""
        if offset < self.position:  # read twice by this process
            return
        self.position = offset + 1
        known = offset < self.known_to
        stream = self._stream(reception, replays)
        refusal = self._misplaced(stream, reception)
        if stream is None or refusal is not None:
            if refusal is not None and not known:
                self.results.append(Refused(record, refusal))
            return
        stream.last_offset = offset
        at, receiver = reception.slot_at_us, reception.channel.receiver_id
        if at <= stream.floor_us or at in stream.closed:
            if not known:
                self._too_late(stream, reception, record)
            return
        slot = stream.open.get(at)
        if slot is None:
            slot = stream.open[at] = self._open[stream.name, at] = _Slot(at, self._alive_s, offset)
            heapq.heappush(stream.heap, at)
        elif receiver in slot.held:
            self.repeated += not known
            return
        slot.held[receiver] = Held(reception, record, offset, size)
        self.held_bytes += size
        if known:  # whatever it completes or shows to be over, the predecessor has ended
            return
        if len(slot.held) == len(stream.bits):
            self._close(stream, slot, "complete")
        if at > stream.newest_us and len(slot.held) >= stream.needed:
            stream.newest_us = at
            self._raise_floor(stream, at - self._rules.patience_us - self._rules.lateness_us, "patience")

    def pass_time(self, seconds: float) -> None:
        """``seconds`` more have gone by the wall clock, in which records could come."""
        self._alive_s += seconds
        if self.position < self.known_to:  # what the predecessor has read is not all read again
            return
        while self._open:
            slot = next(iter(self._open.values()))
            if self._alive_s - slot.opened_s < self._rules.idle_s:
                break
            self.close_oldest("idle")
        for stream in [s for s in self._streams.values() if s.replays]:
            if not stream.open and stream.last_offset < self.offset:  # replays come seldom: each starts anew
                del self._streams[stream.name]

    def close_oldest(self, why: str) -> None:
        """Ends the slot that has been open for longest."""
        name, at = next(iter(self._open))
        stream = self._streams[name]
        self._close(stream, stream.open[at], why)

    def bound(self) -> None:
        """Ends slots early while more than ``max_span`` records would be read again."""
        while self._open and max(self.position, self.known_to) - self.offset > self._rules.max_span:
            self.close_oldest("early")

    def note(self) -> str:
        """What goes with ``offset``. Ends slots early, and forgets streams that are silent, until it fits."""
        while True:
            marks = [stream.mark() for stream in self._streams.values()]
            marks += self._marks.values()  # of streams that were not heard again
            note = encode_note(max(self.position, self.known_to), marks)
            if len(note) <= self._rules.note_bytes or not marks:
                return note
            self._shorten()

    def _stream(self, reception: IqReception, replays: int) -> _Stream | None:
        name = stream_name(reception, replays)
        stream = self._streams.get(name)
        if stream is not None:
            self._streams.move_to_end(name)
            return stream
        network = self._networks.get(reception.network)
        if network is None:
            return None
        stream = _Stream(name, network, replays, self._rules, self._marks.pop(mark_name(name), None))
        self._streams[name] = stream
        return stream

    def _misplaced(self, stream: _Stream | None, reception: IqReception) -> CaptureError | None:
        if stream is None:
            known = ", ".join(sorted(self._networks))
            return UnknownNetwork(
                f"network {reception.network!r} is not assembled here, only {known}: give its file with --network"
            )
        if reception.channel.receiver_id not in stream.bits:
            return UnknownReceiver(
                f"network {reception.network} has no receiver {reception.channel.receiver_id!r}: "
                "add it to the network's file"
            )
        return None

    def _too_late(self, stream: _Stream, reception: IqReception, record: Any) -> None:
        at, receiver = reception.slot_at_us, reception.channel.receiver_id
        if stream.closed.get(at, 0) & stream.bits[receiver]:
            self.repeated += 1
            return
        behind_s = (stream.newest_us - at) / 1e6
        error = LateReception(
            f"receiver {receiver} sent slot {at} of {stream.name.decode()} when that was closed, "
            f"{behind_s:g} s behind the newest: see FIXSTREAM_ASSEMBLY_PATIENCE_MS and FIXSTREAM_ASSEMBLY_LATENESS_MS"
        )
        self.results.append(Refused(record, error))

    def _raise_floor(self, stream: _Stream, floor_us: int, why: str) -> None:
        stream.floor_us = max(stream.floor_us, floor_us)
        while stream.heap and stream.heap[0] <= stream.floor_us:
            at = heapq.heappop(stream.heap)
            slot = stream.open.get(at)
            if slot is not None:
                self._close(stream, slot, why)
            stream.closed.pop(at, None)

    def _close(self, stream: _Stream, slot: _Slot, why: str) -> None:
        del stream.open[slot.at_us]
        del self._open[stream.name, slot.at_us]
        stream.closed[slot.at_us] = sum(stream.bits[receiver] for receiver in slot.held)
        held = [slot.held[receiver] for receiver in stream.bits if receiver in slot.held]
        self.held_bytes -= sum(each.size for each in held)
        self.results += assemble(held, self._rules.min_receivers, why, stream.replays)

    def _shorten(self) -> None:
        """Makes the note shorter by a good part, at the least cost: called until it fits."""
        if self._marks:  # nobody has sent there since the start
            for name in list(self._marks)[: len(self._marks) // 2 + 1]:
                del self._marks[name]
            return
        fullest = max(self._streams.values(), key=lambda stream: len(stream.closed))
        if len(fullest.closed) > _SMALL:
            slots = sorted(fullest.closed)
            self._raise_floor(fullest, slots[len(slots) // 2], "early")
            return
        spare = [stream for stream in self._streams.values() if not stream.open and stream.last_offset < self.offset]
        for stream in spare[: len(spare) // 2 + 1]:
            del self._streams[stream.name]
        if not spare:
            self.close_oldest("early")


def assemble(held: Sequence[Held], min_receivers: int, why: str, replays: int = 0) -> list[Result]:
    """One slot's receptions, in the network's order: its capture, and who is not in it."""
    results: list[Result] = []
    frequency_hz = _agreed([each.reception.center_frequency_hz for each in held])
    alike = []
    for each in held:
        if each.reception.center_frequency_hz == frequency_hz:
            alike.append(each)
            continue
        stated = each.reception.center_frequency_hz
        results.append(
            Refused(
                each.record,
                FrequencyMismatch(
                    f"receiver {each.reception.channel.receiver_id} states {stated!r} Hz, the others of its slot "
                    f"{frequency_hz!r} Hz: all receivers of a slot must state the same"
                ),
            )
        )
    channels = fit([each.reception.channel for each in alike], min_receivers)
    within = {channel.receiver_id for channel in channels}
    together = [each for each in alike if each.reception.channel.receiver_id in within]
    for each in alike:
        if each.reception.channel.receiver_id not in within:
            error = _alone(each, alike, min_receivers, bool(within), why)
            results.append(Refused(each.record, error))
    if together:
        results.append(Assembled(_capture(together, channels, frequency_hz, replays), together, why))
    return results


def _agreed(stated: Sequence[float]) -> float:
    """What most state; of several the lowest, so that no order of arrival matters."""
    counts = Counter(stated)
    return min(counts, key=lambda value: (-counts[value], value))


def _alone(each: Held, alike: Sequence[Held], min_receivers: int, others: bool, why: str) -> CaptureError:
    at, name = each.reception.slot_at_us, each.reception.channel.receiver_id
    if others or len(alike) >= min_receivers:
        return NoOverlap(
            f"the samples of receiver {name} share too little time with those of the others of slot {at}: "
            "check its clock, and that slot_at is the schedule's"
        )
    return TooFewReceivers(
        f"slot {at} had {len(alike)} of at least {min_receivers} receivers when it was closed ({why}): are the others "
        "sending, with the same slot_at, key and partitioner?"
    )


def _capture(held: Sequence[Held], channels: Sequence[Channel], frequency_hz: float, replays: int) -> IqCapture:
    first = held[0].reception
    name = f"{first.network[:_LONGEST_NETWORK]}/{frequency_hz:.0f}/{first.slot_at_us}"
    return IqCapture(
        capture_id=f"{name}#{replays}" if replays else name,
        network=first.network,
        captured_at_us=first.slot_at_us,
        center_frequency_hz=frequency_hz,
        channels=tuple(channels),
        metadata=_merged(held),
    )


def _merged(held: Sequence[Held]) -> dict[str, str]:
    """What all say alike keeps its name; where they differ, or some are silent, the receiver's goes before it."""
    if not any(each.reception.metadata for each in held):
        return {}
    merged: dict[str, str] = {}
    for name in sorted({name for each in held for name in each.reception.metadata}):
        said = {each.reception.channel.receiver_id: each.reception.metadata.get(name) for each in held}
        if len(set(said.values())) == 1:
            said = {"": next(iter(said.values()))}
        merged |= {f"{who}.{name}" if who else name: text for who, text in said.items() if text is not None}
    return dict(list(merged.items())[:MAX_METADATA])
