"""A stage: records of one topic in, records of others out, answers and offsets together; no Faust.

One thread does all: it reads, asks the ``Work``, and commits before it reads on, while librdkafka reads ahead. So no
answer is in flight when partitions come or go, and what was not committed is read again by whoever owns it then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_app.errors import DeliveryFailed, RecordTooLarge
from stream_app.kafka.fetching import Unpacking, fetching
from stream_app.kafka.offsets import Place, places_of
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.records import Output, Partition, RawRecord
from stream_app.kafka.transactions import Transactions
from stream_app.settings import Guarantee, Settings

log = logging.getLogger(__name__)
_TICK_S = 0.1  # longest wait inside librdkafka, so that a stop is seen soon
_QUIET_S = 1.0  # how often partitions are looked at from which nothing comes
_OWED_S = 1.0  # how long places wait that come without outputs
_PLACE_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_BATCH, _BATCH_BYTES = 500, 8 * 2**20  # what is read before the next commit, at most


@dataclass(slots=True)
class Step:
    """What came of some records: ``outputs``, and where the group then stands. Both are committed together.

    Every output names its ``source``, the partition whose records it answers, and that partition is among ``places``
    with another offset or note than before. What comes without outputs may be committed later, or never: a
    successor then reads those records again.
    """

    outputs: list[Output] = field(default_factory=list)
    places: dict[Partition, Place] = field(default_factory=dict)


class Work(Protocol):
    """What a stage does. All calls come from the stage's one thread, and none may wait on I/O for long."""

    def assigned(self, partition: Partition, place: Place | None) -> None:
        """The next records of ``partition`` are this process's, from ``place.offset`` on; soon, and before the first.

        ``place.note`` is what was committed with the offset. None: the group never committed, and reading begins
        where auto_offset_reset says.
        """

    def revoked(self, partition: Partition) -> None:
        """``partition`` is another's, or read anew: forget all about it. Also of one that was never ``assigned``."""

    def take(self, records: Sequence[RawRecord]) -> Step:
        """Answers records, in offset order within each partition.

        A record's ``refusal`` says why nothing of it is at hand.
        """

    def quiet(self, partition: Partition, seconds: float) -> Step:
        """From ``partition`` nothing came for ``seconds`` more, though its broker answers."""

    def refused(self, output: Output) -> Sequence[Output]:
        """What goes in place of an output of the last step that is too large for the broker."""


class _Stopped(Exception):
    """A stop came while a commit was tried again."""


