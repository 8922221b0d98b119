"""A steady stream of captures, and the account of what became of each."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.settings import Settings

CODECS = Codecs()


@dataclass(frozen=True, slots=True)
class Seen:
    """A fix, and when the worker sent it (ms since 1970, of Kafka's record)."""

    fix: Fix
    key: bytes
    at_ms: int


class Traffic:
    """Sends ``rate`` captures a second until it is stopped; each has an identity of its own."""

    def __init__(self, settings: Settings, network: Network, rate: float, keys: int = 1, seed: int = 1) -> None:
        self._topic, self._rate, self._keys = settings.captures_topic, rate, keys
        self._captures: Iterator[IqCapture] = (capture for capture, _ in Simulator(network, seed).captures(None))
        self._bootstrap = settings.bootstrap_servers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self.sent_ms: dict[str, int] = {}
        self.failed = 0

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap, "enable.idempotence": True})
        begin, number = time.monotonic(), 0
        while not self._stop.wait(max(0.0, begin + number / self._rate - time.monotonic())):
            capture = replace(next(self._captures), capture_id=f"load-{number}")
            key = key_of(capture) if self._keys == 1 else f"key-{number % self._keys}".encode()
            self.sent_ms[capture.capture_id] = time.time_ns() // 1_000_000
            producer.produce(
                self._topic, CODECS.encode_capture(capture), key, on_delivery=lambda error, _: self._delivered(error)
            )
            producer.poll(0)
            number += 1
        producer.flush(30)

    def _delivered(self, error: object) -> None:
        self.failed += error is not None


class Fixes:
    """All fixes of a topic, from its beginning, read in a thread."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": settings.bootstrap_servers, "group.id": "unused", "enable.auto.commit": False}
        )
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fixes")
        self.seen: list[Seen] = []

    def __enter__(self) -> Fixes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, 0.2):
                if message.error() is None:
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
