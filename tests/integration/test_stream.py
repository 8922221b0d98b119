"""The whole stream as its users meet it: captures on Kafka, fixes and dead letters back, workers that come and go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from stream_app.cache.dedup import DedupCache
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.models.session import OnnxSession
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome, Fix, Timings
from stream_app.settings import Settings
from tests.support.brokers import Broker
from tests.support.servers import MlflowServer, RedisServer
from tests.support.worker import TopicReader, WorkerProcess, eventually, send_all, settings_for

pytestmark = pytest.mark.kafka
COUNT = int(os.environ.get("FIXSTREAM_TEST_CAPTURES", "600"))
POISON = 50
FOREIGN = b"\xc3\x01" + b"no-such-" + b"schema"  # Avro's marker and a fingerprint that nobody knows


@pytest.fixture(scope="module")
def model(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(build_tdoa(network), str(path))
    return path


@pytest.fixture
def local(broker: Broker, model: Path, unique: str, tmp_path: Path) -> Settings:
    """Settings with a SQLite registry that holds the network's model."""
    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    Registry(uri, tmp_path / "models").register(unique, model, alias="champion")
    return settings_for(
        broker.bootstrap, unique, registry_uri=uri, model_cache_dir=str(tmp_path / "models"), model_name=unique
    )


@pytest.fixture
def read(broker: Broker) -> Iterator[Callable[[str], TopicReader]]:
    """Makes readers of topics, and closes them at the end."""
    with ExitStack() as stack:

        def make(topic: str) -> TopicReader:
            reader = TopicReader(broker.bootstrap, topic)
            stack.callback(reader.close)
            return reader

        yield make


def records_of(captures: list[IqCapture]) -> list[tuple[bytes, bytes]]:
    codecs = Codecs()
    return [(key_of(capture), codecs.encode_capture(capture)) for capture in captures]


def fixes_in(reader: TopicReader) -> list[Fix]:
    codecs = Codecs()
    return [codecs.decode_fix(message.value() or b"") for message in reader.read_out()]


def answer_of(fix: Fix) -> Fix:
    """The fix without what may differ between two answers to one capture."""
    return replace(fix, timings=Timings(0, 0, 0, 0), cache=CacheOutcome.MISS, model_version="", model_name="")


