"""Captures recorded from Kafka and replayed to it, and receivers of their own, on a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from stream_app.errors import DeliveryFailed, InvalidReception, Overloaded, RecordTooLarge
from stream_app.kafka.topics import ensure_topics
from stream_app.network.file import Network
from stream_app.network.receptions import receptions_of
from stream_app.network.recorded import recorded_captures
from stream_app.network.simulator import Simulator
from stream_app.receiver import ReceptionSender, WhenFull
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from tests.support.brokers import ROOT, Broker, KraftBroker, java_runs
from tests.support.worker import TopicReader, environment_of, eventually, send_all, settings_for
from tests.unit.network import networks, test_sigmf_file, test_wav

pytestmark = pytest.mark.kafka

_CODECS = Codecs()
_HERE = {"network": "net", "receiver_id": "r", "latitude": 47.5, "longitude": 9.5, "altitude_m": 500.0}
_RADIO = {"sample_rate_hz": 48_000.0, "datatype": "ci16_le", "center_frequency_hz": 433.92e6}


def _command(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stream_app.cli.main", *arguments],
        env=os.environ | environment_of(settings),
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(settings: Settings, *arguments: str) -> str:
    """What a command says, which must succeed."""
    process = _command(settings, *arguments)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    return said


def _captures(network: Network, count: int) -> list[IqCapture]:
    return [capture for capture, _ in Simulator(network, 3).captures(count)]


def _send(settings: Settings, captures: list[IqCapture]) -> None:
    send_all(settings, [(key_of(capture), _CODECS.encode_capture(capture)) for capture in captures])


@contextmanager
def _reading(bootstrap: str, topic: str) -> Iterator[TopicReader]:
    reader = TopicReader(bootstrap, topic)
    try:
        yield reader
    finally:
        reader.close()


def _read_captures(settings: Settings) -> list[IqCapture]:
    with _reading(settings.bootstrap_servers, settings.captures_topic) as reader:
        return [_CODECS.decode_capture(message.value()) for message in reader.read_out()]


def test_what_was_recorded_is_replayed_field_by_field(
    broker: Broker, network: Network, unique: str, tmp_path: Path
) -> None:
    pytest.importorskip("sigmf")
    settings, again = settings_for(broker.bootstrap, unique), settings_for(broker.bootstrap, f"{unique}-again")
    captures = _captures(network, 30)
    _send(settings, captures)
    send_all(settings, [(b"x", b"no capture")])
    said = _run(settings, "record", str(tmp_path / "new"), "--from-start", "--seconds", "2.5")
    assert f"30 captures recorded to {tmp_path / 'new'}" in said
    assert "1 records that hold no sound capture were left out" in said
    assert f"30 captures sent to {again.captures_topic}" in _run(again, "replay", str(tmp_path / "new"), "--speed", "0")
    by_id = {capture.capture_id: capture for capture in captures}
    assert {capture.capture_id: capture for capture in _read_captures(again)} == by_id

    # The same as receptions, each with the key of its capture.
    _run(again, "replay", str(tmp_path / "new"), "--speed", "0", "--as", "receptions")
    with _reading(again.bootstrap_servers, again.receptions_topic) as reader:
        found = [(message.key(), _CODECS.decode_reception(message.value())) for message in reader.read_out()]
    wanted = [(key_of(capture), reception) for capture in captures for reception in receptions_of(capture)]
    order = [(r.slot_at_us, r.center_frequency_hz, r.channel.receiver_id) for _, r in found]
    assert len(set(order)) == len(found) == len(wanted)
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))


def test_files_are_replayed_as_receptions_of_the_same_slots(broker: Broker, unique: str, tmp_path: Path) -> None:
    pytest.importorskip("sigmf")
    settings = settings_for(broker.bootstrap, unique)
    place = tmp_path / "net.yaml"
    place.write_text(yaml.safe_dump(networks.network().model_dump(mode="json")))
    files = [str(test_sigmf_file.make(tmp_path, "b")), str(test_wav.make(tmp_path, "one.wav", count=2500))]
    given = ["--receiver", "b", "--receiver", "c", "--start", "2023-11-14T22:13:20.5Z"]
    said = _run(settings, "replay", *files, "--network", str(place), "--speed", "0", "--as", "receptions", *given)
    assert f"5 receptions sent to {settings.receptions_topic}" in said
    with _reading(settings.bootstrap_servers, settings.receptions_topic) as reader:
        receptions = [_CODECS.decode_reception(message.value()) for message in reader.read_out()]
    slots = {(r.channel.receiver_id, r.slot_at_us // 10**6 - 1_700_000_000, r.channel.sample_count) for r in receptions}
    # c began half a second later, and has less.
    assert slots == {("b", 0, 1000), ("b", 1, 1000), ("b", 2, 1000), ("c", 1, 1000), ("c", 2, 1000)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_recording_ends_whole_when_it_is_interrupted(
    broker: Broker, network: Network, unique: str, tmp_path: Path, number: int
) -> None:
    pytest.importorskip("sigmf")
    settings, captures = settings_for(broker.bootstrap, unique), _captures(network, 20)
    _send(settings, captures)
    process = _command(settings, "record", str(tmp_path / "new"), "--from-start")
    try:
        part = tmp_path / "new" / ".000001.part"
        eventually(lambda: part.is_dir() and any(file.stat().st_size for file in part.glob("*-data")))
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 0, said
    recorded = list(recorded_captures(tmp_path / "new"))
    assert f"{len(recorded)} captures recorded" in said
    assert 1 <= len(recorded) <= 20
    assert all(capture in captures for capture in recorded)


def test_count_and_key_choose_what_is_recorded(broker: Broker, network: Network, unique: str, tmp_path: Path) -> None:
    pytest.importorskip("sigmf")
    settings, captures = settings_for(broker.bootstrap, unique), _captures(network, 40)
    _send(settings, captures)
    key = key_of(captures[0]).decode()
    _run(settings, "record", str(tmp_path / "new"), "--from-start", "--count", "5", "--key", key)
    recorded = list(recorded_captures(tmp_path / "new"))
    assert recorded == [capture for capture in captures if key_of(capture).decode() == key][:5]
    process = _command(settings, "record", str(tmp_path / "new"), "--from-start", "--count", "5")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert (
        said.strip().splitlines()[-1].startswith(f"fixstream: {tmp_path / 'new'} is not empty: nothing is overwritten")
    )


def test_the_example_receiver_sends_its_slots(broker: Broker, unique: str) -> None:
    settings = settings_for(broker.bootstrap, unique)
    ensure_topics(settings)
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "receiver.py"), broker.bootstrap],
        env=os.environ | {"FIXSTREAM_RECEPTIONS_TOPIC": settings.receptions_topic, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    with _reading(broker.bootstrap, settings.receptions_topic) as reader:
        messages = reader.read_out()
    receptions = [_CODECS.decode_reception(message.value()) for message in messages]
    assert len(receptions) in (4, 5)  # 3 s, from any moment of a slot
    assert done.stdout == f"{len(receptions)} slots sent, 0 lost\n"
    assert {message.key() for message in messages} == {b"demo/433920000"}
    starts = [reception.slot_at_us for reception in receptions]
    assert starts == list(range(starts[0], starts[0] + 500_000 * len(starts), 500_000))
    assert starts[0] % 500_000 == 0
    assert all(0 <= r.channel.start_time_ns - r.slot_at_us * 1000 < 1e9 / 48_000 for r in receptions)
    assert {r.channel.sample_count for r in receptions} == {24_000}
    with (ROOT / "examples" / "receiver.py").open() as file:
        assert sum(1 for line in file if line.strip() and not line.lstrip().startswith(('"""', "#"))) <= 20


