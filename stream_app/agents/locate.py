"""The agent that turns micro-batches into fixes: it schedules the stages and sends what they make."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from stream_app.agents.shadow import ShadowRunner
from stream_app.agents.watch import Watch
from stream_app.errors import FixStreamError
from stream_app.kafka.delivery import Delivery, Place
from stream_app.kafka.letter import letter_of
from stream_app.kafka.records import MicroBatch, Output, RawRecord
from stream_app.locate.batch import Batch
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.records.codec import Codecs
from stream_app.records.dead_letter import CODE
from stream_app.records.fix import Fix
from stream_app.settings import Settings

log = logging.getLogger(__name__)


class LocateRunner:
    """Runs batches so that the stages of successive ones overlap, at most ``max_in_flight`` at a time.

    One thread decodes and extracts; ``inference_batches`` threads infer and encode. Delivery keeps the order.
    """

    def __init__(
        self,
        settings: Settings,
        codecs: Codecs,
        delivery: Delivery,
        metrics: Metrics,
        shadow: ShadowRunner,
        watch: Watch,
        locator: Callable[[], Locator],
    ) -> None:
        self._settings, self._codecs = settings, codecs
        self._delivery = delivery
        self._metrics, self._shadow, self._locator, self._watch = metrics, shadow, locator, watch
        self._front = ThreadPoolExecutor(1, thread_name_prefix="features")
        self._back = ThreadPoolExecutor(settings.inference_batches, thread_name_prefix="inference")
        self._slots = asyncio.Semaphore(settings.max_in_flight)
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, batch: MicroBatch) -> None:
        """Takes a batch as soon as one may be in flight; returns before it is done."""
        await self._slots.acquire()
        self._metrics.in_flight.inc()
        self._metrics.batches.labels(batch.reason).inc()
        self._metrics.captures.inc(len(batch.records))
        self._metrics.batch_size.observe(len(batch.records))
        task = asyncio.get_running_loop().create_task(self._run(batch, self._delivery.enter(batch)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Abandons what is not done (it stays uncommitted) and ends the threads."""
        for task in self._tasks:
            task.cancel()
        self._shadow.close()
        self._front.shutdown(wait=False, cancel_futures=True)
        self._back.shutdown(wait=False, cancel_futures=True)

    async def _run(self, batch: MicroBatch, place: Place) -> None:
        try:
            try:
                outputs = await self._outputs(batch.records)
            finally:
                self._slots.release()
            for record in batch.records:
                record.value = None  # memory is for captures that have no answer yet
            await self._delivery.deliver(place, outputs)
            for output in outputs:
                if output.topic == self._settings.dead_letter_topic:
                    self._metrics.dead_letters.labels(dict(output.headers)[CODE].decode()).inc()
            now = time.perf_counter()
            for record in batch.records:
                self._metrics.latency.labels("end_to_end").observe(now - record.received_at)
        finally:
            self._metrics.in_flight.dec()

    async def _outputs(self, records: list[RawRecord]) -> list[Output]:
        loop, locator = asyncio.get_running_loop(), self._locator()
        try:
            work = await loop.run_in_executor(self._front, self._begin, locator, records)
            outputs = await loop.run_in_executor(self._back, self._end, locator, work, records)
        except Exception as error:
            self._metrics.errors.labels("internal").inc()
            if len(records) > 1:
                log.exception("A micro-batch of %d captures failed; trying them one by one", len(records))
                return [output for record in records for output in await self._outputs([record])]
            log.exception("A capture failed; it becomes a dead letter")
            internal = FixStreamError(f"{type(error).__name__}: {error}")
            internal.versions = tuple(version.model.version for version in locator.fleet.live)
            return self._answer(records[0], internal)
        self._shadow.offer(locator, work)
        return outputs

    @staticmethod
    def _begin(locator: Locator, records: list[RawRecord]) -> Batch:
        work = locator.decode(records)
        locator.features(work)
        return work

    def _end(self, locator: Locator, work: Batch, records: list[RawRecord]) -> list[Output]:
        locator.infer(work)
        results = locator.finish(work)
        self._watch.offer(work, results)
        return [output for pair in zip(records, results, strict=True) for output in self._answer(*pair)]

    def _answer(self, record: RawRecord, result: Fix | FixStreamError) -> list[Output]:
        """What goes to Kafka; whoever waits for a reply gets it at once."""
        if record.reply is not None:
            record.reply(result)
            return []
        if isinstance(result, Fix):
            fix = self._codecs.encode_fix(result)
            return [Output(self._settings.positions_topic, record.key, fix, [], record.source)]
        return [letter_of(record, result, self._settings.dead_letter_topic)]
