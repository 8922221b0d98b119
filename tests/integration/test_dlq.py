"""Dead letters as operators meet them: listed, looked into, sent back, on a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import onnx
import pytest
from click.testing import Result
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from stream_app.cli.main import app
from stream_app.errors import DeadLetterError, DeliveryFailed, SettingsError
from stream_app.kafka.dead_letters import Replayer, Wanted, letters
from stream_app.kafka.topics import ensure_topics
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.records.dead_letter import DeadLetter
from stream_app.records.schemas import shipped_dir, wire_fingerprint
from stream_app.settings import Settings
from tests.integration.test_control import environment
from tests.support.brokers import Broker
from tests.support.servers import MlflowServer
from tests.support.worker import TopicReader, WorkerProcess, eventually, send_all, settings_for

pytestmark = pytest.mark.kafka
KEY = b"net/433920000"
RunCommand = Callable[..., Result]


@pytest.fixture
def settings(broker: Broker, unique: str) -> Settings:
    if broker.kind == "embedded":
        pytest.skip("transactions, in which dead letters go back, are tested on Apache Kafka")
    found = settings_for(broker.bootstrap, unique, partitions=2)
    ensure_topics(found)
    return found


@pytest.fixture
def dlq(settings: Settings) -> RunCommand:
    """Runs ``fixstream dlq`` in this process; what it raises for main() is raised."""

    def run(*arguments: str, exit_code: int = 0) -> Result:
        done = CliRunner(env=environment(settings)).invoke(app, ["dlq", *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == exit_code, done.output
        return done

    return run


def bury(settings: Settings, *found: tuple[DeadLetter, bytes], at_ms: int = 0) -> None:
    """Puts dead letters on partition 0 of their topic, as a worker does."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "enable.idempotence": True})
    for letter, value in found:
        producer.produce(settings.dead_letter_topic, value, KEY, 0, timestamp=at_ms or 0, headers=letter.to_headers())
    assert producer.flush(30) == 0


def letter(
    settings: Settings, code: str = "undecodable", offset: int = 7, versions: tuple[str, ...] = ()
) -> DeadLetter:
    return DeadLetter(code, f"it was {code}", settings.captures_topic, 1, offset, versions)


def messages(settings: Settings, topic: str) -> list[Message]:
    with closing(TopicReader(settings.bootstrap_servers, topic)) as reader:
        eventually(reader.read, 10)
        return reader.read_out()


def listed(dlq: RunCommand, *arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in dlq("list", "--json", *arguments).stdout.splitlines()]


def foreign(capture: IqCapture, folder: Path) -> bytes:
    """The capture by a writer schema that does not ship; its .avsc comes into ``folder``."""
    schema = json.loads((shipped_dir() / "iq_capture" / "1.avsc").read_text())
    schema["fields"].append({"name": "remark", "type": "string", "default": ""})
    folder.mkdir(exist_ok=True)
    (folder / "later.avsc").write_text(json.dumps(schema))
    return b"\xc3\x01" + wire_fingerprint(schema) + Codecs().encode_capture(capture)[10:] + b"\x00"


def test_once_the_schema_is_there_a_replay_makes_fixes_of_what_it_had_made_dead_letters(
    settings: Settings, dlq: RunCommand, mlflow_server: MlflowServer, network: Network, unique: str, tmp_path: Path
) -> None:
    local = settings.model_copy(
        update={
            "registry_uri": mlflow_server.uri,
            "model_cache_dir": str(tmp_path / "models"),
            "model_name": unique,
            "schema_dir": str(tmp_path / "schemas"),
        }
    )
    onnx.save(build_tdoa(network), str(tmp_path / "model.onnx"))
    Registry(local.registry_uri, tmp_path / "models").register(unique, tmp_path / "model.onnx", alias="champion")
    captures = [capture for capture, _ in Simulator(network, seed=11).captures(7)]
    last = captures.pop()
    broken = replace(last, channels=last.channels[:1])  # of no use for differences of arrival times
    # Dead letters of a worker that did not have the schema yet.
    unknown_schema = [(letter(local, "unknown-schema"), foreign(each, tmp_path / "schemas")) for each in captures]
    bury(local, *unknown_schema)
    worker = WorkerProcess(local, tmp_path)
    try:
        worker.wait_ready()
        send_all(local, [(KEY, b"junk"), (key_of(broken), Codecs().encode_capture(broken))])
        rows = eventually(lambda: (found := listed(dlq)) and len(found) == 8 and found, what="the dead letters")
        versions = {row["reason"]: row["versions"] for row in rows}
        assert versions == {"unknown-schema": [], "undecodable": [], "unanswerable": ["1"]}
        assert [row["reason"] for row in listed(dlq, "--version", "1")] == ["unanswerable"]

        said = dlq("replay", "--reason", "unknown-schema").stdout
        assert said == f"replayed 6 dead letters to {local.captures_topic} (unknown-schema 6)\n"
        with closing(TopicReader(local.bootstrap_servers, local.positions_topic)) as reader:
            found = eventually(lambda: len(reader.read()) >= 6 and reader.messages, what="the fixes")
        fixes = [Codecs().decode_fix(message.value() or b"") for message in found]
        assert {fix.capture_id for fix in fixes} == {capture.capture_id for capture in captures}

        # What fails again comes back as a dead letter that says so.
        assert "left out 6 dead letters replayed before" in dlq("replay", "--all").stdout
        again = eventually(lambda: [row for row in listed(dlq) if row["replays"] == 1][1:], what="both again")
        assert again[0]["replayed"] is False
        assert worker.stop() == 0
    finally:
        worker.kill()


