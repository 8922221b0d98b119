"""Shadow versions answer beside the live ones, when there is time for it."""

from __future__ import annotations

import asyncio
import logging

from stream_app.agents.background import background_thread
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.records import Output
from stream_app.locate.batch import Batch
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.settings import Settings

log = logging.getLogger(__name__)


class ShadowRunner:
    """One thread of low priority and a short queue: what does not fit is dropped and counted."""

    def __init__(self, settings: Settings, codecs: Codecs, publisher: Publisher, metrics: Metrics) -> None:
        self._settings, self._codecs = settings, codecs
        self._publisher, self._metrics = publisher, metrics
        self._thread = background_thread("shadow")
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, locator: Locator, live: Batch) -> None:
        """A live batch that is inferred. Returns at once."""
        batch = locator.shadow(live)
        if batch is None:
            return
        if len(self._tasks) >= self._settings.shadow_queue:
            self._metrics.shadow_dropped.inc(len(batch.items))
            return
        task = asyncio.get_running_loop().create_task(self._run(locator, batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Abandons what waits."""
        for task in self._tasks:
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, locator: Locator, batch: Batch) -> None:
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(self._thread, self._answers, locator, batch)
            await self._publisher.send(outputs)
            self._metrics.shadow_captures.inc(len(outputs))
        except Exception as error:  # a shadow must never harm what it shadows
            self._metrics.shadow_dropped.inc(len(batch.items))
            log.warning("A micro-batch of the shadow versions was dropped: %s: %s", type(error).__name__, error)

    def _answers(self, locator: Locator, batch: Batch) -> list[Output]:
        locator.features(batch)
        locator.infer(batch)
        outputs = []
        for item, result in zip(batch.items, locator.finish(batch), strict=True):
            if isinstance(result, Fix):
                outputs.append(Output(self._settings.shadow_topic, item.key, self._codecs.encode_fix(result), []))
        self._metrics.shadow_dropped.inc(len(batch.items) - len(outputs))
        return outputs