def _slot(number: int, size: int = 4000) -> dict[str, object]:
    return {
        "slot_at_us": 1_700_000_000_000_000 + number * 100_000,
        "start_time_ns": (1_700_000_000_000_000 + number * 100_000) * 1000,
        "samples": number.to_bytes(4, "little") + os.urandom(size - 4),
    }


def test_what_was_not_acknowledged_is_told_to_the_sender(broker: Broker, unique: str) -> None:
    options = {"topic.metadata.propagation.max.ms": 100, "log_level": 0}
    sender = ReceptionSender(broker.bootstrap, **_HERE, **_RADIO, topic=f"{unique}-nowhere", kafka=options)
    sender.send(**_slot(0))
    with pytest.raises(
        DeliveryFailed, match=rf"1 receptions for {unique}-nowhere were not acknowledged: .*nknown topic"
    ):
        sender.flush()
    sender.flush()  # each is told once
    with pytest.raises(DeliveryFailed, match=r"cannot be sent: .*nknown topic"):  # now it is known at once
        sender.send(**_slot(1))
    sender.close()


def test_slots_that_cannot_be_are_refused_at_once(broker: Broker, unique: str) -> None:
    with ReceptionSender(broker.bootstrap, **_HERE, **_RADIO, topic=unique) as sender:
        for samples in (b"", b"1234", b"123456789"):
            with pytest.raises(InvalidReception, match="no 2 or more samples"):
                sender.send(slot_at_us=0, start_time_ns=0, samples=samples)
        with pytest.raises(InvalidReception, match="does not fit its schema"):
            sender.send(slot_at_us="noon", start_time_ns=0, samples=bytes(8))  # type: ignore[arg-type]
        with pytest.raises(RecordTooLarge, match="send shorter slots"):
            sender.send(slot_at_us=0, start_time_ns=0, samples=bytes(17 * 2**20))
    with pytest.raises(InvalidReception, match="latitude is 91"):
        ReceptionSender(broker.bootstrap, **_HERE | {"latitude": 91}, **_RADIO)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[KraftBroker]:
    """A broker that a test may stop and start."""
    if os.environ.get("FIXSTREAM_TEST_BROKER", "java") != "java" or not java_runs():
        pytest.skip("stopping a broker takes Apache Kafka on Java 17")
    broker = KraftBroker(tmp_path, heap="512m")
    with broker:
        yield broker


