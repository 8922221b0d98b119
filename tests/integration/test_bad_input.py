"""The catalogue of bad input among good captures, through a real broker and worker."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest

from stream_app.models.registry import Registry
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.dead_letter import DeadLetter
from stream_app.settings import Settings
from tests.support.bad_input import CATALOGUE, CODECS
from tests.support.brokers import Broker
from tests.support.small_model import small_model
from tests.support.worker import TopicReader, WorkerProcess, eventually, send_all, settings_for

pytestmark = pytest.mark.kafka
# 20 MB of zeros fit into a batch that the topic takes; librdkafka's own limit is on what is not compressed yet.
BIG = {"compression.type": "lz4", "message.max.bytes": 100_000_000}


@pytest.fixture
def settings(broker: Broker, unique: str, tmp_path: Path) -> Settings:
    onnx.save(small_model(), str(tmp_path / "small.onnx"))
    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    Registry(uri, tmp_path / "models").register(unique, tmp_path / "small.onnx", alias="champion")
    return settings_for(
        broker.bootstrap,
        unique,
        registry_uri=uri,
        model_cache_dir=str(tmp_path / "models"),
        model_name=unique,
        partitions=2,
    )


def test_each_bad_record_gets_its_dead_letter_and_each_good_one_its_fix(
    broker: Broker, network: Network, settings: Settings, tmp_path: Path
) -> None:
    captures = [capture for capture, _ in Simulator(network, seed=9).captures(len(CATALOGUE))]
    bad = [(f"bad-{n}".encode() if each.key else None, each.make(captures[n])) for n, each in enumerate(CATALOGUE)]
    good = [(key_of(capture), CODECS.encode_capture(capture)) for capture in captures]
    refused = {bad[n]: each for n, each in enumerate(CATALOGUE) if each.code is not None}
    kept = [each.name for each in CATALOGUE if each.code is None]

    worker = WorkerProcess(settings, tmp_path)
    try:
        worker.wait_ready()
        send_all(settings, [record for pair in zip(bad, good, strict=True) for record in pair], **BIG)
        fixes = TopicReader(broker.bootstrap, settings.positions_topic)
        letters = TopicReader(broker.bootstrap, settings.dead_letter_topic)
        eventually(lambda: len(letters.read()) >= len(refused), what="the last dead letter")
        eventually(lambda: len(fixes.read()) >= len(good) + len(kept), what="the last fix")
        eventually(lambda: worker.metric("fixstream_consumer_lag_records") == 0, what="no lag")
        letters.read_out()
        fixes.read_out()
        assert worker.get("/health/ready")[0] == 200
        assert worker.metric('fixstream_errors_total{reason="internal"}') == 0
        assert worker.stop() == 0
    finally:
        worker.kill()
        fixes.close()
        letters.close()

    assert len(letters.messages) == len(refused)
    for message in letters.messages:
        headers = dict(message.headers() or [])
        expected = refused.pop((message.key(), message.value()))
        words = headers["fixstream-message"].decode()
        assert headers["fixstream-code"].decode() == expected.code, f"{expected.name}: {words}"
        assert expected.words in words
    assert not refused
    found = Counter(CODECS.decode_fix(message.value() or b"").capture_id for message in fixes.messages)
    assert found == Counter([capture.capture_id for capture in captures] + kept)


def test_a_batch_that_cannot_be_unpacked_does_not_hold_up_its_partition(
    broker: Broker, network: Network, settings: Settings, tmp_path: Path
) -> None:
    captures = [capture for capture, _ in Simulator(network, seed=9).captures(2)]
    first, last = ((key_of(capture), CODECS.encode_capture(capture)) for capture in captures)
    worker = WorkerProcess(settings, tmp_path)
    try:
        worker.wait_ready()
        send_all(settings, [first])
        bomb = {"compression.type": "zstd", "message.max.bytes": 200_000_000}
        send_all(settings, [(first[0], bytes(110_000_000))], **bomb)
        send_all(settings, [last])
        fixes = TopicReader(broker.bootstrap, settings.positions_topic)
        eventually(lambda: len(fixes.read()) >= 2, what="the fix behind the bomb")
        fixes.close()
        letters = TopicReader(broker.bootstrap, settings.dead_letter_topic)
        [letter] = eventually(letters.read, what="the dead letter")
        letters.close()
        about = DeadLetter.from_headers(letter.headers())
        assert (about.code, about.topic, letter.value()) == ("cannot-unpack", settings.captures_topic, None)
        eventually(lambda: worker.metric("fixstream_consumer_lag_records") == 0, what="no lag")
        assert worker.stop() == 0
    finally:
        worker.kill()