class Stage:
    """Reads ``topic`` as a member of ``settings.group_id`` and commits what ``work`` makes of it.

    Exactly once: outputs and offsets in one transaction. At least once: outputs acknowledged, then offsets. While the
    brokers are away it tries again; what cannot be committed stays uncommitted.
    """

    def __init__(self, settings: Settings, topic: str, work: Work, name: str) -> None:
        self._settings, self._topic, self._work = settings, topic, work
        exactly = settings.delivery is Guarantee.EXACTLY_ONCE
        self._transactions = Transactions(settings, name) if exactly else None
        self._publisher = None if exactly else Publisher(settings)
        self._unpacking = Unpacking()
        self._stopping = threading.Event()
        self._assigned: set[Partition] = set()
        self._heard: dict[Partition, float] = {}  # of those whose work has begun: when a record or a look was last
        self._member: object | None = None
        self._ahead: list[Message] = []  # read and not looked at yet
        self._owed: dict[Partition, Place] = {}  # places that came without outputs
        self._owed_since = 0.0
        self._trying = False
        self._left: set[Partition] = set()  # since a commit was first tried
        self._committed: dict[Partition, int] = {}
        self._lag: dict[Partition, int] = {}
        self._next_look = 0.0
        self._room = 1
        self._last_error = ""
        self.problem = ""  # what keeps it from going on, in words

    @property
    def assigned(self) -> frozenset[Partition]:
        """The partitions that are this process's now."""
        return frozenset(self._assigned)

    def lag(self) -> dict[Partition, int]:
        """Records that are not committed yet, by partition, as far as it is known."""
        return dict(self._lag)

    def open(self) -> None:
        """Makes sure that transactions can be begun. Raises BrokerUnavailable or NotAuthorized."""
        if self._transactions is not None:
            self._transactions.open()

    def stop(self) -> None:
        """From any thread or a signal's handler: ``run`` commits what it has, leaves the group and returns."""
        self._stopping.set()

    def run(self) -> None:
        """Works until ``stop``. What fails is said once and begun again from the committed places."""
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            self._subscribe()
            try:
                while not self._stopping.is_set():
                    if self._turn():
                        pause = _FIRST_PAUSE_S
            except _Stopped:
                log.warning("Stopped while %s", self.problem)
            except Exception as error:
                known = isinstance(error, DeliveryFailed)
                self._say(f"reading {self._topic} failed, it is begun again: {error}", trace=not known)
                self._stopping.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            finally:
                self._close()
        if self._publisher is not None:
            self._publisher.close()

    # Reading.

    def _subscribe(self) -> None:
        self._consumer = Consumer({**fetching(self._settings), "log_level": 2}, logger=log)
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _turn(self) -> bool:
        """Whether records came."""
        if not self._ahead:
            self._ahead.extend(self._consumer.consume(1, _TICK_S))
        if self._ahead:
            self._ahead.extend(self._consumer.consume(self._room, 0))
        messages, self._ahead = self._ahead, []
        records = self._records(messages)
        if records:
            self._room = min(_BATCH, max(1, _BATCH_BYTES // max(len(r.value or b"") + 1 for r in records)))
            self._deliver(self._work.take(records))
            self._recovered()
        now = time.monotonic()
        if self._owed and now - self._owed_since > _OWED_S:
            self._send(Step())
        if now >= self._next_look:
            self._next_look = now + _QUIET_S
            self._look(now)
        return bool(records)

    def _records(self, messages: Iterable[Message]) -> list[RawRecord]:
        now, heard = time.perf_counter(), time.monotonic()
        found: list[RawRecord] = []
        sought: set[Partition] = set()
        for message in messages:
            error, place = message.error(), (message.topic() or "", message.partition() or 0)
            if error is not None and not self._unpacking.failed(message):
                self._note(error)
                continue
            if place not in self._assigned or place in sought:  # behind a seek, all comes again
                continue
            if place not in self._heard:
                self._begin([place], _PLACE_S)
            self._heard[place] = heard
            if error is None:
                found.append(self._unpacking.record(message, place, now))
            else:
                found.append(self._unpacking.passed(self._consumer, message, place))
                sought.add(place)
        return found

    def _begin(self, partitions: Sequence[Partition], timeout_s: float) -> None:
        """What was committed last; at a partition's first record librdkafka has waited for open transactions."""
        found = self._consumer.committed([TopicPartition(*partition) for partition in partitions], timeout=timeout_s)
        if unknown := next((place.error for place in found if place.error is not None), None):
            raise KafkaException(unknown)
        places = places_of(found)
        for partition in partitions:
            if partition in places:
                self._committed[partition] = places[partition].offset
            self._work.assigned(partition, places.get(partition))

    def _begin_silent(self, now: float) -> None:
        """Work that a predecessor left behind may have to end although nothing more comes."""
        silent = sorted(self._assigned - self._heard.keys())
        if not silent:
            return
        try:
            self._begin(silent, _QUIET_S)
        except KafkaException as error:  # also where a transaction is still open: it is looked at again
            self._note(error.args[0])
        else:
            self._heard |= dict.fromkeys(silent, now)

    def _look(self, now: float) -> None:
        """Measures the lag, and asks for work on what is quiet, where its broker shows that it is there."""
        whole = Step()
        self._begin_silent(now)
        for partition in sorted(self._heard):
            quiet_s = now - self._heard[partition]
            quiet = quiet_s >= _QUIET_S
            try:
                _, high = self._consumer.get_watermark_offsets(
                    TopicPartition(*partition), timeout=_QUIET_S, cached=not quiet
                )
            except KafkaException as error:
                self._heard |= dict.fromkeys(self._heard, now)  # whatever was not heard in this time is no sign
                self._note(error.args[0])
                break
            if high >= 0:
                self._lag[partition] = max(0, high - self._committed.get(partition, 0))
            if quiet:
                self._heard[partition] = now
                step = self._work.quiet(partition, min(quiet_s, 2 * _QUIET_S))
                whole.outputs += step.outputs
                whole.places |= step.places
        self._deliver(whole)

    # Committing.

    def _deliver(self, step: Step) -> None:
        if step.outputs:
            self._send(step)
        elif step.places:
            self._owed_since = self._owed_since if self._owed else time.monotonic()
            self._owed |= step.places

    def _send(self, step: Step) -> None:
        """Tries until it succeeds, or until all its partitions are gone. Raises _Stopped."""
        step = Step(step.outputs, self._owed | step.places)
        self._owed = {}
        pause, again, self._trying = _FIRST_PAUSE_S, False, True
        self._left.clear()
        try:
            while step.places and not self._sent(step, again):
                again = True
                self._wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                self._drop_lost(step)
        finally:
            self._trying = False
        self._recovered()
        self._committed |= {partition: place.offset for partition, place in step.places.items()}

    def _sent(self, step: Step, again: bool) -> bool:
        try:
            if not (again and self._settled(step)):
                self._attempt(step)
            return True
        except RecordTooLarge as error:
            step.outputs = self._replaced(step.outputs, error.refused)
            problem: DeliveryFailed = error
        except DeliveryFailed as error:
            problem = error
        self._say(f"{problem}; trying again, nothing is committed until then")
        return False

    def _attempt(self, step: Step) -> None:
        if self._member is None:
            raise DeliveryFailed("this process is no member of its consumer group now")
        if self._transactions is not None:
            offsets = {partition: place.offset for partition, place in step.places.items()}
            notes = {partition: place.note for partition, place in step.places.items()}
            self._transactions.commit(step.outputs, offsets, self._member, notes)
        elif self._publisher is not None:
            asyncio.run(self._publisher.send(step.outputs))
            self._commit_offsets(step.places)

    def _commit_offsets(self, places: Mapping[Partition, Place]) -> None:
        offsets = [TopicPartition(*partition, place.offset, place.note) for partition, place in places.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # The next commit covers this one; a restart before it answers again, and loses nothing.
            log.warning("Offsets were not committed (%s); records may be answered again", error)

    def _settled(self, step: Step) -> bool:
        """Whether a commit whose outcome was not heard was one: then its partitions have moved, all or none."""
        if self._transactions is None:
            return False
        found = self._transactions.places(list(step.places))
        return any(found.get(partition) == place for partition, place in step.places.items())

    def _replaced(self, outputs: Sequence[Output], refused: Sequence[object]) -> list[Output]:
        found: list[Output] = []
        for output in outputs:
            found += self._work.refused(output) if any(output is each for each in refused) else [output]
        return found

    def _drop_lost(self, step: Step) -> None:
        """Who has the partitions that left meanwhile, be it this process again, reads their records anew."""
        step.outputs = [output for output in step.outputs if output.source not in self._left]
        step.places = {partition: place for partition, place in step.places.items() if partition not in self._left}

    def _wait(self, pause: float) -> None:
        """Stays a member of the group meanwhile. Raises _Stopped."""
        self._consumer.pause(self._consumer.assignment())
        deadline = time.monotonic() + pause
        while (left := deadline - time.monotonic()) > 0:
            if self._stopping.is_set():
                raise _Stopped
            self._ahead.extend(self._consumer.consume(1, min(left, _TICK_S)))
        self._consumer.resume(self._consumer.assignment())

    def _say(self, problem: str, trace: bool = False) -> None:
        if problem != self.problem:
            self.problem = problem
            log.warning("%s", problem, exc_info=trace)

    def _recovered(self) -> None:
        self._last_error = ""
        if self.problem:
            self.problem = ""
            log.warning("It goes on")

    def _note(self, error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        if error.str() != self._last_error:
            self._last_error = error.str()
            log.warning("Kafka: %s; reading goes on", self._last_error)

    # Partitions that come and go. librdkafka calls these from within ``consume`` and ``close``.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        self._join(consumer)
        # One that was paused when it left comes back paused.
        (consumer.pause if self._trying else consumer.resume)(partitions)
        self._assigned |= {(p.topic, p.partition) for p in partitions}
        if partitions:
            log.info("Assigned partitions %s", sorted(p.partition for p in partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._join(consumer)  # still a member, and of a new generation
        leaving = {(p.topic, p.partition) for p in partitions}
        owed = Step(places={place: self._owed[place] for place in leaving & self._owed.keys()})
        if owed.places and not self._trying:
            with suppress(DeliveryFailed):  # then the successor reads a little more
                self._attempt(owed)
        self._leave(leaving)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("Partitions %s were lost to the group", sorted(p.partition for p in partitions))
        self._member = None
        self._leave({(p.topic, p.partition) for p in partitions})

    def _join(self, consumer: Consumer) -> None:
        """Takes over the group's generation here alone: in the background it may be of a group that we lost."""
        # Without a member id the broker would take the offsets of a transaction from anyone.
        self._member = consumer.consumer_group_metadata() if consumer.memberid() else None

    def _leave(self, leaving: set[Partition]) -> None:
        self._assigned -= leaving
        self._left |= leaving
        self._ahead[:] = [m for m in self._ahead if (m.topic(), m.partition()) in self._assigned]
        for partition in leaving:
            for known in (self._heard, self._owed, self._committed, self._lag):
                known.pop(partition, None)
            self._unpacking.forget(partition)
            self._work.revoked(partition)
        if leaving:
            log.info("Gave up partitions %s", sorted(partition for _, partition in leaving))

    def _close(self) -> None:
        try:
            self._consumer.close()
        except Exception:
            log.exception("The consumer did not close cleanly; the group notices by its session timeout")
        self._member = None
        self._ahead.clear()
        self._leave(set(self._assigned))
