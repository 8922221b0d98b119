"""Captures a second of one worker on real Kafka, beside the same stages in a bare loop in one process.

make bench ARGS="--count 3000"; the same captures, model and settings, in one run. The ratio is the figure:
the absolute rates depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import onnx

from benchmarks.network import BENCH_NETWORK
from stream_app.cache.backends import make_cache
from stream_app.cache.dedup import DedupCache
from stream_app.kafka.records import RawRecord
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.models.session import OnnxSession
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from tests.support import brokers
from tests.support.worker import TopicReader, WorkerProcess, eventually, send_all, settings_for


def bare_loop(records: list[tuple[bytes, bytes]], model: Path) -> float:
    """Captures a second of decode, features, inference and encoding, batch after batch, without Kafka."""
    settings = settings_for("unused", "bare")
    codecs = Codecs()
    backend = make_cache(
        settings.cache_url, settings.cache_ttl_s, settings.cache_max_entries, settings.cache_timeout_ms
    )
    session = OnnxSession.load(model, "bench", "1", settings.inference_threads)
    locator = Locator(Fleet.of(session), DedupCache(backend), codecs, settings, Metrics())
    begin = time.perf_counter()
    for at in range(0, len(records), settings.max_batch):
        now = time.perf_counter()
        taken = [RawRecord(value, key, "t", 0, 0, now) for key, value in records[at : at + settings.max_batch]]
        batch = locator.decode(taken)
        locator.features(batch)
        locator.infer(batch)
        for fix in locator.finish(batch):
            if isinstance(fix, Fix):
                codecs.encode_fix(fix)
    return len(records) / (time.perf_counter() - begin)


def through_kafka(broker: brokers.Broker, records: list[tuple[bytes, bytes]], model: Path, name: str) -> float:
    """Captures a second of one worker that works off a backlog, by its own counter between 10 and 95 %."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/registry.db"
        Registry(uri, Path(folder) / "models").register(name, model, alias="champion")
        settings = settings_for(
            broker.bootstrap, name, registry_uri=uri, model_name=name, model_cache_dir=f"{folder}/models", partitions=8
        )
        send_all(settings, records)
        worker = WorkerProcess(settings, Path(folder))
        reader = TopicReader(broker.bootstrap, settings.positions_topic)
        try:
            eventually(lambda: len(reader.read()) >= len(records), 600, "the last fix")
            stamps = sorted(message.timestamp()[1] for message in reader.messages)
        finally:
            worker.stop()
            reader.close()
    low, high = len(stamps) // 10, len(stamps) * 95 // 100
    return (high - low) / (stamps[high] - stamps[low]) * 1e3


def main() -> None:
    """Prints one JSON line a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=3000, help="captures a case")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        onnx.save(build_tdoa(BENCH_NETWORK), str(model))
        with brokers.broker(brokers.choose(), Path(folder)) as broker:
            for repeats in (0.0, 0.3):
                codecs = Codecs()
                captures = Simulator(BENCH_NETWORK, seed=1).captures(count, repeats)
                records = [
                    (key_of(c) + str(n % 64).encode(), codecs.encode_capture(c)) for n, (c, _) in enumerate(captures)
                ]
                bare = bare_loop(records, model)
                stream = through_kafka(broker, records, model, f"bench{int(repeats * 100)}")
                print(
                    json.dumps(
                        {
                            "broker": broker.name,
                            "captures": count,
                            "bytes_a_record": len(records[0][1]),
                            "repeats": repeats,
                            "bare_loop_per_s": round(bare, 1),
                            "worker_per_s": round(stream, 1),
                            "ratio": round(stream / bare, 3),
                        }
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
