"""A steady stream of captures, and what became of each."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Self

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from stream_app.kafka.connection import connection
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.settings import Settings

CODECS = Codecs()
_PATIENCE_MS = 300_000


class Numbered(NamedTuple):
    """A record to be sent, under a name that no other has."""

    name: str
    key: bytes
    value: bytes


def simulated(network: Network, keys: int = 1, seed: int = 1) -> Iterator[Numbered]:
    """Captures without end; by ``keys`` above 1 they are spread over so many keys, not their own."""
    for number, (capture, _) in enumerate(Simulator(network, seed).captures(None)):
        named = replace(capture, capture_id=f"load-{number}")
        key = key_of(capture) if keys == 1 else f"key-{number % keys}".encode()
        yield Numbered(named.capture_id, key, CODECS.encode_capture(named))


class Traffic:
    """Sends ``rate`` records a second until it is stopped. It outlives brokers that are away for minutes."""

    def __init__(self, settings: Settings, records: Iterator[Numbered], rate: float) -> None:
        self._topic, self._records, self._rate = settings.captures_topic, records, rate
        self._producer = Producer(
            {
                **connection(settings),
                "enable.idempotence": True,
                "delivery.timeout.ms": _PATIENCE_MS,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,
            }
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self.sent_ms: dict[str, int] = {}  # of those that were acknowledged, or still may be
        self.failed: set[str] = set()  # nobody knows whether the broker has them

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Returns when each record is acknowledged, or has failed."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        begin = time.monotonic()
        for number, record in enumerate(self._records):
            if self._stop.wait(max(0.0, begin + number / self._rate - time.monotonic())):
                break
            self._send(record)
        self._producer.flush(_PATIENCE_MS / 1e3)

    def _send(self, record: Numbered) -> None:
        self.sent_ms[record.name] = time.time_ns() // 1_000_000
        done = partial(self._delivered, record.name)
        while True:
            try:
                self._producer.produce(self._topic, record.value, record.key, on_delivery=done)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _delivered(self, name: str, error: object, _: object) -> None:
        if error is not None:
            del self.sent_ms[name]
            self.failed.add(name)


class Reading:
    """Reads whole topics from their beginning in a thread, committed records only, and outlives absent brokers."""

    def __init__(self, settings: Settings, *topics: str) -> None:
        self._consumer = Consumer(
            {
                **connection(settings),
                "group.id": "unused",
                "enable.auto.commit": False,
                # To begin anew, or at the end, would falsify the account.
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        found = self._consumer.list_topics(timeout=10).topics
        self._consumer.assign([TopicPartition(topic, p, 0) for topic in topics for p in found[topic].partitions])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reading")
        self.problem = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def take(self, message: Message) -> None:
        """Called in the thread with each record, of each partition in its order."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, 0.05):
                error = message.error()
                if error is None:
                    self.take(message)
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    self.problem = error.str()


@dataclass(frozen=True, slots=True)
class Seen:
    """A fix, and when the worker sent it (ms since 1970, of Kafka's record)."""

    fix: Fix
    key: bytes
    at_ms: int


class Fixes(Reading):
    """All fixes of a topic, from its beginning."""

    def __init__(self, settings: Settings, topic: str) -> None:
        super().__init__(settings, topic)
        self.seen: list[Seen] = []

    def take(self, message: Message) -> None:
        """Remembers a fix."""
        fix = CODECS.decode_fix(message.value() or b"")
        self.seen.append(Seen(fix, message.key() or b"", message.timestamp()[1]))

    def of(self, sent: dict[str, int]) -> list[Seen]:
        """Those that answer captures of ``sent``."""
        return [each for each in list(self.seen) if each.fix.capture_id in sent]


def account(sent_ms: dict[str, int], seen: list[Seen]) -> dict[str, int]:
    """How many were sent, lost and answered twice."""
    answers = Counter(each.fix.capture_id for each in seen)
    return {
        "sent": len(sent_ms),
        "lost": sum(name not in answers for name in sent_ms),
        "twice": sum(count > 1 for count in answers.values()),
    }


def p99_ms(sent_ms: dict[str, int], seen: list[Seen], begin_ms: int, end_ms: int) -> float:
    """The 99th percentile of sending to fix, of captures sent in that time."""
    took = [
        each.at_ms - sent_ms[each.fix.capture_id] for each in seen if begin_ms <= sent_ms[each.fix.capture_id] < end_ms
    ]
    return float(np.percentile(took, 99))
