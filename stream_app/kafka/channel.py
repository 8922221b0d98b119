"""The Faust channel that a librdkafka thread fills with micro-batches of captures."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import faust
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from stream_app.errors import Overloaded
from stream_app.kafka.fetching import Unpacking, fetching
from stream_app.kafka.offsets import Claim, OffsetTracker
from stream_app.kafka.records import MicroBatch, Partition, RawRecord
from stream_app.settings import Guarantee, Settings

log = logging.getLogger(__name__)
_TICK_S = 0.1  # longest wait inside librdkafka, so that done batches and a stop are seen soon
_LAG_EVERY_S = 1.0
_REVOKE_WAIT_S = 10.0  # how long a rebalance waits for captures in flight
_RESTART_PAUSE_S = 1.0
_COMMITTED_WAIT_S = 2.0
_PAUSE_AFTER_S = 1.0  # a pause throws away what librdkafka has read ahead: only for a stall, not for a full moment


def why_leave(pending: Sequence[RawRecord], at_work: int, settings: Settings, now: float) -> tuple[str | None, float]:
    """Why the captures that wait leave now as a batch, or None and how long to wait for company, seconds."""
    if not pending:
        return None, _TICK_S
    if len(pending) >= settings.max_batch:
        return "full", 0.0
    if not at_work:
        return "idle", 0.0
    left = settings.max_wait_ms / 1e3 - (now - pending[0].received_at)
    # A batch that is worked on may be answered sooner than the age is reached: look again often.
    return ("age", 0.0) if left <= 0 else (None, min(left, 0.002))


class CaptureChannel(faust.Channel[MicroBatch]):  # type: ignore[misc,unused-ignore]
    """Each event's value is a MicroBatch. Offsets, rebalances, pause and resume are librdkafka's.

    A batch's offsets are committed only after ``done``, and only as the finished prefix of their partitions; where
    transactions commit them (exactly once), ``claim`` says which, and ``done`` comes after that.
    """

    def __init__(self, app: faust.App, settings: Settings, metrics: Any = None, **kwargs: Any) -> None:
        self._queue: ThrowableQueue | None = None
        super().__init__(app, **kwargs)
        self._settings, self._metrics = settings, metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._tracker = OffsetTracker()
        self._at_work: set[int] = set()  # numbers of batches that have no answers yet
        self._pending: list[RawRecord] = []
        self._offered: deque[RawRecord] = deque()
        self._member: object | None = None
        self._assigned: set[Partition] = set()
        self._committed: dict[Partition, int] = {}
        self._lag: dict[int, int] = {}
        self._unpacking = Unpacking()
        self._draining = self._stopping = False
        self._listening = False  # the consumer's thread waits for the stream, with nothing in hand

    def _clone_args(self) -> dict[str, Any]:
        return {**super()._clone_args(), "settings": self._settings, "metrics": self._metrics}

    @property
    def queue(self) -> ThrowableQueue:
        """Where batches wait for the agent. Not Faust's own queue: that one is emptied when Faust rebalances."""
        if self._queue is None:
            self._queue = ThrowableQueue(flow_control=FlowControlEvent(initially_suspended=False))
        return self._queue

    @property
    def ready(self) -> bool:
        """Whether partitions are assigned to this worker."""
        return bool(self._assigned)

    @property
    def in_flight(self) -> int:
        """Batches handed out and not done."""
        return self._tracker.open_batches

    def lag(self) -> dict[int, int]:
        """Records that are not committed yet, by partition; empty until it is known."""
        return dict(self._lag)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the consumer's thread; batches are delivered on ``loop``."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="captures", daemon=True)
        self._thread.start()

    def answered(self, batch: MicroBatch) -> None:
        """``batch`` has its answers: another one may be worked on while they are delivered."""
        with self._changed:
            self._at_work.discard(batch.number)
            self._changed.notify_all()
        self._dispatch_offered()

    def done(self, batch: MicroBatch) -> None:
        """All outputs of ``batch`` are acknowledged by the broker: its offsets may be committed."""
        with self._changed:
            self._tracker.done(batch)
        self.answered(batch)

    def claim(self, batches: Sequence[MicroBatch]) -> Claim:
        """What of these batches may be answered now."""
        with self._changed:
            return Claim({batch.number: self._tracker.ends(batch) for batch in batches}, self._member)

    def offer(self, record: RawRecord) -> None:
        """A capture by another door, on the event loop: it joins the stream's next micro-batch, or makes its own."""
        with self._changed:
            self._offered.append(record)
            alone, busy = self._listening, bool(self._at_work)
        if alone:
            wait_s = self._settings.max_wait_ms / 1e3 if busy else 0.0
            asyncio.get_running_loop().call_later(wait_s, self._dispatch_offered)

    async def drain(self, timeout: float) -> None:
        """Takes no more, waits up to ``timeout`` seconds for what is in flight, commits, leaves the group."""
        thread = self._thread
        if thread is None:
            return
        self._draining = True
        deadline = time.monotonic() + timeout
        while self.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if self.in_flight:
            log.warning("%d micro-batches were not done within %.0f s; they stay uncommitted", self.in_flight, timeout)
        self._stopping = True
        await asyncio.get_running_loop().run_in_executor(None, thread.join, 10.0)

    def _dispatch_offered(self) -> None:
        """While the consumer's thread waits for the stream, offered captures leave from here, on the event loop."""
        settings = self._settings
        with self._changed:
            if not self._listening or self._full:
                return  # the consumer's thread takes them along, or answered() comes back here
            records = [self._offered.popleft() for _ in range(min(len(self._offered), settings.max_batch))]
        self._dispatch(records, "offered")

    @property
    def _full(self) -> bool:
        settings = self._settings
        return len(self._at_work) >= settings.max_in_flight or self.in_flight >= settings.max_undelivered

    # The rest runs in the consumer's thread.

    def _run(self) -> None:
        while not self._stopping:
            consumer = self._subscribed()
            try:
                while not self._stopping:
                    self._turn(consumer)
            except Exception:
                log.exception("The consumer of %s failed; it is started again", self._settings.captures_topic)
                time.sleep(_RESTART_PAUSE_S)
            finally:
                self._close(consumer)

    def _subscribed(self) -> Consumer:
        settings = self._settings
        consumer = Consumer(fetching(settings), logger=log)
        consumer.subscribe(
            [settings.captures_topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        self._paused: bool | None = False
        self._next_lag = 0.0
        self._full_since: float | None = None
        return consumer

    def _turn(self, consumer: Consumer) -> None:
        self._commit(consumer, asynchronous=True)
        self._measure_lag(consumer)
        settings = self._settings
        if self._full or self._draining:
            now = time.monotonic()
            self._full_since = self._full_since or now
            if self._draining:
                self._drop_pending()
            if self._draining or now - self._full_since > _PAUSE_AFTER_S:
                self._set_paused(consumer, True)
                self._take(consumer, consumer.consume(settings.max_batch, 0))
            with self._changed:
                if self._full or self._draining:
                    self._changed.wait(_TICK_S / 10)
            return
        self._full_since = None
        self._set_paused(consumer, False)
        self._take_offered(settings.max_batch // 2)
        room = settings.max_batch - len(self._pending)
        if room > 0:
            self._take(consumer, consumer.consume(room, 0))
        self._take_offered(settings.max_batch)
        reason, wait_s = why_leave(self._pending, len(self._at_work), settings, time.perf_counter())
        if reason is not None:
            # A paused poll may have added a few over max_batch.
            leaving, self._pending = self._pending[: settings.max_batch], self._pending[settings.max_batch :]
            self._dispatch(leaving, reason)
            return
        with self._changed:
            self._listening = not self._pending and not self._offered
            wait_s = wait_s if self._listening or self._pending else 0.0
        self._take(consumer, consumer.consume(1, wait_s))
        self._listening = False

    def _take_offered(self, limit: int) -> None:
        """Offered captures join what waits, up to ``limit`` in all: half a batch is theirs, whatever the backlog."""
        with self._changed:
            while self._offered and len(self._pending) < limit:
                self._pending.append(self._offered.popleft())

    def _take(self, consumer: Consumer, messages: list[Message]) -> None:
        now = time.perf_counter()
        sought: set[Partition] = set()
        for message in messages:
            place = message.topic() or "", message.partition() or 0
            error = message.error()
            if error is not None and not self._unpacking.failed(message):
                self._say(error)
            # What a rebalance took away while it was being read is its new owner's; behind a seek, all comes again.
            elif self._draining or place not in self._assigned or place in sought:
                continue
            elif error is not None:
                self._pending.append(self._unpacking.passed(consumer, message, place))
                sought.add(place)
            else:
                self._pending.append(self._unpacking.record(message, place, now))

    def _drop_pending(self) -> None:
        """Leaves what waits to whoever reads it from Kafka next; who waits for a reply gets one."""
        with self._changed:
            waiting = [*self._pending, *self._offered]
            self._pending = []
            self._offered.clear()
        for record in waiting:
            if record.reply is not None:
                record.reply(Overloaded("the worker is stopping: ask another one"))

    def _dispatch(self, records: list[RawRecord], reason: str) -> None:
        if not records:
            return
        batch = MicroBatch(records, reason)
        with self._changed:
            self._tracker.add(batch)
            self._at_work.add(batch.number)
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self.put(batch), self._loop)

    def _commit(self, consumer: Consumer, asynchronous: bool) -> None:
        with self._changed:
            found = self._tracker.committable()
        if not found:
            return
        if self._settings.delivery is Guarantee.EXACTLY_ONCE:
            self._committed |= found  # by the transaction
            return
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in found.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=asynchronous)
        except KafkaException as error:
            # The next commit covers this one; a restart before it repeats captures, and loses none.
            log.warning("Offsets were not committed (%s); captures may be answered again", error)
        else:
            self._committed |= found

    def _set_paused(self, consumer: Consumer, paused: bool) -> None:
        if paused != self._paused:
            partitions = consumer.assignment()
            (consumer.pause if paused else consumer.resume)(partitions)
            self._paused = paused

    def _give_back(self) -> None:
        """A rebalance may take seconds: captures by other doors do not wait for it."""
        with self._changed:
            self._offered.extendleft(reversed([r for r in self._pending if r.reply is not None]))
            self._pending = [r for r in self._pending if r.reply is None]
            self._listening = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._dispatch_offered)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back()
        consumer.incremental_assign(partitions)
        self._join(consumer)
        self._remember_committed(consumer, partitions)
        self._assigned |= {(p.topic, p.partition) for p in partitions}
        self._paused = None  # some may be, others not: the next turn sets all anew
        log.info("Assigned partitions %s", sorted(p.partition for p in partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back()
        self._join(consumer)  # still a member, and of a new generation: what is in flight can be committed
        leaving = {(p.topic, p.partition) for p in partitions}
        self._pending = [r for r in self._pending if (r.topic, r.partition) not in leaving]
        with self._changed:
            self._changed.wait_for(lambda: not self._tracker.waits_for(leaving), _REVOKE_WAIT_S)
        self._commit(consumer, asynchronous=False)
        self._leave(leaving)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("Partitions %s were lost to the group", sorted(p.partition for p in partitions))
        leaving = {(p.topic, p.partition) for p in partitions}
        self._pending = [r for r in self._pending if (r.topic, r.partition) not in leaving]
        with self._changed:
            self._member = None
        self._leave(leaving)

    def _join(self, consumer: Consumer) -> None:
        """Takes over the group's generation. librdkafka calls back for each one, even if no partition moves."""
        member = consumer.consumer_group_metadata()
        with self._changed:
            # Without a member id the broker would take the offsets of a transaction from anyone.
            self._member = member if consumer.memberid() else None

    def _leave(self, leaving: set[Partition]) -> None:
        with self._changed:
            self._tracker.forget(leaving)
        self._assigned -= leaving
        for topic, partition in leaving:
            self._lag.pop(partition, None)
            self._committed.pop((topic, partition), None)
            self._unpacking.forget((topic, partition))
        if leaving:
            log.info("Gave up partitions %s", sorted(partition for _, partition in leaving))

    def _measure_lag(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if now < self._next_lag:
            return
        self._next_lag = now + _LAG_EVERY_S
        for topic, partition in self._assigned:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            if high < 0:  # not fetched yet
                continue
            unread = high if self._settings.auto_offset_reset == "latest" else low
            self._lag[partition] = max(0, high - self._committed.get((topic, partition), max(unread, 0)))

    def _remember_committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Where the group stands; a partition it never committed begins where auto_offset_reset says."""
        try:
            found = consumer.committed(partitions, timeout=_COMMITTED_WAIT_S)
        except KafkaException as error:
            log.warning("The group's offsets are not known yet (%s); lag is too high until the next commit", error)
            return
        self._committed |= {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    def _close(self, consumer: Consumer) -> None:
        try:
            self._commit(consumer, asynchronous=False)
            consumer.close()
        except Exception:
            log.exception("The consumer did not close cleanly; the group notices by its session timeout")
        self._drop_pending()
        with self._changed:
            self._member = None
        self._leave(set(self._assigned))

    @staticmethod
    def _say(error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        log.warning("Kafka: %s; the consumer goes on", error.str())
