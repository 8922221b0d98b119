"""A real Kafka with TLS, SCRAM, client certificates and ACLs; the rights are those of docs/security.md, to the letter.

The broker is the module's own, so the topics keep their plain names.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import onnx
import psutil
import pytest
import typer
from click.testing import Result
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AclOperation, ResourceType
from pydantic import SecretStr
from typer.testing import CliRunner

from stream_app.cli.main import app
from stream_app.errors import AuthenticationFailed, BrokerUnavailable, FixStreamError, NotAuthorized, SettingsError
from stream_app.kafka.connection import connection
from stream_app.kafka.control import history
from stream_app.kafka.rights import worker_rights
from stream_app.kafka.topics import check_broker, ensure_topics
from stream_app.kafka.transactions import Transactions
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.settings import SECRETS, Settings
from tests.support import brokers
from tests.support.certificates import Authority
from tests.support.secured import Acl, SecuredBroker
from tests.support.servers import MlflowServer
from tests.support.worker import TopicReader, WorkerProcess, environment_of, eventually, send_all

pytestmark = [pytest.mark.kafka, pytest.mark.mlflow]
CODECS = Codecs()
GUIDE = brokers.ROOT / "docs" / "security.md"
MARKER = {name: f"s3cret-{name.replace('_', '-')}-0f8a2c" for name in (*SECRETS, "cache_url", "registry_uri")}
PASSWORDS = {user: f"{user}-password" for user in ("worker", "almost", "nobody", "operator", "receivers", "consumer")}
PASSWORDS["marked"] = MARKER["kafka_password"]


def guide_acls(user: str) -> list[Acl]:
    """What the guide's commands give to User:``user``."""
    parser = argparse.ArgumentParser()
    for option in ("--allow-principal", "--resource-pattern-type"):
        parser.add_argument(option)
    for option in ("--operation", "--topic", "--group", "--transactional-id"):
        parser.add_argument(option, action="append", default=[])
    found = []
    for line in GUIDE.read_text().splitlines():
        if not line.startswith(f"acl --allow-principal User:{user} "):
            continue
        options = parser.parse_args(line.split()[1:])
        resources = [(ResourceType.TOPIC, name) for name in options.topic]
        resources += [(ResourceType.GROUP, name) for name in options.group]
        resources += [(ResourceType.TRANSACTIONAL_ID, name) for name in options.transactional_id]
        prefixed = options.resource_pattern_type == "prefixed"
        found += [
            Acl(AclOperation[operation.upper()], kind, name, prefixed)
            for kind, name in resources
            for operation in options.operation
        ]
    assert found, f"the guide has no ACLs for {user}"
    return found


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    if brokers.choose() != "java":
        pytest.skip("only a broker on Java is given TLS, users and ACLs")
    node = SecuredBroker(tmp_path_factory.mktemp("secured"), PASSWORDS)
    with node:
        ensure_topics(Settings(bootstrap_servers=node.plain, partitions=1))
        for user in ("worker", "operator", "receivers", "consumer"):
            node.grant(f"User:{user}", guide_acls(user))
        for principal in ("User:almost", "User:marked", "User:CN=worker"):
            node.grant(principal, guide_acls("worker"))
        yield node


@dataclass(frozen=True)
class Doors:
    """Settings of everyone who comes to the broker."""

    broker: SecuredBroker
    common: dict[str, Any]

    def plain(self, **more: Any) -> Settings:
        """The test's own door."""
        return Settings(**(self.common | {"bootstrap_servers": self.broker.plain} | more))

    def sasl(self, user: str, **more: Any) -> Settings:
        values = {
            "bootstrap_servers": self.broker.sasl,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_username": user,
            "kafka_password": PASSWORDS[user],
            "kafka_ca_file": self.broker.authority.ca_file,
        }
        return Settings(**(self.common | values | more))

    def mtls(self, name: str, **more: Any) -> Settings:
        certificate, key = self.broker.authority.issue(name, "of the key")
        values = {
            "bootstrap_servers": self.broker.mtls,
            "kafka_security_protocol": "SSL",
            "kafka_ca_file": self.broker.authority.ca_file,
            "kafka_cert_file": certificate,
            "kafka_key_file": key,
            "kafka_key_password": "of the key",
        }
        return Settings(**(self.common | values | more))


