"""Sends records through librdkafka and waits for every acknowledgement."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_app.errors import DeliveryFailed
from stream_app.kafka.connection import connection
from stream_app.kafka.records import Output
from stream_app.kafka.topics import dead_letter_bytes
from stream_app.settings import Settings

log = logging.getLogger(__name__)
_FULL_PAUSE_S = 0.01


class Publisher:
    """One idempotent producer; a thread serves its callbacks."""

    def __init__(self, settings: Settings) -> None:
        self._producer = Producer(
            {
                **connection(settings),
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 1,
                "message.max.bytes": dead_letter_bytes(settings),
                "delivery.timeout.ms": 60_000,
            },
            logger=log,
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="publisher", daemon=True)
        self._thread.start()

    async def send(self, outputs: Sequence[Output]) -> None:
        """Returns when the broker has acknowledged all. Raises DeliveryFailed, which names the first failure."""
        if not outputs:
            return
        waiter = _Waiter(len(outputs), asyncio.get_running_loop())
        for output in outputs:
            while True:
                try:
                    self._producer.produce(
                        output.topic,
                        output.value,
                        output.key,
                        headers=list(output.headers),
                        on_delivery=waiter.delivered,
                    )
                    break
                except BufferError:
                    await asyncio.sleep(_FULL_PAUSE_S)
                except KafkaException as error:
                    waiter.failed(f"a record for {output.topic} was refused: {error}")
                    break
        await waiter.future

    def close(self) -> None:
        """Waits for what is under way, and ends the thread."""
        self._producer.flush(10)
        self._closed.set()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)


class _Waiter:
    """Counts the acknowledgements of one send; its future ends when all have come."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self._loop, self._left = loop, count
        self._problem: str | None = None
        self._lock = threading.Lock()

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        self._one(None if error is None else f"a record for {message.topic()} was not acknowledged: {error.str()}")

    def failed(self, problem: str) -> None:
        self._one(problem)

    def _one(self, problem: str | None) -> None:
        with self._lock:
            self._left -= 1
            self._problem = self._problem or problem
            last = self._left == 0
        if last:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self.future.done():
            return
        if self._problem is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(DeliveryFailed(self._problem))
