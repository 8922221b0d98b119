"""Three ways to a Kafka broker, best first: testcontainers, a local KRaft broker on Java 17, the embedded one.

FIXSTREAM_TEST_BROKER = docker | java | embedded takes one of them; without it the first that this machine can.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient

from stream_app.errors import BrokerUnavailable
from stream_app.kafka.embedded import EmbeddedBroker, free_port
from stream_app.kafka.topics import check_broker
from tests.support.process import Ailing

ROOT = Path(__file__).parents[2]
LIBS = ROOT / "infra" / "kafka" / "libs"
_IMAGE = "apache/kafka:4.1.0"
_CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=16777216
"""


@dataclass(frozen=True)
class Broker:
    """A running broker: where it is, and what it is."""

    bootstrap: str
    kind: str  # docker, java or embedded
    name: str  # for the summary


def choose() -> str:
    """Which kind of broker this run uses."""
    wanted = os.environ.get("FIXSTREAM_TEST_BROKER", "")
    if wanted:
        if wanted not in ("docker", "java", "embedded"):
            raise ValueError(f"FIXSTREAM_TEST_BROKER={wanted}: give docker, java or embedded")
        return wanted
    if _docker_runs():
        return "docker"
    return "java" if java_runs() else "embedded"


@contextmanager
def broker(kind: str, folder: Path) -> Iterator[Broker]:
    """A broker of that kind; ``folder`` is for its files."""
    if kind == "docker":
        with _docker() as bootstrap:
            yield Broker(bootstrap, kind, f"Apache Kafka in Docker ({_IMAGE})")
    elif kind == "java":
        with KraftBroker(folder) as bootstrap:
            yield Broker(bootstrap, kind, f"Apache Kafka {version()} on Java (KRaft)")
    else:
        with EmbeddedBroker() as bootstrap:
            yield Broker(bootstrap, kind, "the embedded broker (Tansu, memory only): not Apache Kafka")


class KraftBroker(Ailing):
    """One Apache Kafka node, broker and controller, on Java. Its jars are fetched once by Maven."""

    def __init__(
        self, folder: Path, host: str = "127.0.0.1", more: Mapping[str, str] | None = None, heap: str = "1g"
    ) -> None:
        """``more`` adds to the node's properties, or replaces some."""
        self._folder, self._host, self._heap = folder, host, heap
        self.more = dict(more or {})
        self.port, self.controller = free_port(), free_port()

    @property
    def bootstrap(self) -> str:
        """Where clients find it."""
        return f"{self._host}:{self.port}"

    def __enter__(self) -> str:
        """Formats the storage and starts the broker."""
        self.format("--standalone")
        self.start()
        return self.bootstrap

    def format(self, *options: str) -> None:
        """Writes the properties and an empty storage."""
        config = self._folder / "server.properties"
        text = _CONFIG.format(
            host=self._host, port=self.port, controller=self.controller, logs=self._folder / "kafka-logs"
        )
        text += "".join(f"{name}={value}\n" for name, value in self.more.items())  # the last of two counts
        config.write_text(text, encoding="utf-8")
        formatted = self._java(
            "kafka.tools.StorageTool", "format", *options, "-t", "Rml4U3RyZWFtVGVzdDEyMw", "-c", str(config)
        )
        if formatted.returncode:
            raise BrokerUnavailable(f"formatting Kafka's storage failed: {formatted.stdout}{formatted.stderr}")

    def start(self) -> None:
        """Starts the node on the storage it has, and waits until it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Starts the node; one of several answers only when most of them run."""
        with (self._folder / "kafka.out").open("ab") as out:
            self.process = subprocess.Popen(
                ["java", *_OPTIONS, f"-Xmx{self._heap}", "kafka.Kafka", str(self._folder / "server.properties")],
                stdout=out,
                stderr=out,
            )

    def wait(self) -> None:
        """Returns when it answers."""
        for _ in range(60):
            try:
                check_broker({"bootstrap.servers": self.bootstrap}, 1.0)
                return
            except BrokerUnavailable:
                if self.process is None or self.process.poll() is not None:
                    break
        raise BrokerUnavailable(f"Kafka did not start: {(self._folder / 'kafka.out').read_text()[-2000:]}")

    def stop(self) -> None:
        """Stops the node, as a power cut would not: it closes its logs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def __exit__(self, *_: object) -> None:
        """Stops the node."""
        self.stop()

    @staticmethod
    def _java(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["java", *_OPTIONS, *arguments], capture_output=True, text=True, check=False)


_OPTIONS = ["-Xms256m", "-XX:+UseG1GC", "-cp", str(LIBS / "*")]


def fetch_jars() -> None:
    """Brings Kafka's jars to infra/kafka/libs/, once. Raises BrokerUnavailable with Maven's own words."""
    jars, pom = LIBS, ROOT / "infra" / "kafka" / "pom.xml"
    stamp = jars / ".stamp"
    if stamp.exists() and stamp.read_text() == pom.read_text():
        return
    shutil.rmtree(jars, ignore_errors=True)
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BrokerUnavailable(f"Maven did not bring Kafka's jars: {done.stdout[-1500:]}{done.stderr[-500:]}")
    stamp.write_text(pom.read_text())


def _docker_runs() -> bool:
    if shutil.which("docker") is None:
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def java_runs() -> bool:
    """Whether this machine has what KraftBroker needs."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        return False
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < 17:
        return False
    try:
        fetch_jars()
    except BrokerUnavailable as error:
        print(f"Apache Kafka on Java is not to be had: {error}")
        return False
    return True


def version() -> str:
    """Of the Apache Kafka that KraftBroker runs."""
    jar = next(LIBS.glob("kafka_2.13-*.jar"))
    return jar.stem.removeprefix("kafka_2.13-")


@contextmanager
def _docker() -> Iterator[str]:
    from testcontainers.kafka import KafkaContainer

    with KafkaContainer(_IMAGE).with_kraft() as container:
        yield container.get_bootstrap_server()


def delete_topics(bootstrap: str, topics: list[str]) -> None:
    """Deletes topics, so that a long run does not fill the disk."""
    for future in AdminClient({"bootstrap.servers": bootstrap}).delete_topics(topics).values():
        with suppress(TimeoutError):
            future.exception(10)
