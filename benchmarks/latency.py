"""From the moment a capture is made to its fix at a consumer, at a steady rate."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from itertools import islice

import numpy as np
from confluent_kafka import Consumer, Producer

from benchmarks.harness import Bench
from benchmarks.workloads import KEYS, Workload
from stream_app.kafka.topics import ensure_topics
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from tests.support.worker import eventually

_CODECS = Codecs()
_WARM_S = 2.0  # of the load, not counted
_LAST_S = 10.0  # longest wait for what is owed at the end


def measure(bench: Bench, workload: Workload, rate: float, seconds: float) -> dict[str, float]:
    """Percentiles in milliseconds at ``rate`` captures a second to one worker; all captures must be answered."""
    backlog = bench.backlog(workload, 1)  # registers the model
    settings = bench.settings(backlog)
    settings = settings.model_copy(update={"captures_topic": f"{settings.group_id}.captures"})
    ensure_topics(settings)
    worker = bench.worker(settings)
    reader = _Reader(settings)
    try:
        worker.wait_ready()
        reader.start()
        sent = _send(settings, workload, rate, seconds + _WARM_S)
        eventually(lambda: len(reader.ages_ms) >= sent, _LAST_S, f"an answer to each of {sent} captures")
    finally:
        reader.stop()
        worker.stop()
    counted = np.array(reader.ages_ms[int(rate * _WARM_S) :])
    figures = {f"p{p}_ms": float(np.percentile(counted, p)) for p in (50, 95, 99)}
    return {"rate": rate, "captures": len(counted), **figures}


def _send(settings: Settings, workload: Workload, rate: float, seconds: float) -> int:
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 0, "acks": 1})
    captures = list(islice(workload.source(), int(rate * seconds)))
    begin = time.monotonic()
    for number, capture in enumerate(captures):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        made = replace(capture, captured_at_us=time.time_ns() // 1000)
        producer.produce(settings.captures_topic, _CODECS.encode_capture(made), f"key-{number % KEYS}".encode())
        producer.poll(0)
    producer.flush(10)
    return len(captures)


class _Reader:
    """How old the fixes are when they come, in their order."""

    def __init__(self, settings: Settings) -> None:
        self.ages_ms: list[float] = []
        self._stopping = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": f"{settings.group_id}-reader",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 5,
            }
        )
        self._consumer.subscribe([settings.positions_topic])
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        eventually(lambda: self._consumer.poll(0.1) is None and self._consumer.assignment(), 30, "an assignment")
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(0.1)  # consume() would wait for company
            if message is not None:
                now_us = time.time_ns() / 1e3
                self.ages_ms.append((now_us - _CODECS.decode_fix(message.value() or b"").captured_at_us) / 1e3)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._consumer.close()