def test_filters_choose_and_a_dry_run_only_says(settings: Settings, dlq: RunCommand) -> None:
    assert dlq("list").stdout == "no dead letters\n"
    assert dlq("replay", "--all").stdout == "no dead letters\n"
    now_ms = int(time.time() * 1e3)
    bury(settings, (letter(settings), b"old"), at_ms=now_ms - 7_200_000)
    bury(settings, (letter(settings, "unanswerable", 8, ("7", "8")), b"seven"), (letter(settings), b"new"))
    elsewhere = replace(letter(settings, "unknown-schema"), topic="gone.captures")
    bury(settings, (elsewhere, b"elsewhere"), (letter(settings, "too-large", 99), b""))

    def offsets(*arguments: str) -> list[object]:
        return [str(row["letter"]) for row in listed(dlq, *arguments)]

    assert offsets() == ["0:0", "0:1", "0:2", "0:3", "0:4"]
    assert offsets("--reason", "undecodable", "--reason", "too-large") == ["0:0", "0:2", "0:4"]
    assert offsets("--since", "1h") == ["0:1", "0:2", "0:3", "0:4"]
    assert offsets("--until", "1h") == ["0:0"]
    assert offsets("--version", "8") == ["0:1"]
    assert offsets("--topic", "gone.captures") == ["0:3"]
    assert offsets("--limit", "2") == ["0:3", "0:4"]
    table = dlq("list", "--limit", "4").stdout
    counts = "5 dead letters (undecodable 2, unanswerable 1, unknown-schema 1, too-large 1)"
    assert table.splitlines()[-1] == counts
    assert max(map(len, table.splitlines())) <= 80
    assert "0:0" not in table
    assert "7,8" in table

    with pytest.raises(SettingsError, match="say which dead letters"):
        dlq("replay")
    said = dlq("replay", "--all", "--dry-run", exit_code=1).stdout.splitlines()
    topic = settings.captures_topic
    assert said[0] == f"would replay 3 dead letters to {topic} (undecodable 2, unanswerable 1)"
    assert "there is no topic gone.captures" in said[1]
    assert "left out 1 dead letter (too-large 1)" in said[2]
    assert (
        dlq("list").stdout.splitlines()[-1]
        == "5 dead letters (undecodable 2, unanswerable 1, unknown-schema 1, too-large 1)"
    )
    said = dlq("replay", "--reason", "unknown-schema", "--to", topic).stdout
    assert said == f"replayed 1 dead letter to {topic} (unknown-schema 1)\n"
    assert [message.value() for message in messages(settings, topic)] == [b"elsewhere"]


def test_show_tells_all_and_gives_the_bytes_back(
    settings: Settings, dlq: RunCommand, network: Network, tmp_path: Path
) -> None:
    junk = bytes(range(256)) + b"\x1b[2J\r\n"
    capture, _ = next(iter(Simulator(network, seed=3).captures(1)))
    hostile = replace(letter(settings), message="[red]it \x1b[2J cleared the screen")
    bury(settings, (hostile, junk), (letter(settings, "internal"), Codecs().encode_capture(capture)))
    said = dlq("show", "0:0", "--raw", str(tmp_path / "raw")).stdout
    assert (tmp_path / "raw").read_bytes() == junk
    assert f"{settings.captures_topic} 1:7" in said
    assert KEY.decode() in said
    assert "does not decode here and now: undecodable" in said
    assert "0000  00 01 02 03" in said
    assert "\x1b" not in said + dlq("list").stdout
    assert "[red]" in dlq("list").stdout
    said = dlq("show", "0:1").stdout
    assert repr(capture.capture_id) in said
    assert f"{capture.channels[0].receiver_id}: {capture.channels[0].sample_count} samples" in said
    for place in ("0:2", "9:0"):
        with pytest.raises(DeadLetterError, match=f"no dead letter {place}"):
            dlq("show", place)
    with pytest.raises(SettingsError, match="PARTITION:OFFSET"):
        dlq("show", "0")
    with pytest.raises(DeadLetterError, match="cannot be written"):
        dlq("show", "0:0", "--raw", str(tmp_path))