def test_every_capture_comes_out_once_and_poison_byte_for_byte(
    broker: Broker,
    redis_server: RedisServer,
    mlflow_server: MlflowServer,
    network: Network,
    model: Path,
    unique: str,
    tmp_path: Path,
    read: Callable[[str], TopicReader],
) -> None:
    Registry(mlflow_server.uri, tmp_path / "models").register(unique, model, alias="champion")
    settings = settings_for(
        broker.bootstrap,
        unique,
        registry_uri=mlflow_server.uri,
        model_cache_dir=str(tmp_path / "models"),
        model_name=unique,
        cache_url=redis_server.uri,
    )
    captures = [capture for capture, _ in Simulator(network, seed=5).captures(COUNT, repeats=0.3)]
    poison = [bytes([number]) * (number + 1) for number in range(1, POISON)] + [FOREIGN]
    records = records_of(captures)
    for number, value in enumerate(poison):
        records.insert(number * (len(records) // POISON), (b"poison", value))

    worker = WorkerProcess(settings, tmp_path)
    try:
        worker.wait_ready()
        send_all(settings, records)
        fixes, letters = read(settings.positions_topic), read(settings.dead_letter_topic)
        eventually(lambda: len(fixes.read()) >= COUNT, 60 + COUNT / 20, "the last fix")
        eventually(lambda: len(letters.read()) >= POISON, 30, "the last dead letter")
        misses = worker.metric("fixstream_cache_misses_total")
        hits = worker.metric("fixstream_cache_hits_total")
        dead = worker.metric("fixstream_dead_letters_total")
        eventually(lambda: worker.metric("fixstream_consumer_lag_records") == 0, what="no lag")
        text = worker.get("/metrics")[1]
        assert worker.stop() == 0
    finally:
        worker.kill()

    found = fixes_in(fixes)
    assert Counter(fix.capture_id for fix in found) == Counter(capture.capture_id for capture in captures)
    fresh = len({tuple(channel.samples for channel in capture.channels) for capture in captures})
    assert (misses, hits) == (fresh, COUNT - fresh)
    assert sum(fix.cache is not CacheOutcome.MISS for fix in found) == COUNT - fresh
    assert dead == POISON
    assert sorted(message.value() for message in letters.messages) == sorted(poison)
    headers = {message.value(): dict(message.headers() or []) for message in letters.messages}
    codes = Counter(found["fixstream-code"] for found in headers.values())
    assert codes == {b"undecodable": POISON - 1, b"unknown-schema": 1}
    assert headers[FOREIGN]["fixstream-code"] == b"unknown-schema"
    assert headers[FOREIGN]["fixstream-topic"] == settings.captures_topic.encode()
    check_metrics(text)


def check_metrics(text: str) -> None:
    """What /metrics shows after a run: every instrument an operator's board is drawn from."""
    series = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[:1] != "#"}
    taken = series["fixstream_captures_total"]
    assert taken == COUNT + POISON
    assert series['fixstream_dead_letters_total{reason="undecodable"}'] == POISON - 1
    assert series['fixstream_latency_seconds_count{stage="end_to_end"}'] == taken
    for stage in ("queue", "features", "inference", "end_to_end"):
        assert f'fixstream_latency_seconds_bucket{{le="0.0005",stage="{stage}"}}' in series
        assert f'fixstream_latency_seconds_bucket{{le="10.0",stage="{stage}"}}' in series
    assert series["fixstream_batch_size_sum"] == taken
    left = {name: value for name, value in series.items() if name.startswith("fixstream_batches_total{")}
    assert sum(left.values()) == series["fixstream_batch_size_count"]
    assert {name.partition('"')[2].rstrip('"}') for name in left} <= {"full", "age", "idle"}
    assert series["fixstream_in_flight_batches"] == 0
    hits = sum(value for name, value in series.items() if name.startswith("fixstream_cache_hits_total{"))
    assert series["fixstream_cache_hit_ratio"] == pytest.approx(hits / COUNT)


def test_the_stream_gives_the_fixes_of_the_offline_pipeline_and_the_cache_the_same_again(
    broker: Broker, local: Settings, network: Network, model: Path, tmp_path: Path, read: Callable[[str], TopicReader]
) -> None:
    captures = [capture for capture, _ in Simulator(network, seed=6).captures(12)]
    again = [replace(capture, capture_id=f"{capture.capture_id}-again") for capture in captures]
    session = OnnxSession.load(model, local.model_name, "1", 1)
    offline = Locator(Fleet.of(session), DedupCache(None), Codecs(), local, Metrics()).locate(captures)

    worker = WorkerProcess(local, tmp_path)
    try:
        worker.wait_ready()
        send_all(local, records_of(captures))
        reader = read(local.positions_topic)
        eventually(lambda: len(reader.read()) >= len(captures), what="the fixes")
        send_all(local, records_of(again))
        eventually(lambda: len(reader.read()) >= 2 * len(captures), what="the fixes from the cache")
    finally:
        worker.stop()
    watched = subprocess.run(
        [sys.executable, "-m", "stream_app.cli.main", "watch", "--from-start", "--json", "--seconds", "5"],
        env=os.environ
        | {"FIXSTREAM_BOOTSTRAP_SERVERS": broker.bootstrap, "FIXSTREAM_POSITIONS_TOPIC": local.positions_topic},
        capture_output=True,
        check=True,
    )
    found = {fix.capture_id: fix for fix in fixes_in(reader)}
    assert {json.loads(line)["capture_id"] for line in watched.stdout.splitlines()} == set(found)
    for capture, expected in zip(captures, offline, strict=True):
        assert isinstance(expected, Fix)
        first, second = found[capture.capture_id], found[f"{capture.capture_id}-again"]
        assert answer_of(first).latitude == pytest.approx(expected.latitude, abs=1e-6)
        assert answer_of(first).longitude == pytest.approx(expected.longitude, abs=1e-6)
        assert first.semi_major_m == pytest.approx(expected.semi_major_m, rel=1e-3)
        assert second.cache is CacheOutcome.EXACT
        assert answer_of(replace(second, capture_id=first.capture_id)) == answer_of(first)


def test_two_workers_share_the_partitions_and_one_takes_over(
    broker: Broker, local: Settings, network: Network, tmp_path: Path, read: Callable[[str], TopicReader]
) -> None:
    captures = [capture for capture, _ in Simulator(network, seed=7).captures(60)]
    spread = [(str(number).encode(), value) for number, (_, value) in enumerate(records_of(captures))]
    everything = set(range(local.partitions))
    workers = [WorkerProcess(local, tmp_path, name) for name in ("one", "two")]
    one, two = workers
    try:
        for worker in workers:
            worker.wait_ready()

        def shared() -> bool:
            mine, yours = one.partitions(), two.partitions()
            return bool(mine and yours) and not mine & yours and mine | yours == everything

        eventually(shared, 90, "an even share")
        send_all(local, spread[:30])
        reader = read(local.positions_topic)
        eventually(lambda: len(reader.read()) >= 30, what="fixes of both workers")
        assert one.metric("fixstream_captures_total") > 0
        assert two.metric("fixstream_captures_total") > 0
        assert one.stop() == 0
        send_all(local, spread[30:])
        eventually(lambda: len(reader.read()) >= 60, 90, "fixes of the worker that is left")
        eventually(lambda: two.partitions() == everything, what="all partitions at one worker")
    finally:
        for worker in workers:
            worker.kill()
    assert Counter(fix.capture_id for fix in fixes_in(reader)) == Counter(c.capture_id for c in captures)


def test_a_stop_under_load_drains_and_a_successor_goes_on_without_repeats(
    broker: Broker, local: Settings, network: Network, tmp_path: Path, read: Callable[[str], TopicReader]
) -> None:
    if broker.kind == "embedded":
        pytest.skip("the embedded broker is for demonstrations; offsets after a restart are tested on Apache Kafka")
    captures = [capture for capture, _ in Simulator(network, seed=8).captures(1000)]
    first, second = (WorkerProcess(local, tmp_path, name) for name in ("first", "second"))
    second.kill()
    try:
        first.wait_ready()
        send_all(local, records_of(captures))
        reader = read(local.positions_topic)
        eventually(lambda: len(reader.read()) >= 10, what="the first fixes")
        assert first.stop() == 0
        assert len(reader.read_out()) < len(captures), "the first worker was to be stopped with work left"
        second = WorkerProcess(local, tmp_path, "second")
        second.wait_ready()
        eventually(lambda: len(reader.read()) >= len(captures), 90, "the rest")
        assert second.stop() == 0
        second = WorkerProcess(local, tmp_path, "third")
        second.wait_ready()
        assert second.partitions() == set(range(local.partitions))
        assert second.metric("fixstream_consumer_lag_records") == 0  # it has nothing to do, and says so
        assert second.stop() == 0
    finally:
        first.kill()
        second.kill()
    assert Counter(fix.capture_id for fix in fixes_in(reader)) == Counter(c.capture_id for c in captures)


def test_without_its_model_a_worker_is_up_says_why_it_is_not_ready_and_starts_when_the_model_comes(
    broker: Broker, unique: str, model: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "registry_uri": f"sqlite:///{tmp_path / 'registry.db'}",
        "model_cache_dir": str(tmp_path / "models"),
        "model_name": unique,
    }
    worker = WorkerProcess(settings_for(broker.bootstrap, unique, **values), tmp_path)
    try:
        eventually(lambda: worker.get("/health/live")[0] == 200, what="liveness")
        eventually(lambda: "fixstream model register" in worker.get("/health/ready")[1], what="the reason")
        assert worker.get("/health/ready")[0] == 503
        Registry(values["registry_uri"], tmp_path / "other").register(unique, model, alias="champion")
        worker.wait_ready()
        assert worker.stop() == 0
    finally:
        worker.kill()
