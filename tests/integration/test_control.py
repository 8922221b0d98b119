"""The control topic as operators meet it: deployments out, workers' answers back, on a real broker.

The workers here are stand-ins that speak on the status topic; real ones have their own tests.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from stream_app.cli.main import app
from stream_app.errors import BrokerUnavailable, DeploymentRefused, ModelNotFound, RegistryUnavailable
from stream_app.kafka.control import ControlListener, history, publish, statuses
from stream_app.kafka.embedded import free_port
from stream_app.kafka.follow import TopicFollower
from stream_app.kafka.topics import ensure_topics
from stream_app.models.registry import Registry
from stream_app.records.codec import Codecs
from stream_app.records.deployment import (
    Deployment,
    DeploymentState,
    ModelStatus,
    Route,
    RouteMode,
    RunningVersion,
    Split,
)
from stream_app.settings import Settings
from tests.golden.make import FIX
from tests.support.brokers import Broker, KraftBroker
from tests.support.worker import eventually, settings_for

pytestmark = pytest.mark.kafka
CODECS = Codecs()
RunCommand = Callable[..., Result]


@pytest.fixture
def settings(broker: Broker, unique: str, registry_uri: str) -> Settings:
    found = isolated(broker.bootstrap, unique, registry_uri)
    ensure_topics(found)
    return found


def isolated(bootstrap: str, name: str, registry_uri: str) -> Settings:
    return settings_for(
        bootstrap,
        name,
        partitions=1,
        model_name=name,
        registry_uri=registry_uri,
        status_every_s=100.0,  # so that nobody counts as gone because this machine is slow
    )


@pytest.fixture
def registry(settings: Settings, tmp_path: Path) -> Registry:
    """Versions 1 and 2 of the model; @champion names 1. Nobody loads them, so any bytes do."""
    found = Registry(settings.registry_uri, tmp_path)
    for content, alias in ((b"one", "champion"), (b"two", None)):
        (tmp_path / "model.onnx").write_bytes(content)
        found.register(settings.model_name, tmp_path / "model.onnx", alias)
    return found


@pytest.fixture
def run(settings: Settings) -> RunCommand:
    """Runs a command with the settings as its environment."""

    def runs(*arguments: str) -> Result:
        return CliRunner(env=environment(settings)).invoke(app, arguments)

    return runs


def environment(settings: Settings) -> dict[str, str]:
    values = settings.model_dump(exclude_none=True)
    return {f"FIXSTREAM_{name.upper()}": str(value) for name, value in values.items()}


def deployment(settings: Settings, revision: int, *versions: str) -> Deployment:
    routes = tuple(Route(version, 50.0) for version in versions or ("1",))
    return Deployment(settings.model_name, revision, routes, issued_by="test", issued_at_us=time.time_ns() // 1000)


def status(settings: Settings, worker: str, revision: int, state: str, running: int, **more: Any) -> ModelStatus:
    versions = (RunningVersion("@champion", "1", "ab" * 32, 100.0, RouteMode.LIVE),)
    plain = ModelStatus(
        worker, settings.model_name, revision, DeploymentState(state), running, versions, "", time.time_ns() // 1000
    )
    return replace(plain, **more)


def send(settings: Settings, topic: str, records: Sequence[tuple[str, bytes | None]]) -> None:
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    for key, value in records:
        producer.produce(topic, value, key.encode())
    assert producer.flush(30) == 0


def send_status(settings: Settings, *found: ModelStatus) -> None:
    send(settings, settings.status_topic, [(one.worker, CODECS.encode_status(one)) for one in found])


@contextmanager
def workers(settings: Settings, **answers: tuple[str, str]) -> Iterator[None]:
    """Stand-ins, by name, that answer each deployment with (state, reason)."""
    stopping = threading.Event()
    for name in answers:
        send_status(settings, status(settings, name, 0, "APPLIED", 0))

    def serve() -> None:
        follower = TopicFollower(settings, settings.control_topic)
        while not stopping.is_set():
            for message in follower.poll(0.1):
                revision = CODECS.decode_deployment(message.value()).revision
                for name, (state, reason) in answers.items():
                    send_status(settings, status(settings, name, revision, "LOADING", revision - 1))
                    running = revision if state == "APPLIED" else revision - 1
                    send_status(settings, status(settings, name, revision, state, running, reason=reason))
        follower.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_a_topic_is_followed_to_its_end_over_what_is_gone_from_it(broker: Broker, settings: Settings) -> None:
    topic = settings.shadow_topic  # a compacted one would not let its records be deleted
    follower = TopicFollower(settings, topic)
    assert follower.to_end(10) == []
    send(settings, topic, [("m", str(number).encode()) for number in range(5)])
    assert [message.value() for message in follower.to_end(10)] == [b"0", b"1", b"2", b"3", b"4"]
    assert follower.to_end(10) == []
    send(settings, topic, [("m", b"5")])
    assert [message.value() for message in eventually(lambda: follower.poll(0.2))] == [b"5"]
    follower.close()
    if broker.kind == "embedded":
        pytest.skip("the embedded broker neither deletes records nor knows transactions")

    transactional = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic})
    transactional.init_transactions(30)
    for end in (transactional.commit_transaction, transactional.abort_transaction):
        transactional.begin_transaction()
        transactional.produce(topic, b"in a transaction", b"m")
        end(30)
    admin, until = AdminClient({"bootstrap.servers": broker.bootstrap}), TopicPartition(topic, 0, 4)
    for done in admin.delete_records([until]).values():
        done.result(30)
    # 0 to 3 are gone, 4 and 5 are there, then a record, its marker, an aborted record, its marker.
    fresh = TopicFollower(settings, topic)
    assert [message.value() for message in fresh.to_end(20)] == [b"4", b"5", b"in a transaction"]
    fresh.close()


def test_without_a_broker_or_a_topic_it_says_so(broker: Broker, settings: Settings) -> None:
    with pytest.raises(BrokerUnavailable, match="there is no topic nowhere"):
        TopicFollower(settings, "nowhere")
    away = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(BrokerUnavailable, match="no Kafka broker answers"):
        publish(away, CODECS, deployment(settings, 1))


def test_history_holds_growing_revisions_of_one_model(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    sent = [deployment(settings, revision, "1", "@champion") for revision in (1, 3, 2, 3, 7)]
    other = replace(sent[0], model_name="other", revision=9)
    records = [CODECS.encode_deployment(one) for one in (*sent[:2], other, *sent[2:])]
    records.insert(2, b"no deployment")
    send(settings, settings.control_topic, [("m", record) for record in [*records, None]])
    assert history(settings, CODECS, settings.model_name) == [sent[0], sent[1], sent[4]]
    assert f"{settings.control_topic}, partition 0, offset 2 is left out" in caplog.text
    publish(settings, CODECS, deployment(settings, 8))
    assert [one.revision for one in history(settings, CODECS, settings.model_name)] == [1, 3, 7, 8]


def test_statuses_are_the_newest_of_each_worker_that_is_there(settings: Settings) -> None:
    newest = status(settings, "a", 2, "APPLIED", 2)
    send_status(settings, status(settings, "a", 2, "LOADING", 1), status(settings, "b", 1, "APPLIED", 1), newest)
    send_status(settings, status(settings, "c", 1, "APPLIED", 1), status(settings, "d", 1, "APPLIED", 1))
    send(settings, settings.status_topic, [("b", None), ("c", b"no status")])
    send_status(settings, status(settings, "d", 1, "APPLIED", 1, model_name="other"))
    found = statuses(settings, CODECS, settings.model_name)
    assert found["a"] == newest
    assert sorted(found) == ["a", "c"]


def test_a_listener_has_all_deployments_when_it_is_started_and_hands_on_what_comes(settings: Settings) -> None:
    sent = [deployment(settings, revision) for revision in (1, 4, 2)]
    send(settings, settings.control_topic, [("m", CODECS.encode_deployment(one)) for one in sent])
    send(settings, settings.control_topic, [("m", b"no deployment")])
    publish(settings, CODECS, replace(sent[0], model_name="other"))
    got: list[Deployment] = []

    async def listen() -> None:
        home = threading.get_ident()

        def take(one: Deployment) -> None:
            assert threading.get_ident() == home
            got.append(one)

        listener = ControlListener(settings, CODECS, take)
        await listener.start()
        assert got == sent  # also the old revision: the worker decides
        late = deployment(settings, 5)
        await asyncio.to_thread(publish, settings, CODECS, late)
        while late not in got:  # the test's own time limit is the end of it
            await asyncio.sleep(0.01)
        await listener.stop()

    asyncio.run(listen())
    assert "control" not in {thread.name for thread in threading.enumerate()}


def test_a_listener_without_a_broker_says_so_and_leaves_the_loop_free(settings: Settings) -> None:
    away = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})

    async def listen() -> int:
        listener = ControlListener(away, CODECS, lambda _: None)
        start, turns = asyncio.create_task(listener.start()), 0
        while not start.done():
            await asyncio.sleep(0.01)
            turns += 1
        with pytest.raises(BrokerUnavailable):
            start.result()
        await listener.stop()
        return turns

    assert asyncio.run(listen()) > 10


def test_a_listener_outlives_a_broker_that_goes_and_comes(
    broker: Broker, tmp_path: Path, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    if broker.kind != "java":
        pytest.skip("only a broker on Java can be stopped and started on its storage")
    caplog.set_level(logging.INFO)
    node = KraftBroker(tmp_path)
    got: list[int] = []

    async def listen(settings: Settings) -> None:
        listener = ControlListener(settings, CODECS, lambda one: got.append(one.revision))
        await listener.start()
        await asyncio.to_thread(node.stop)
        while "following it goes on" not in caplog.text:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(publish, settings, CODECS, deployment(settings, 2))
        while got != [1, 2]:
            await asyncio.sleep(0.05)
        await listener.stop()

    with node as bootstrap:
        settings = isolated(bootstrap, unique, "sqlite://")
        ensure_topics(settings)
        publish(settings, CODECS, deployment(settings, 1))
        asyncio.run(listen(settings))
    assert caplog.text.count("following it goes on") == 1


def test_operators_deploy_reload_and_roll_back(settings: Settings, registry: Registry, run: RunCommand) -> None:
    name = settings.model_name
    assert run("reload").stdout == f"{name} revision 1: @champion=100\n"  # the settings' own
    done = run("deploy", "1=90", "@champion=10", "--shadow", "2=50", "--split", "key", "--note", "try 2")
    assert done.stdout == f"{name} revision 2: 1=90 @champion=10, shadow 2=50, split by key\n"
    assert run("reload").stdout == f"{name} revision 3: 1=90 @champion=10, shadow 2=50, split by key\n"
    assert run("rollback").stdout == f"{name} revision 4: @champion=100\n"
    assert run("rollback").stdout == f"{name} revision 5: 1=90 @champion=10, shadow 2=50, split by key\n"
    assert run("rollback", "--to", "1").stdout == f"{name} revision 6: @champion=100\n"
    found = history(settings, CODECS, name)
    assert [one.note for one in found] == [
        "reload of revision 0", "try 2", "reload of revision 2", "rollback to revision 1", "rollback to revision 3",
        "rollback to revision 1",
    ]  # fmt: skip
    assert found[1].split is Split.KEY
    assert all("@" in one.issued_by and abs(time.time() - one.issued_at_us / 1e6) < 600 for one in found)


def test_what_cannot_be_deployed_is_not_published(settings: Settings, registry: Registry, run: RunCommand) -> None:
    assert isinstance(run("deploy", "1=90", "9=10").exception, ModelNotFound)
    assert isinstance(run("deploy", "1=0").exception, DeploymentRefused)
    assert isinstance(run("deploy", "1", "--shadow", "2=101").exception, DeploymentRefused)
    assert isinstance(run("rollback").exception, DeploymentRefused)
    nowhere = f"http://127.0.0.1:{free_port()}"
    refused = run("deploy", "1", "--registry", nowhere).exception
    assert isinstance(refused, RegistryUnavailable)
    assert "--no-check" in str(refused)
    assert history(settings, CODECS, settings.model_name) == []
    assert run("deploy", "1", "--registry", nowhere, "--no-check").exit_code == 0
    assert len(history(settings, CODECS, settings.model_name)) == 1


def test_of_two_deployments_at_one_revision_the_later_is_told(
    settings: Settings, run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*arguments: Any) -> None:
        publish(settings, CODECS, replace(arguments[2], issued_by="somebody else"))
        publish(*arguments)

    monkeypatch.setattr("stream_app.kafka.control.publish", overtaken)
    refused = run("deploy", "1", "--no-check").exception
    assert isinstance(refused, DeploymentRefused)
    assert "someone else" in str(refused)


def test_waiting_ends_well_when_all_workers_applied_it(settings: Settings, run: RunCommand) -> None:
    send_status(settings, status(settings, "dead", 0, "APPLIED", 0, at_us=time.time_ns() // 1000 - 600_000_000))
    with workers(settings, a=("APPLIED", ""), b=("APPLIED", "")):
        done = run("deploy", "1", "--no-check", "--wait")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1:] == ["applied by 2 workers"]


def test_waiting_ends_with_the_reason_of_who_refused(settings: Settings, run: RunCommand) -> None:
    with workers(settings, a=("APPLIED", ""), b=("REFUSED", "version 1 has\nthe wrong shape")):
        done = run("deploy", "1", "--no-check", "--wait")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == ["b refused it: version 1 has the wrong shape"]


def test_waiting_ends_with_who_is_missing(settings: Settings, run: RunCommand) -> None:
    send_status(settings, status(settings, "a", 1, "APPLIED", 1), status(settings, "b", 0, "APPLIED", 0))
    done = run("deploy", "1", "--no-check", "--wait", "--timeout", "2")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == ["b has not answered within 2 s"]


def test_waiting_without_workers_says_so(settings: Settings, run: RunCommand) -> None:
    done = run("deploy", "1", "--no-check", "--wait")
    assert done.exit_code == 1
    assert "No worker gives a sign of life" in done.stderr
    assert len(history(settings, CODECS, settings.model_name)) == 1


def test_status_shows_every_worker_and_whether_they_agree(settings: Settings, run: RunCommand) -> None:
    publish(settings, CODECS, deployment(settings, 3))
    send_status(
        settings,
        status(settings, "a-host-with-a-long-name.example.org-4711", 3, "APPLIED", 3),
        status(settings, "b", 3, "REFUSED", 2, reason="no such version"),
        status(settings, "c", 1, "APPLIED", 1, at_us=time.time_ns() // 1000 - 3_600_000_000),
    )
    done = run("status")
    assert done.exit_code == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "@champion is 1=100" in done.stdout
    assert "b: no such version" in done.stdout
    assert done.stdout.splitlines()[-1] == "The 2 workers do not agree: they run revisions 2, 3; revision 3 is newest."

    send_status(settings, status(settings, "b", 3, "APPLIED", 3))
    done = run("status", "--json")
    assert done.exit_code == 0
    shown = json.loads(done.stdout)
    assert (shown["agree"], shown["newest_revision"]) == (True, 3)
    assert {one["worker"][0]: one["gone"] for one in shown["workers"]} == {"a": False, "b": False, "c": True}
    assert shown["workers"][0]["versions"][0]["digest"] == "ab" * 32


def test_compare_joins_both_topics(settings: Settings, run: RunCommand, tmp_path: Path) -> None:
    live = [replace(FIX, capture_id=str(number), latitude=47.0, longitude=9.0) for number in range(20)]
    shadow = [replace(fix, latitude=47.001, model_version="9", semi_major_m=24.0) for fix in live[:10]]
    for topic, fixes in ((settings.positions_topic, live), (settings.shadow_topic, shadow)):
        send(settings, topic, [("k", CODECS.encode_fix(fix)) for fix in fixes])
    truth = tmp_path / "truth.jsonl"
    place = {"emitter": "e", "latitude": 47.0009, "longitude": 9.0}
    truth.write_text("".join(json.dumps({"capture_id": str(number)} | place) + "\n" for number in range(20)))
    command = ("compare", "--from-start", "--seconds", "2")

    def compared() -> Any:
        found = json.loads(run(*command, "--json", "--truth", str(truth)).stdout)
        return found if (found["live_fixes"], found["shadow_fixes"]) == (20, 10) else None

    found = eventually(compared, what="figures of all fixes")
    (figures,) = found["shadow"]
    assert (figures["version"], figures["pairs"], figures["nearer_share"]) == ("9", 10, 1.0)
    assert figures["semi_major_ratio_median"] == 2.0
    assert figures["distance_median_m"] == pytest.approx(111.2, abs=0.1)
    assert figures["live_error_median_m"] == pytest.approx(9 * figures["error_median_m"], rel=1e-3)
    known = "nearer to the truth in 100.0% of 10 pairs"
    eventually(lambda: known in run(*command, "--at", "47.0009,9.0").stdout, what="the same in words")