def test_a_dead_letter_goes_back_once_untouched_and_to_where_it_was(settings: Settings, dlq: RunCommand) -> None:
    twice = replace(letter(settings, offset=9), replays=1)
    bury(settings, (letter(settings), b"\x00one"), (twice, b"two"))
    topic = settings.captures_topic
    assert dlq("replay", "--all").stdout == f"replayed 2 dead letters to {topic} (undecodable 2)\n"
    found = messages(settings, topic)
    assert [(message.key(), message.value(), message.partition()) for message in found] == [
        (KEY, b"\x00one", 1),
        (KEY, b"two", 1),
    ]
    assert dict(found[1].headers() or []) == {
        "fixstream-replayed-from": f"{settings.dead_letter_topic}-0-1".encode(),
        "fixstream-replays": b"2",
    }
    assert dlq("replay", "--all").stdout == "left out 2 dead letters replayed before; --again sends them once more\n"
    assert len(messages(settings, topic)) == 2
    assert "2 dead letters (undecodable 2), 2 of them replayed before" in dlq("list").stdout
    assert "replayed  yes" in dlq("show", "0:1").stdout
    dlq("replay", "--all", "--again")
    assert len(messages(settings, topic)) == 4


DYING = """
import os, sys
import stream_app.kafka.dead_letters as module
from stream_app.cli.main import main

class Dying(module.Producer):
    commits = 0

    def commit_transaction(self, timeout):
        Dying.commits += 1
        if Dying.commits == 2:
            self.flush(timeout)
            os.kill(os.getpid(), 9)
        super().commit_transaction(timeout)

module.Producer = Dying
sys.argv = ["fixstream", "dlq", "replay", "--all"]
main()
"""


def test_a_replay_that_is_killed_is_taken_up_and_sends_nothing_twice(settings: Settings, dlq: RunCommand) -> None:
    values = [f"{number}".encode() for number in range(450)]
    bury(settings, *((letter(settings, offset=number), value) for number, value in enumerate(values)))
    killed = subprocess.run([sys.executable, "-c", DYING], env=os.environ | environment(settings), check=False)
    assert killed.returncode == -9
    assert dlq("replay", "--all", "--dry-run").stdout.startswith("would replay 250 ")
    said = dlq("replay", "--all").stdout.splitlines()
    assert said[0].startswith("replayed 250 dead letters")
    assert said[1].startswith("left out 200 dead letters replayed before")
    assert [message.value() for message in messages(settings, settings.captures_topic)] == values


def test_a_second_replay_ends_the_first(settings: Settings) -> None:
    bury(settings, (letter(settings), b"one"))
    first, second = Replayer(settings), Replayer(settings)
    first.open()
    batch = list(letters(settings, Wanted()))
    second.open()
    with pytest.raises(DeliveryFailed, match="another replay"):
        first.send(batch)
    assert second.send(batch) == []
    assert len(messages(settings, settings.captures_topic)) == 1


def test_what_the_broker_refuses_is_left_out_and_its_neighbours_go(settings: Settings, dlq: RunCommand) -> None:
    narrow = f"{settings.captures_topic}.narrow"
    topic = NewTopic(narrow, num_partitions=1, replication_factor=1, config={"max.message.bytes": "2000"})
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    for done in admin.create_topics([topic]).values():
        done.result(30)
    bury(settings, (letter(settings), b"a"), (letter(settings), Random(1).randbytes(5000)), (letter(settings), b"b"))
    said = dlq("replay", "--all", "--to", narrow, exit_code=1).stdout.splitlines()
    assert said[0] == f"replayed 2 dead letters to {narrow} (undecodable 2)"
    assert said[1].startswith("left out 1 dead letter (undecodable 1): the broker refused it")
    assert [message.value() for message in messages(settings, narrow)] == [b"a", b"b"]
    assert [row["replayed"] for row in listed(dlq)] == [True, False, True]
