"""Sends records through librdkafka and waits for every acknowledgement."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_app.errors import DeliveryFailed, RecordTooLarge
from stream_app.kafka.connection import connection
from stream_app.kafka.records import Output
from stream_app.kafka.topics import dead_letter_bytes
from stream_app.settings import Settings

log = logging.getLogger(__name__)
_FULL_PAUSE_S = 0.01
_REPLACE_PAUSE_S = 1.0  # what is fatal once is often fatal again


class Publisher:
    """One idempotent producer, made anew after a fatal error; a thread serves its callbacks."""

    def __init__(self, settings: Settings) -> None:
        self._config: dict[str, Any] = {
            **connection(settings),
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 1,
            "message.max.bytes": dead_letter_bytes(settings),
            "delivery.timeout.ms": 60_000,
        }
        self._producer = Producer(self._config, logger=log)
        self._waiting: set[_Waiter] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="publisher", daemon=True)
        self._thread.start()

    async def send(self, outputs: Sequence[Output]) -> None:
        """Returns when the broker has acknowledged all.

        Raises RecordTooLarge, with those that were, or DeliveryFailed, which names the first failure.
        """
        if not outputs:
            return
        waiter = _Waiter(len(outputs), asyncio.get_running_loop())
        with self._lock:
            producer = self._producer
            self._waiting.add(waiter)
        for output in outputs:
            while True:
                try:
                    producer.produce(
                        output.topic,
                        output.value,
                        output.key,
                        output.partition,
                        timestamp=output.at_ms,
                        headers=list(output.headers),
                        on_delivery=partial(waiter.delivered, output),
                    )
                    break
                except BufferError:
                    await asyncio.sleep(_FULL_PAUSE_S)
                except KafkaException as error:
                    waiter.delivered(output, error.args[0], None)
                    break
        try:
            await waiter.future
        finally:
            self._waiting.discard(waiter)

    def close(self) -> None:
        """Waits for what is under way, and ends the thread."""
        self._producer.flush(10)
        self._closed.set()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                self._producer.poll(0.1)
            except KafkaException as error:  # a fatal one: nothing more comes of this producer
                self._replace(f"the producer failed for good: {error.args[0].str()}")

    def _replace(self, why: str) -> None:
        log.warning("%s; it is made anew", why)
        with self._lock:
            self._producer = Producer(self._config, logger=log)
            waiting = list(self._waiting)
        for waiter in waiting:
            waiter.fail(why)
        self._closed.wait(_REPLACE_PAUSE_S)


class _Waiter:
    """Counts the acknowledgements of one send; its future ends when all have come."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self._loop, self._left = loop, count
        self._problem: str | None = None
        self._too_large: list[Output] = []
        self._lock = threading.Lock()

    def delivered(self, output: Output, error: KafkaError | None, _: Message | None) -> None:
        with self._lock:
            self._left -= 1
            if error is not None:
                self._problem = self._problem or f"a record for {output.topic} was not acknowledged: {error.str()}"
                if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    self._too_large.append(output)
            last = self._left == 0
        if last:
            self._loop.call_soon_threadsafe(self._end)

    def fail(self, why: str) -> None:
        """The acknowledgements that are missing will not come."""
        with self._lock:
            self._problem = self._problem or why
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self.future.done():
            return
        if self._problem is None:
            self.future.set_result(None)
        elif self._too_large:
            self.future.set_exception(RecordTooLarge(self._problem, self._too_large))
        else:
            self.future.set_exception(DeliveryFailed(self._problem))