@pytest.fixture(scope="module")
def model(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(build_tdoa(network), str(path))
    return path


@pytest.fixture(scope="module")
def doors(
    secured: SecuredBroker, model: Path, mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> Doors:
    cache = tmp_path_factory.mktemp("cache")
    Registry(mlflow_server.uri, cache).register("secured", model, "champion")
    common = {
        "model_name": "secured",
        "registry_uri": mlflow_server.uri,
        "model_cache_dir": str(cache),
        "session_timeout_ms": 6000,
        "max_poll_interval_ms": 10_000,
        "status_every_s": 0.5,
    }
    return Doors(secured, common)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    with ExitStack() as stack:

        def begin(settings: Settings, **more: Any) -> WorkerProcess:
            worker = WorkerProcess(settings, tmp_path, **more)
            stack.callback(worker.kill)
            return worker

        yield begin


def answered(doors: Doors, network: Network, worker: WorkerProcess, seed: int) -> None:
    """Returns when the worker has answered three new captures."""
    captures = [capture for capture, _ in Simulator(network, seed=seed).captures(3)]
    wanted = {capture.capture_id for capture in captures}
    before = worker.metric("fixstream_captures_total")
    send_all(doors.plain(), [(key_of(each), CODECS.encode_capture(each)) for each in captures])
    reader = TopicReader(doors.broker.plain, "positions")
    try:
        eventually(lambda: wanted <= {CODECS.decode_fix(m.value()).capture_id for m in reader.read()}, what="the fixes")
    finally:
        reader.close()
    eventually(lambda: worker.metric("fixstream_captures_total") >= before + 3, what="this worker's part")


def run_worker(settings: Settings) -> tuple[int, str]:
    """Exit code and output of a worker that is not to come up."""
    done = subprocess.run(
        [sys.executable, "-m", "stream_app.cli.main", "worker"],
        env=os.environ | environment_of(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def run(settings: Settings, *arguments: str) -> Result:
    """A command with these settings as its environment."""
    return CliRunner(env=environment_of(settings)).invoke(app, arguments)


def test_a_worker_answers_over_tls_with_scram_and_goes_on_when_a_right_comes_back(
    doors: Doors, network: Network, start: Callable[..., WorkerProcess]
) -> None:
    worker = start(doors.sasl("worker"))
    worker.wait_ready()
    answered(doors, network, worker, seed=1)
    right = [Acl(AclOperation.READ, ResourceType.TOPIC, "iq.captures")]
    doors.broker.revoke("User:worker", right)
    eventually(lambda: worker.get("/health/ready")[0] == 503, what="the refusal")
    assert "User:worker" in worker.get("/health/ready")[1]
    assert "READ on topic iq.captures:" in worker.get("/health/ready")[1]
    doors.broker.grant("User:worker", right)
    worker.wait_ready()
    answered(doors, network, worker, seed=2)
    assert worker.stop() == 0
    assert "Traceback" not in worker.log()
    assert worker.log().count("READ on topic iq.captures") == 1, worker.log()


def test_a_worker_answers_over_mutual_tls(doors: Doors, network: Network, start: Callable[..., WorkerProcess]) -> None:
    worker = start(doors.mtls("worker", group_id="fixstream-mtls"))
    worker.wait_ready()
    answered(doors, network, worker, seed=3)
    assert worker.stop() == 0


def test_who_may_not_write_the_control_topic_changes_no_deployment(doors: Doors) -> None:
    name = "controlled"
    first = run(doors.sasl("operator", model_name=name), "deploy", "1", "--no-check")
    assert first.exit_code == 0, first
    before = history(doors.plain(), CODECS, name)
    assert [found.revision for found in before] == [1]

    # One who may look at deployments, and one who may do nothing.
    doors.broker.grant("User:consumer", [Acl(AclOperation.READ, ResourceType.TOPIC, "model.control")])
    for user, missing in (("consumer", "WRITE on topic model.control:"), ("nobody", "READ on topic model.control, ")):
        for command in (("deploy", "2", "--no-check"), ("rollback",), ("reload", "--no-check")):
            refused = run(doors.sasl(user, model_name=name), *command).exception
            assert isinstance(refused, NotAuthorized)
            assert f"User:{user}" in str(refused)
            assert missing in str(refused)

    # It is the broker that refuses, not only the command.
    said: list[KafkaError] = []
    producer = Producer({**connection(doors.sasl("consumer")), "log_level": 0})
    deployment = CODECS.encode_deployment(before[0])
    producer.produce("model.control", deployment, name.encode(), on_delivery=lambda error, _: said.append(error))
    assert producer.flush(30) == 0
    assert said[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert history(doors.plain(), CODECS, name) == before


def test_the_rights_of_the_guide_are_enough_to_send_to_watch_and_to_look(doors: Doors) -> None:
    demo = str(brokers.ROOT / "examples" / "demo.yaml")
    sent = run(doors.sasl("receivers"), "simulate", "--network", demo, "--count", "2")
    assert sent.exit_code == 0, sent
    looked = run(doors.sasl("operator", model_name="of-nobody"), "status", "--json")
    assert looked.exit_code == 1, looked  # no worker runs it
    assert '"workers": []' in looked.stdout
    refused = run(doors.sasl("receivers"), "watch", "--json").exception
    assert isinstance(refused, NotAuthorized)
    assert "READ on topic positions" in str(refused)


def test_a_worker_that_may_do_nothing_says_so_in_one_line(doors: Doors) -> None:
    code, said = run_worker(doors.sasl("nobody"))
    assert code == 2, said
    assert said.count("\n") == 1, said
    assert said.startswith("fixstream: Kafka at ")
    assert "User:nobody" in said
    for right in guide_acls("worker"):
        if right.kind is ResourceType.TOPIC:
            assert f"{right.operation.name} on topic {right.name}" in said
    assert "READ on group fixstream, READ on group fixstream-worker" in said


def test_each_right_that_is_missing_is_named_alone(doors: Doors) -> None:
    settings = doors.sasl("almost")
    ensure_topics(settings, worker_rights(settings))
    for right in guide_acls("worker"):
        doors.broker.revoke("User:almost", [right])
        refused = eventually(lambda: refusal(settings), what=f"a refusal without {right}")
        wanted = {
            ResourceType.TOPIC: f"{right.operation.name} on topic {right.name}",
            ResourceType.GROUP: "READ on group fixstream, READ on group fixstream-worker",
            ResourceType.TRANSACTIONAL_ID: "WRITE on transactional ids that begin with fixstream",
        }[right.kind]
        assert f"missing are the ACLs {wanted}:" in str(refused)
        doors.broker.grant("User:almost", [right])
        eventually(lambda: refusal(settings) is None, what=f"work with {right} again")


def test_a_topic_that_is_missing_and_may_not_be_made_is_named(doors: Doors) -> None:
    doors.broker.grant("User:almost", [Acl(AclOperation.READ, ResourceType.TOPIC, "not.there")])
    settings = doors.sasl("almost", captures_topic="not.there")
    refused = eventually(lambda: refusal(settings), what="a refusal")
    assert "CREATE on topic not.there, which is not there:" in str(refused)
    doors.broker.grant("User:almost", [Acl(AclOperation.CREATE, ResourceType.TOPIC, "not.there")])
    eventually(lambda: refusal(settings) is None, what="the topic")


def refusal(settings: Settings) -> NotAuthorized | None:
    try:
        ensure_topics(settings, worker_rights(settings))
        Transactions(settings, "tested").open()
    except NotAuthorized as error:
        return error
    return None


def test_a_wrong_password_is_one_line(doors: Doors) -> None:
    code, said = run_worker(doors.sasl("worker", kafka_password="not-this-one"))
    assert code == 2, said
    assert said.count("\n") == 1, said
    assert "user worker" in said
    assert "invalid credentials" in said
    assert "not-this-one" not in said


def test_a_connection_that_cannot_be_says_what_does_not_fit(doors: Doors, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    foreign = dict(zip(("kafka_cert_file", "kafka_key_file"), other.issue("worker"), strict=True))
    cases: list[tuple[Settings, type[FixStreamError], str]] = [
        (doors.sasl("worker", kafka_ca_file=other.ca_file), AuthenticationFailed, "FIXSTREAM_KAFKA_CA_FILE"),
        (doors.sasl("worker", bootstrap_servers=doors.broker.plain), AuthenticationFailed, "PLAINTEXT broker listener"),
        (doors.plain(bootstrap_servers=doors.broker.sasl), BrokerUnavailable, "(PLAINTEXT)"),
        (doors.mtls("worker", kafka_cert_file=None, kafka_key_file=None), AuthenticationFailed, "certificate"),
        (doors.mtls("worker", **foreign, kafka_key_password=None), AuthenticationFailed, "certificate"),
        (doors.mtls("worker", kafka_key_password="not-this-one"), SettingsError, "ssl.key.location"),
    ]

    def error_of(settings: Settings) -> FixStreamError | None:
        try:
            check_broker(connection(settings), 3.0)
        except FixStreamError as error:
            return error
        return None

    with ThreadPoolExecutor(len(cases)) as threads:
        found = list(threads.map(error_of, [settings for settings, _, _ in cases]))
    for error, (_, kind, words) in zip(found, cases, strict=True):
        assert type(error) is kind, error
        assert words in str(error)
        assert "not-this-one" not in str(error)


def traces(secret: str) -> list[str]:
    """The secret, and what is left of it inside base64, wherever it begins."""
    found = [secret]
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret.encode()).decode()
        found.append(encoded[4 if before else 0 : -4])
    return found


def commands(group: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
    """The names of all commands below."""
    yield names
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *names, name)


def test_no_secret_shows_anywhere(
    doors: Doors,
    network: Network,
    mlflow_server: MlflowServer,
    start: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    certificate, key = doors.broker.authority.issue("marked", MARKER["kafka_key_password"])
    settings = doors.sasl(
        "marked",
        **{name: MARKER[name] for name in SECRETS},
        kafka_sasl_mechanism="PLAIN",  # the one that sends the password itself
        kafka_cert_file=certificate,
        kafka_key_file=key,
        group_id="fixstream-marked",
        registry_uri=mlflow_server.uri.replace("://", f"://someone:{MARKER['registry_uri']}@"),
        cache_url=f"redis://someone:{MARKER['cache_url']}@127.0.0.1:1/0",  # nobody is there
        log_level="DEBUG",
    )
    shown: dict[str, str] = {}
    secrets_dir = tmp_path / "secrets"
    secrets_dir.mkdir()
    worker = start(settings, secrets_dir=secrets_dir)
    shown["command line"] = " ".join(psutil.Process(worker.process.pid).cmdline())
    worker.wait_ready()
    answered(doors, network, worker, seed=4)

    for name, user in (("deploy", "operator"), ("status", "operator"), ("watch", "nobody")):
        operator = settings.model_copy(update={"kafka_username": user, "kafka_password": SecretStr(PASSWORDS[user])})
        more = {"deploy": ["99"], "status": [], "watch": ["--json"]}[name]
        result = run(operator, name, *more)
        shown[name] = f"{result.output}{result.exception}"
    assert "registry http://***@127.0.0.1" in shown["deploy"]
    assert run(doors.sasl("operator"), "deploy", "99", "--no-check").exit_code == 0
    statuses = TopicReader(doors.broker.plain, "model.status")
    eventually(lambda: any(b"registry http://***@" in (m.value() or b"") for m in statuses.read()), what="the reason")
    shown["model.status"] = repr([message.value() for message in statuses.read_out()])
    statuses.close()

    for page in ("/metrics", "/health/ready", "/health/live", "/openapi.json", "/docs", "/model/info"):
        shown[page] = worker.get(page)[1]
        assert shown[page]
    for names in commands(typer.main.get_command(app)):
        shown[f"{' '.join(names)} --help"] = run(settings, *names, "--help").output
    assert "Usage" in shown["control follow --help"]
    assert worker.stop() == 0
    shown["log"] = worker.log()
    assert "[DEBUG]" in shown["log"]

    for where, text in shown.items():
        for option, secret in MARKER.items():
            for trace in traces(secret):
                assert trace not in text, f"{option} shows in {where}"
