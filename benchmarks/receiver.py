"""What a receiver's library costs beside a bare produce loop of the same bytes, and what compression would save.

python -m benchmarks.receiver [--recordings FOLDER]: a broker of its own, figures of one run as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from stream_app.kafka.topics import ensure_topics
from stream_app.network.file import load_network
from stream_app.network.kiwisdr import read_kiwisdr
from stream_app.network.receptions import receptions_of
from stream_app.network.replay import captures_of
from stream_app.network.simulator import Simulator
from stream_app.receiver import ReceptionSender
from stream_app.records.codec import Codecs
from stream_app.records.reception import IqReception
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.support.brokers import KraftBroker

_CODECS = ("none", "lz4", "zstd", "snappy")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=Path, help="a folder of KiwiSDR recordings of examples/dcf77.yaml")
    parser.add_argument("--megabytes", type=float, default=150, help="of samples a run")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sources = {"simulated": _simulated()}
    if options.recordings:
        sources["recorded"] = _recorded(options.recordings)
    with tempfile.TemporaryDirectory() as folder, KraftBroker(Path(folder)) as bootstrap:
        for name, receptions in sources.items():
            size = sum(len(reception.channel.samples) for reception in receptions)
            many = receptions * max(1, round(options.megabytes * 1e6 / size))
            for number in range(options.rounds):
                # In turn, and who begins in turn, so that a slow moment of the machine is nobody's alone.
                for codec in _CODECS if number == 0 else ("none",):
                    topic = f"{name}.{codec}.{number}"
                    figures = _compare(bootstrap, Path(folder), topic, codec, many, bool(number % 2))
                    print(json.dumps({"source": name, "codec": codec, "round": number} | figures), flush=True)


def _compare(
    bootstrap: str, folder: Path, topic: str, codec: str, many: Sequence[IqReception], ours_first: bool
) -> dict[str, Any]:
    settings = Settings(bootstrap_servers=bootstrap, receptions_topic=topic, partitions=1)
    ensure_topics(settings)
    codecs = Codecs()
    values = [codecs.encode_reception(reception) for reception in many]
    ways: list[Callable[[], None]] = [
        lambda: _bare(bootstrap, topic, codec, values),
        lambda: _ours(bootstrap, topic, codec, many),
    ]
    if ours_first:
        ours, bare = (_measured(way, len(many)) for way in reversed(ways))
    else:
        bare, ours = (_measured(way, len(many)) for way in ways)
    return {
        "count": len(many),
        "stored": round(_stored(folder, topic) / (2 * sum(map(len, values))), 3),
        "bare": bare,
        "sender": ours,
        "ratio": {key: round(ours[key] / bare[key], 3) for key in bare},
    }


def _simulated() -> list[IqReception]:
    simulator = Simulator(load_network(example_network("demo")), 0)
    return [reception for capture, _ in simulator.captures(30) for reception in receptions_of(capture)]


def _recorded(folder: Path) -> list[IqReception]:
    files = [read_kiwisdr(file) for file in sorted(folder.glob("*.wav"))]
    captures = captures_of(files, load_network(example_network("dcf77")))
    return [reception for capture in captures for reception in receptions_of(capture)]


def _measured(work: Callable[[], None], count: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"per_s": round(count / wall, 1), "cpu_us": round(cpu / count * 1e6, 1)}


def _bare(bootstrap: str, topic: str, codec: str, values: Sequence[bytes]) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": codec,
            "linger.ms": 20,
            "batch.size": 2**20,
            "message.max.bytes": 16 * 2**20,
            "queue.buffering.max.kbytes": 64 * 1024,
        }
    )
    for value in values:
        while True:
            try:
                producer.produce(topic, value, b"key")
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    producer.flush()


def _ours(bootstrap: str, topic: str, codec: str, receptions: Sequence[IqReception]) -> None:
    first = receptions[0].channel
    with ReceptionSender(
        bootstrap,
        network="net",
        receiver_id=first.receiver_id,
        latitude=first.latitude,
        longitude=first.longitude,
        altitude_m=first.altitude_m,
        sample_rate_hz=first.sample_rate_hz,
        datatype=first.datatype,
        center_frequency_hz=receptions[0].center_frequency_hz,
        topic=topic,
        compression=codec,
        wait_s=60,
    ) as sender:
        for reception in receptions:
            channel = reception.channel
            sender.send(slot_at_us=reception.slot_at_us, start_time_ns=channel.start_time_ns, samples=channel.samples)


def _stored(folder: Path, topic: str) -> int:
    """Bytes of the topic's log, segments as written."""
    return sum(file.stat().st_size for file in folder.glob(f"kafka-logs/{topic}-*/*.log"))


if __name__ == "__main__":
    main()
