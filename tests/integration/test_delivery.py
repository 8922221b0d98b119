"""Answers and offsets in one transaction, and what becomes of those who may not commit any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import onnx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from stream_app.errors import DeliveryFailed, RecordTooLarge
from stream_app.kafka.records import Output
from stream_app.kafka.topics import ensure_topics
from stream_app.kafka.transactions import Transactions
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.settings import Guarantee, Settings
from tests.support.brokers import Broker
from tests.support.worker import TopicReader, WorkerProcess, eventually, send_all, settings_for

pytestmark = pytest.mark.kafka


class Member:
    """A member of the settings' group."""

    def __init__(self, settings: Settings) -> None:
        self.consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": settings.group_id,
                "enable.auto.commit": False,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 300,
            }
        )
        self.generations = 0
        self.consumer.subscribe([settings.captures_topic], on_assign=self._count)

    def _count(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.generations += 1

    def joined(self, generations: int) -> bool:
        self.consumer.poll(0.05)
        return self.generations >= generations

    @property
    def metadata(self) -> object:
        return self.consumer.consumer_group_metadata()


@pytest.fixture
def settings(broker: Broker, unique: str) -> Settings:
    made = settings_for(broker.bootstrap, unique, transaction_timeout_ms=6000)
    ensure_topics(made)
    return made


@pytest.fixture
def member(settings: Settings) -> Iterator[Member]:
    found = Member(settings)
    eventually(lambda: found.joined(1), what="a join")
    yield found
    found.consumer.close()


@pytest.fixture
def transactions(settings: Settings) -> Transactions:
    made = Transactions(settings, "tested")
    made.open()
    return made


def fix(settings: Settings, value: bytes) -> Output:
    return Output(settings.positions_topic, b"key", value, [], (settings.captures_topic, 0))


def offsets(settings: Settings, end: int) -> dict[tuple[str, int], int]:
    return {(settings.captures_topic, 0): end}


def visible(settings: Settings, count: int) -> list[bytes]:
    """What readers of committed records see, once ``count`` are there."""
    reader = TopicReader(settings.bootstrap_servers, settings.positions_topic)
    try:
        eventually(lambda: len(reader.read()) >= count, what="the committed records")
        return [message.value() or b"" for message in reader.read_out()]
    finally:
        reader.close()


def committed(member: Member, settings: Settings) -> int:
    [found] = member.consumer.committed([TopicPartition(settings.captures_topic, 0)], timeout=10)
    return int(found.offset)


def test_a_member_of_an_older_generation_commits_nothing_and_shows_nothing(
    broker: Broker, settings: Settings, member: Member, transactions: Transactions
) -> None:
    if broker.kind == "embedded":
        pytest.skip("the embedded broker does not check a transaction's generation")
    stale = member.metadata
    other = Member(settings)
    try:
        eventually(lambda: other.joined(1) and member.joined(2), what="a rebalance")
        with pytest.raises(DeliveryFailed, match="transaction was given up"):
            transactions.commit([fix(settings, b"zombie")], offsets(settings, 7), stale)
        transactions.commit([fix(settings, b"living")], offsets(settings, 5), member.metadata)
        assert visible(settings, 1) == [b"living"]
        assert committed(member, settings) == 5
    finally:
        other.consumer.close()


def test_a_fenced_producer_is_made_anew(settings: Settings, member: Member, transactions: Transactions) -> None:
    transactions.commit([fix(settings, b"first")], offsets(settings, 1), member.metadata)
    usurper = Producer({"bootstrap.servers": settings.bootstrap_servers, "transactional.id": transactions._id})
    usurper.init_transactions(30)
    with pytest.raises(DeliveryFailed):
        transactions.commit([fix(settings, b"fenced")], offsets(settings, 2), member.metadata)
    assert committed(member, settings) == 1
    transactions.commit([fix(settings, b"second")], offsets(settings, 2), member.metadata)
    assert visible(settings, 2) == [b"first", b"second"]
    assert committed(member, settings) == 2


def test_a_record_that_its_topic_refuses_is_named_and_the_next_transaction_goes_through(
    settings: Settings, member: Member, transactions: Transactions
) -> None:
    large = fix(settings, Random(1).randbytes(2**25))  # incompressible
    with pytest.raises(RecordTooLarge) as caught:
        transactions.commit([fix(settings, b"small"), large], offsets(settings, 2), member.metadata)
    assert any(each is large for each in caught.value.refused)
    transactions.commit([fix(settings, b"small")], offsets(settings, 2), member.metadata)
    assert visible(settings, 1) == [b"small"]


@pytest.mark.parametrize("guarantee", Guarantee)
def test_a_dead_letter_that_is_too_large_goes_without_its_value_and_holds_up_nothing(
    broker: Broker, network: Network, unique: str, tmp_path: Path, guarantee: Guarantee
) -> None:
    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    model = tmp_path / "model.onnx"
    onnx.save(build_tdoa(network), str(model))
    Registry(uri, tmp_path / "models").register(unique, model, alias="champion")
    settings = settings_for(
        broker.bootstrap,
        unique,
        registry_uri=uri,
        model_cache_dir=str(tmp_path / "models"),
        model_name=unique,
        delivery=guarantee,
    )
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    narrow = NewTopic(settings.dead_letter_topic, 4, 1, config={"max.message.bytes": "20000"})
    for future in admin.create_topics([narrow]).values():
        future.result(10)
    capture = next(capture for capture, _ in Simulator(network, seed=3).captures(1))
    noise = Random(2).randbytes(200_000)
    good, key = Codecs().encode_capture(capture), key_of(capture)
    worker = WorkerProcess(settings, tmp_path)
    try:
        worker.wait_ready()
        send_all(settings, [(key, b"small"), (key, noise), (key, good)])
        fixes = TopicReader(broker.bootstrap, settings.positions_topic)
        letters = TopicReader(broker.bootstrap, settings.dead_letter_topic)
        eventually(lambda: len(letters.read()) >= 2 and len(fixes.read()) >= 1, what="fix and dead letters")
        assert worker.stop() == 0
        found = {dict(message.headers())["fixstream-code"]: message for message in letters.read_out()}
        fixes.close()
        letters.close()
    finally:
        worker.kill()
    assert set(found) == {b"undecodable", b"too-large"}
    stub = dict(found[b"too-large"].headers())
    assert (found[b"too-large"].value() or b"") == b""
    assert b"200000 bytes" in stub["fixstream-message"]
    assert stub["fixstream-topic"] == settings.captures_topic.encode()
    assert int(stub["fixstream-offset"]) == 1
