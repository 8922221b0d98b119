"""Real workers, as processes of their own, and the topics they are given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from pydantic import SecretStr

from stream_app.kafka.embedded import free_port
from stream_app.kafka.topics import ensure_topics
from stream_app.resources import example_network
from stream_app.settings import SECRETS, Settings
from tests.support.process import Ailing


def eventually(check: Callable[[], Any], timeout_s: float = 60.0, what: str = "it") -> Any:
    """The first true value of ``check``; AssertionError where none comes in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {timeout_s:.0f} s")


def settings_for(bootstrap: str, name: str, **more: Any) -> Settings:
    """Settings whose topics and group carry ``name``, so that tests do not meet."""
    return Settings(
        bootstrap_servers=bootstrap,
        group_id=f"{name}-group",
        receptions_topic=f"{name}.receptions",
        captures_topic=f"{name}.captures",
        positions_topic=f"{name}.positions",
        tracks_topic=f"{name}.tracks",
        dead_letter_topic=f"{name}.dlq",
        worker_topic=f"{name}.worker",
        control_topic=f"{name}.control",
        status_topic=f"{name}.status",
        shadow_topic=f"{name}.shadow",
        session_timeout_ms=6000,
        max_poll_interval_ms=10_000,
        **{"partitions": 4, **more},
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as variables, secrets and all."""
    return {
        f"FIXSTREAM_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings.model_dump(exclude_none=True).items()
    }


class WorkerProcess(Ailing):
    """``fixstream worker`` with its log in a file."""

    process: subprocess.Popen[bytes]
    command: Sequence[str] = ("worker",)

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        name: str = "worker",
        inside: Sequence[str] = (),
        host: str = "127.0.0.1",
        secrets_dir: Path | None = None,
    ) -> None:
        """``inside``: the beginning of the command, such as ``ip netns exec NAME``; ``host``: where its pages are.

        Secrets go by the environment, or by files in ``secrets_dir``.
        """
        self.port, self._host = free_port(), host
        self._log = folder / f"{name}.log"
        environment = environment_of(settings.model_copy(update={"web_port": self.port, "web_host": host}))
        if secrets_dir is not None:
            for variable in {f"FIXSTREAM_{name.upper()}" for name in SECRETS} & environment.keys():
                (secrets_dir / variable).write_text(environment.pop(variable) + "\n")
            environment["FIXSTREAM_SECRETS_DIR"] = str(secrets_dir)
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [*inside, sys.executable, "-m", "stream_app.cli.main", *self.command],
                env=os.environ | environment,
                stdout=out,
                stderr=out,
            )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one of its pages; (0, "") where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{self._host}:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, timeout_s: float = 90.0) -> None:
        """Returns when /health/ready says so."""

        def ready() -> bool:
            assert self.process.poll() is None, f"the worker ended: {self.log()[-3000:]}"
            return self.get("/health/ready")[0] == 200

        try:
            eventually(ready, timeout_s, "readiness")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.get('/health/ready')}; {self.log()[-3000:]}") from None

    def partitions(self) -> set[int]:
        """The partitions whose lag it reports."""
        status, body = self.get("/health/ready")
        return {int(p) for p in json.loads(body)["lag"]} if status else set()

    def metric(self, name: str) -> float:
        """The sum of a metric's samples; ``name`` may carry labels."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def stop(self, timeout_s: float = 40.0) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the worker did not stop within {timeout_s:.0f} s: {self.log()[-3000:]}") from None


class TrackerProcess(WorkerProcess):
    """``fixstream track``."""

    command = ("track",)


class AssemblerProcess(WorkerProcess):
    """``fixstream assemble`` of the demo network."""

    command = ("assemble", "--network", str(example_network("demo")))

    def partitions(self) -> set[int]:
        """The partitions that it says it has."""
        status, body = self.get("/health/ready")
        return set(json.loads(body)["partitions"]) if status else set()


def send_all(settings: Settings, records: Iterable[tuple[bytes | None, bytes | None]], **more: Any) -> None:
    """Sends (key, value) records to the captures topic, all acknowledged; creates the topics."""
    ensure_topics(settings)
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "enable.idempotence": True, **more})
    failed: list[str] = []

    def delivered(error: Any, _: Message) -> None:
        if error is not None:
            failed.append(str(error))

    for key, value in records:
        while True:
            try:
                producer.produce(settings.captures_topic, value, key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not failed, failed[0]


class TopicReader:
    """Reads all partitions of a topic from the beginning, without a group."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "log_level": 0}
        )
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        self.messages: list[Message] = []

    def read(self) -> list[Message]:
        """All messages so far; while more come, a part of them."""
        self._gulp()
        return self.messages

    def read_out(self) -> list[Message]:
        """All messages, when nobody sends any more."""
        while self._gulp():
            pass
        return self.messages

    def _gulp(self) -> int:
        found = self._consumer.consume(1000, 0.2)
        for message in found:
            assert message.error() is None, message.error()
        self.messages += found
        return len(found)

    def close(self) -> None:
        """Leaves the broker."""
        self._consumer.close()