def _numbers(broker: KraftBroker, topic: str, count: int) -> list[int]:
    with _reading(broker.bootstrap, topic) as reader:
        eventually(lambda: len(reader.read()) >= count, what=f"{count} records")
        receptions = [_CODECS.decode_reception(message.value()) for message in reader.read_out()]
    return [int.from_bytes(reception.channel.samples[:4], "little") for reception in receptions]


def test_while_the_broker_is_away_a_full_queue_does_what_was_chosen(own_broker: KraftBroker) -> None:
    where = own_broker.bootstrap
    for name in ("waits", "drops"):
        ensure_topics(settings_for(where, name, partitions=1))
    waiting = ReceptionSender(where, **_HERE, **_RADIO, topic="waits.receptions", queue_bytes=50_000, wait_s=0.3)
    dropping = ReceptionSender(
        where, **_HERE, **_RADIO, topic="drops.receptions", queue_bytes=80_000, when_full=WhenFull.DROP_OLDEST
    )
    with waiting, dropping:
        for sender in (waiting, dropping):
            sender.send(**_slot(0))
            sender.flush()
        own_broker.stop()
        taken = 1 + _sent_until_full(waiting)
        assert 11 <= taken - 1 <= 12  # of 4 KB each
        for number in range(1, 201):
            dropping.send(**_slot(number))
        assert dropping.dropped > 150
        own_broker.start()
        for sender in (waiting, dropping):
            sender.flush(120)
        waiting.send(**_slot(taken))
    # All that was taken, in its order, each once.
    assert _numbers(own_broker, "waits.receptions", taken + 1) == list(range(taken + 1))
    assert (waiting.sent, waiting.dropped) == (taken + 1, 0)
    found = _numbers(own_broker, "drops.receptions", dropping.sent)
    assert len(found) == dropping.sent == 201 - dropping.dropped
    assert found == sorted(set(found))
    assert found[-14:] == list(range(187, 201))  # the newest


def _sent_until_full(sender: ReceptionSender) -> int:
    """How many more it takes."""
    for number in range(1, 100):
        try:
            sender.send(**_slot(number))
        except Overloaded as error:
            if "no room for a reception within 0.3 s" in str(error):
                return number - 1
            raise
    raise AssertionError("it takes ever more")
