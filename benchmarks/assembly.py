"""``make bench-assembly``: CPU an assembler takes for a reception, over that of a loop that sends the same bytes on.

Both read the same backlog on the same broker, one after the other, each in a process of its own; the ratio is the
median over pairs. What is counted is the process's CPU time (all threads, librdkafka's too) from the first record on.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from confluent_kafka import Consumer, Producer

from benchmarks.network import BENCH_NETWORK, with_samples
from stream_app.assembly.metrics import AssemblyMetrics
from stream_app.assembly.work import Assembler
from stream_app.kafka.fetching import fetching
from stream_app.kafka.records import RawRecord
from stream_app.kafka.stage import Stage, Step
from stream_app.kafka.topics import ensure_topics
from stream_app.network.receptions import receptions_of
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from tests.support import brokers
from tests.support.worker import environment_of, send_all, settings_for

JSON = brokers.ROOT / "build" / "assembly.json"
_SIZES = {"18 KB": (4480, 9000), "1 KB": (256, 60_000)}  # samples a reception, receptions
_DISTINCT = 64  # captures that are simulated
_BATCH = 500
_SLOT_US = 100_000


class _Measured(Assembler):
    """Ends its stage behind the last record."""

    def __init__(self, count: int, *parts: Any) -> None:
        super().__init__(*parts)
        self.left, self.begun, self.stage = count, 0.0, None

    def take(self, records: Sequence[RawRecord]) -> Step:
        self.begun = self.begun or time.process_time()
        self.left -= len(records)
        if self.left <= 0 and self.stage is not None:
            self.stage.stop()
        return super().take(records)


def assembler(settings: Settings, count: int) -> float:
    """CPU seconds of a stage that assembles ``count`` receptions."""
    work = _Measured(count, settings, [BENCH_NETWORK], Codecs(), AssemblyMetrics())
    work.stage = Stage(settings, settings.receptions_topic, work, "bench")
    work.stage.open()
    gc.freeze()
    work.stage.run()
    return time.process_time() - work.begun


def floor(settings: Settings, count: int) -> float:
    """CPU seconds of a loop that sends on what it reads."""
    consumer = Consumer(fetching(settings))
    consumer.subscribe([settings.receptions_topic])
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap_servers, "enable.idempotence": True, "compression.type": "lz4"}
    )
    begun = 0.0
    while count > 0:
        messages = consumer.consume(_BATCH, 0.1)
        begun = begun or (time.process_time() if messages else 0.0)
        for message in messages:
            while True:
                try:
                    producer.produce(settings.captures_topic, message.value(), message.key())
                    break
                except BufferError:
                    producer.poll(0.01)
        count -= len(messages)
        if messages:
            producer.flush()
            consumer.commit(asynchronous=True)
    consumer.close()
    return time.process_time() - begun


def backlog(settings: Settings, samples: int, count: int) -> None:
    """``count`` receptions of ``samples`` samples, as their receivers would send them: slot after slot."""
    codecs = Codecs()
    distinct = [capture for capture, _ in Simulator(with_samples(samples), 1).captures(_DISTINCT)]
    records = []
    for slot in range(count // len(BENCH_NETWORK.receivers)):
        capture, later_us = distinct[slot % _DISTINCT], slot // _DISTINCT * _DISTINCT * _SLOT_US
        for each in receptions_of(capture):
            channel = replace(each.channel, start_time_ns=each.channel.start_time_ns + 1000 * later_us)
            moved = replace(each, slot_at_us=each.slot_at_us + later_us, channel=channel)
            records.append((key_of(capture), codecs.encode_reception(moved)))
    send_all(
        settings.model_copy(update={"captures_topic": settings.receptions_topic}),
        records,
        **{"linger.ms": 20, "queue.buffering.max.kbytes": 524_288},
    )


def measure(rounds: int) -> dict[str, Any]:
    """Microseconds a reception of both, and the median of the pairs' ratios, by size."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, brokers.broker(brokers.choose(), Path(folder)) as broker:
        for size, (samples, count) in _SIZES.items():
            settings = settings_for(broker.bootstrap, f"a{samples}", partitions=4)
            backlog(settings, samples, count)
            pairs = [[_child(settings, what, count) for what in ("assembler", "floor")] for _ in range(rounds)]
            assembled, floors = (np.array(column) / count * 1e6 for column in zip(*pairs, strict=True))
            found[size] = {
                "assembler_us": float(np.median(assembled)),
                "floor_us": float(np.median(floors)),
                "ratio": float(np.median(assembled / floors)),
                "ratios": (assembled / floors).tolist(),
            }
            print(f"{size}: {found[size]}", flush=True)
    return found


def _child(settings: Settings, what: str, count: int) -> float:
    alone = settings.model_copy(update={"group_id": uuid4().hex, "captures_topic": f"{uuid4().hex}.captures"})
    ensure_topics(alone)
    command = [sys.executable, "-m", "benchmarks.assembly", "--child", what, "--count", str(count)]
    done = subprocess.run(command, env=environment_of(alone), stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measures; or is what is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=["assembler", "floor"])
    parser.add_argument("--count", type=int)
    options = parser.parse_args()
    if options.child:
        run = assembler if options.child == "assembler" else floor
        print(run(Settings(), options.count))
        return
    found = measure(options.rounds)
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
