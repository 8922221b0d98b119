"""The stage that makes captures of receptions: records in, captures and dead letters out."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client import Counter as Metric

from stream_app.assembly.metrics import AssemblyMetrics
from stream_app.assembly.note import Mark, decode_note
from stream_app.assembly.slots import Assembled, PartitionSlots, Refused, Result, Rules
from stream_app.errors import CaptureError, RecordTooLarge
from stream_app.kafka.letter import letter_of, without_value
from stream_app.kafka.offsets import Place
from stream_app.kafka.records import Output, Partition, RawRecord
from stream_app.kafka.stage import Step
from stream_app.network.file import Network
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.records.dead_letter import replays_of
from stream_app.records.reception_reader import ReceptionReader
from stream_app.settings import Settings

log = logging.getLogger(__name__)
_LONGEST_TURN_S = 2.0  # between two calls; what is more was no time in which records could come
_SAVE_S = 0.5  # how often places are worked out that have no outputs


class Assembler:
    """The ``Work`` of ``fixstream assemble``. Called from one thread."""

    def __init__(
        self, settings: Settings, networks: Iterable[Network], codecs: Codecs, metrics: AssemblyMetrics
    ) -> None:
        self._settings, self._codecs, self._metrics = settings, codecs, metrics
        self._networks = {network.name: network for network in networks}
        self._rules = Rules(
            patience_us=settings.assembly_patience_ms * 1000,
            lateness_us=settings.assembly_lateness_ms * 1000,
            idle_s=settings.assembly_idle_ms / 1e3,
            min_receivers=settings.assembly_min_receivers,
            max_span=settings.assembly_max_span,
        )
        self._reader = ReceptionReader(codecs)
        self._parts: dict[Partition, PartitionSlots] = {}
        self._called: dict[Partition, float] = {}
        self._saved: dict[Partition, float] = {}
        self._sent: dict[int, Assembled] = {}  # by the output's id, of the last step
        self._counts: Counter[tuple[Metric, str]] = Counter()  # of this step, with their labels

    @property
    def open_slots(self) -> int:
        """Slots that wait for receivers."""
        return sum(part.open_slots for part in self._parts.values())

    @property
    def held_bytes(self) -> int:
        """What their receptions take."""
        return sum(part.held_bytes for part in self._parts.values())

    def assigned(self, partition: Partition, place: Place | None) -> None:
        """Begins where the group's note says."""
        read_to, marks = _read(place)
        self._parts[partition] = PartitionSlots(
            self._networks, self._rules, 0 if place is None else place.offset, read_to, marks
        )
        self._called[partition] = self._saved[partition] = time.monotonic()

    def revoked(self, partition: Partition) -> None:
        """Forgets its slots: whoever has it now reads them again."""
        for known in (self._parts, self._called, self._saved):
            known.pop(partition, None)

    def take(self, records: Sequence[RawRecord]) -> Step:
        """Captures of the slots that these end, and dead letters."""
        touched: dict[Partition, None] = {}
        for record in records:
            source = record.source
            touched[source] = None
            self._add(self._parts[source], record)
        for partition in touched:
            self._parts[partition].pass_time(self._elapsed(partition))
            self._parts[partition].bound()
        while self.held_bytes > self._settings.assembly_max_bytes:
            partition = max(self._parts, key=lambda each: self._parts[each].held_bytes)
            self._parts[partition].close_oldest("early")
            touched[partition] = None
        return self._step(touched)

    def quiet(self, partition: Partition, seconds: float) -> Step:
        """Ends what has waited for too long by the wall clock."""
        self._elapsed(partition)
        self._parts[partition].pass_time(seconds)
        return self._step([partition])

    def refused(self, output: Output) -> Sequence[Output]:
        """Of a capture that is too large, its receptions' dead letters; of a dead letter, one without the value."""
        assembled = self._sent.pop(id(output), None)
        return [without_value(output)] if assembled is None else self._too_large(assembled, len(output.value or b""))

    def _elapsed(self, partition: Partition) -> float:
        now = time.monotonic()
        before, self._called[partition] = self._called[partition], now
        return min(now - before, _LONGEST_TURN_S)

    def _add(self, part: PartitionSlots, record: RawRecord) -> None:
        try:
            if record.refusal is not None:
                raise record.refusal
            received = self._reader.read(record.value)
        except CaptureError as error:
            if not part.answered(record.offset):
                part.results.append(Refused((record, None), error))
            return
        size = len(record.value or b"")
        if received.channel is None:
            size += len(received.reception.channel.samples)  # a copy
        part.add(received.reception, (record, received.channel), record.offset, size, replays_of(record.headers))

    def _step(self, partitions: Iterable[Partition]) -> Step:
        step = Step()
        self._sent = {}
        now = time.monotonic()
        for partition in partitions:
            part = self._parts[partition]
            if not part.results and now - self._saved[partition] < _SAVE_S:
                continue  # a note costs as much as some captures
            self._saved[partition] = now
            note = part.note()  # before the offset: one that grew too long has ended slots
            step.places[partition] = Place(part.offset, note)
            step.outputs += self._outputs(part.results)
            part.results = []
            self._counts[self._metrics.receptions, "repeated"] += part.repeated
            part.repeated = 0
        for (counter, label), count in self._counts.items():
            counter.labels(label).inc(count)
        self._counts.clear()
        return step

    def _outputs(self, results: Sequence[Result]) -> list[Output]:
        found: list[Output] = []
        for result in results:
            found += [self._letter(result)] if isinstance(result, Refused) else self._capture(result)
        return found

    def _capture(self, result: Assembled) -> list[Output]:
        capture, (first, _) = result.capture, result.held[0].record
        # A channel that was cut is another one than was received.
        pairs = zip(capture.channels, result.held, strict=True)
        as_received = [held.record[1] if channel is held.reception.channel else None for channel, held in pairs]
        value = self._codecs.join_channels(capture, as_received)
        if len(value) > self._settings.max_message_bytes:
            return self._too_large(result, len(value))
        output = Output(self._settings.captures_topic, key_of(capture), value, [], first.source)
        self._sent[id(output)] = result
        whole = len(capture.channels) == len(self._networks[capture.network].receivers)
        self._counts[self._metrics.captures, "complete" if whole else "partial"] += 1
        self._counts[self._metrics.slots, result.why] += 1
        self._counts[self._metrics.receptions, "captured"] += len(result.held)
        return [output]

    def _too_large(self, result: Assembled, size: int) -> list[Output]:
        error = RecordTooLarge(
            f"the capture {result.capture.capture_id!r} would have {size} bytes, more than "
            f"{self._settings.captures_topic} takes: send shorter slots, or raise its max.message.bytes and "
            "FIXSTREAM_MAX_MESSAGE_BYTES",
            (),
        )
        return [self._letter(Refused(held.record, error)) for held in result.held]

    def _letter(self, result: Refused) -> Output:
        self._counts[self._metrics.receptions, result.error.code] += 1
        record, _ = result.record
        return letter_of(record, result.error, self._settings.dead_letter_topic)


def _read(place: Place | None) -> tuple[int, list[Mark]]:
    if place is None or not place.note:
        return 0, []
    try:
        return decode_note(place.note)
    except ValueError as error:
        log.warning("The note beside offset %d is not an assembler's (%s); slots begin anew", place.offset, error)
        return 0, []
