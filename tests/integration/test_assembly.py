"""Receptions of single receivers through a real ``fixstream assemble`` on a real broker."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from typer.testing import CliRunner

from stream_app.cli.main import app
from stream_app.kafka.topics import ensure_topics
from stream_app.network.file import Network
from stream_app.network.receptions import receptions_of
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.records.dead_letter import DeadLetter
from stream_app.records.reception import IqReception
from stream_app.settings import Settings
from tests.integration.test_control import environment
from tests.support.brokers import Broker
from tests.support.worker import AssemblerProcess, TopicReader, eventually, send_all, settings_for

pytestmark = pytest.mark.kafka
CODECS = Codecs()
SLOTS = 60


@pytest.fixture
def settings(broker: Broker, unique: str) -> Settings:
    if broker.kind == "embedded":
        pytest.skip("an assembler's transactions are tested on Apache Kafka")
    found = settings_for(broker.bootstrap, unique, partitions=2, assembly_idle_ms=3000)
    ensure_topics(found)
    return found


@pytest.fixture
def readers(settings: Settings) -> Iterator[tuple[TopicReader, TopicReader]]:
    """Of captures and of dead letters."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(closing(TopicReader(settings.bootstrap_servers, topic)))
            for topic in (settings.captures_topic, settings.dead_letter_topic)
        ]
        yield made[0], made[1]


def send(settings: Settings, records: list[tuple[bytes | None, bytes | None]]) -> None:
    send_all(settings.model_copy(update={"captures_topic": settings.receptions_topic}), records)


def record(reception: IqReception) -> tuple[bytes, bytes]:
    return f"{reception.network}/{reception.center_frequency_hz:.0f}".encode(), CODECS.encode_reception(reception)


def captures(network: Network) -> list[IqCapture]:
    short = network.simulation.model_copy(update={"samples": 2048})
    made = Simulator(network.model_copy(update={"simulation": short}), 2).captures(SLOTS)
    return [
        replace(capture, capture_id=f"demo/{key_of(capture).decode().partition('/')[2]}/{capture.captured_at_us}")
        for capture, _ in made
    ]


def code_of(message: Message) -> str:
    return DeadLetter.from_headers(message.headers()).code


def test_receptions_in_wrong_order_are_the_captures_they_were_cut_from(
    settings: Settings, network: Network, tmp_path: Path, readers: tuple[TopicReader, TopicReader]
) -> None:
    whole = captures(network)
    chance = random.Random(4)
    # Whose slot nobody has heard of when it comes at last: it is over then, by the others' event time.
    *early, late = receptions_of(whole[0])
    others = [each for capture in whole[1:] for each in receptions_of(capture)]
    twice = chance.sample(others, 10)
    shuffled = sorted([*early, *others, *twice], key=lambda each: each.slot_at_us + chance.uniform(0, 1e6))
    lost = [replace(each, slot_at_us=each.slot_at_us - 10_000_000) for each in receptions_of(whole[1])[:2]]
    stranger = replace(others[0], network="another")
    poison = (b"demo/433920000", b"no reception")
    records = [record(each) for each in (*shuffled, late, *lost, stranger)]
    send(settings, [*records, poison])
    captures_out, letters = readers
    worker = AssemblerProcess(settings, tmp_path)
    try:
        eventually(lambda: len(captures_out.read()) >= SLOTS and len(letters.read()) >= 5, 60, "all outcomes")
        found = {c.capture_id: c for c in (CODECS.decode_capture(m.value()) for m in captures_out.read_out())}
        assert len(captures_out.messages) == SLOTS
        partial = found.pop(whole[0].capture_id)
        assert found == {capture.capture_id: capture for capture in whole[1:]}
        assert partial.channels == whole[0].channels[:-1]
        assert all(m.key() == key_of(CODECS.decode_capture(m.value())) for m in captures_out.messages)
        assert Counter(map(code_of, letters.read_out())) == {
            "late-reception": 3,
            "unknown-network": 1,
            "undecodable": 1,
        }
        buried = [*map(record, (late, *lost, stranger)), poison]
        assert {m.value() for m in letters.messages} == {value for _, value in buried}
        assert worker.metric('fixstream_receptions_total{outcome="repeated"}') == len(twice)
        assert worker.metric('fixstream_assembled_captures_total{state="partial"}') == 1

        # Sent again on purpose, they are not held to the event time that they missed: two make a capture, one does not.
        arguments = ["dlq", "replay", "--reason", "late-reception"]
        said = CliRunner(env=environment(settings)).invoke(app, arguments, catch_exceptions=False)
        assert f"replayed 3 dead letters to {settings.receptions_topic}" in said.output
        eventually(lambda: len(captures_out.read()) > SLOTS, 60, "a capture of what was replayed")
        eventually(lambda: len([m for m in letters.read() if code_of(m) == "too-few-receivers"]) == 1, 60, "a letter")
        replayed = CODECS.decode_capture(captures_out.messages[-1].value())
        assert (replayed.captured_at_us, len(replayed.channels)) == (lost[0].slot_at_us, 2)
        assert replayed.capture_id.endswith("#1")
        assert worker.stop() == 0
    finally:
        worker.kill()
    assert len(captures_out.read_out()) == SLOTS + 1


def test_slots_that_are_open_go_on_after_a_stop(
    settings: Settings, network: Network, tmp_path: Path, readers: tuple[TopicReader, TopicReader]
) -> None:
    """What was read and not answered is read again; what was answered is not."""
    [first, second, *_] = captures(network)
    *heard, missing = receptions_of(second)
    send(settings, [record(each) for each in (*heard, *receptions_of(first))])
    long = settings.model_copy(update={"assembly_idle_ms": 60_000})
    worker = AssemblerProcess(long, tmp_path)
    try:
        eventually(lambda: readers[0].read(), 60, "the first capture")
        eventually(lambda: worker.metric("fixstream_open_slots") == 1, 10, "the open slot")
        assert worker.stop() == 0
        send(settings, [record(missing)])
        worker = AssemblerProcess(long, tmp_path)
        eventually(lambda: len(readers[0].read()) == 2, 60, "the second capture")
        assert worker.stop() == 0
    finally:
        worker.kill()
    assert [CODECS.decode_capture(m.value()) for m in readers[0].read_out()] == [first, second]
    assert not readers[1].read_out()


def test_a_capture_that_the_broker_refuses_for_its_size_holds_up_nothing(
    settings: Settings, network: Network, tmp_path: Path, readers: tuple[TopicReader, TopicReader]
) -> None:
    small = ConfigResource(
        ConfigResource.Type.TOPIC,
        settings.captures_topic,
        incremental_configs=[ConfigEntry("max.message.bytes", "30000", incremental_operation=AlterConfigOpType.SET)],
    )
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.incremental_alter_configs([small])[small].result(30)
    whole, partial, *_ = captures(network)  # 33 KB, and 25 KB without one receiver
    receptions = [record(each) for each in (*receptions_of(whole), *receptions_of(partial)[:-1])]
    send(settings, receptions)
    worker = AssemblerProcess(settings, tmp_path)
    try:
        eventually(lambda: readers[0].read() and len(readers[1].read()) >= 4, 60, "a capture and four letters")
        assert worker.stop() == 0
    finally:
        worker.kill()
    assert [CODECS.decode_capture(m.value()).captured_at_us for m in readers[0].read_out()] == [partial.captured_at_us]
    assert [code_of(m) for m in readers[1].read_out()] == ["too-large"] * 4
    assert {m.value() for m in readers[1].messages} == {value for _, value in receptions[:4]}
