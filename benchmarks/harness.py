"""Runs one contender on one backlog, and measures what comes out and what it costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import uuid4

import numpy as np
import onnx
import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.workloads import Workload
from stream_app.kafka.control import publish
from stream_app.kafka.topics import ensure_topics
from stream_app.models.registry import Registry
from stream_app.records.codec import Codecs
from stream_app.records.deployment import Deployment
from stream_app.settings import Settings
from tests.support import brokers
from tests.support.process import Ailing
from tests.support.worker import TopicReader, WorkerProcess, eventually, send_all, settings_for

PARTITIONS = 4
_WARM_S = 2.0  # of a run, after its first answer: not counted
_START_S = 60.0
_STEP_S = 0.02
_NEARLY = 0.95  # of a backlog: what it does at its end is not counted


class Running(Protocol):
    """A contender at work."""

    @property
    def process(self) -> subprocess.Popen[bytes]: ...
    def wait_ready(self) -> object: ...
    def stop(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to."""

    rate: float  # answers a second
    cpu_us: float  # CPU of all its processes, microseconds an answer
    rss_mb: float
    answers: int  # that were counted


@dataclass(frozen=True, slots=True)
class Backlog:
    """Records that wait in a topic, and the model for them as a file."""

    workload: Workload
    topic: str
    count: int
    model: Path


class Bench:
    """A real broker, a registry with the workloads' models, and their backlogs; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="fixstream-bench-"))
        self._backlogs: dict[tuple[str, int], Backlog] = {}
        self.registry_uri = f"sqlite:///{self.folder / 'registry.db'}"
        self._registry = Registry(self.registry_uri, self.folder / "models")

    def __enter__(self) -> Self:
        self.broker = self._stack.enter_context(brokers.broker(brokers.choose(), self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def backlog(self, workload: Workload, count: int) -> Backlog:
        """The workload's first ``count`` records in a topic of their own, made once."""
        known = self._backlogs.get((workload.name, count))
        if known is not None:
            return known
        path = self.folder / f"{workload.name}.onnx"
        if not path.exists():
            onnx.save(workload.model(), str(path))
            for _ in workload.routes:
                self._registry.register(workload.name, path)
        settings = settings_for(self.broker.bootstrap, f"{workload.name}-{count}", partitions=PARTITIONS)
        send_all(settings, workload.records(count), **{"linger.ms": 20, "queue.buffering.max.kbytes": 262_144})
        found = Backlog(workload, settings.captures_topic, count, path)
        self._backlogs[workload.name, count] = found
        return found

    def settings(self, backlog: Backlog, **more: Any) -> Settings:
        """A worker's settings for a run of its own: new group, new output topics."""
        name = f"b{uuid4().hex[:8]}"
        values = {
            "registry_uri": self.registry_uri,
            "model_name": backlog.workload.name,
            "model_ref": "1",
            "model_cache_dir": str(self.folder / "models"),
            "partitions": PARTITIONS,
            **backlog.workload.settings,
            **more,
        }
        return settings_for(self.broker.bootstrap, name, **values).model_copy(update={"captures_topic": backlog.topic})

    def worker(self, settings: Settings, cores: str = "") -> WorkerProcess:
        """A worker, held to ``cores`` (as taskset has them) if any."""
        return WorkerProcess(settings, self.folder, uuid4().hex[:8], pinned(cores))

    def module(
        self, name: str, arguments: Sequence[str], backlog: Backlog, settings: Settings, python: str = sys.executable
    ) -> ModuleProcess:
        """A peer, or the floor that reads from Kafka: a module of ``benchmarks``."""
        more = [*arguments, "--output", settings.positions_topic, "--group", settings.group_id]
        return ModuleProcess(python, name, self.broker.bootstrap, backlog.topic, backlog.model, more, self.folder)

    def run(
        self,
        backlog: Backlog,
        seconds: float,
        start: Callable[[Settings], Sequence[Running]],
        warm_s: float = _WARM_S,
        **more: Any,
    ) -> Run:
        """Lets contenders work off a backlog together, for some seconds after they are warm; ``more`` are settings.

        Raises AssertionError where no answer comes.
        """
        settings = self.settings(backlog, **more)
        self._make_output(settings.positions_topic)
        ensure_topics(settings)
        if len(backlog.workload.routes) > 1:
            publish(settings, Codecs(), Deployment(settings.model_name, 1, backlog.workload.routes))
        contenders = start(settings)
        try:
            return self._measure(settings, contenders, warm_s, seconds, backlog.count)
        finally:
            for contender in contenders:
                contender.stop()

    def _make_output(self, topic: str) -> None:
        """With the broker's own time stamps: some clients give their answers those of the captures."""
        config = {"message.timestamp.type": "LogAppendTime"}
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1, config=config)])[
            topic
        ].result(30)

    def _measure(
        self, settings: Settings, contenders: Sequence[Running], warm_s: float, seconds: float, count: int
    ) -> Run:
        topic = settings.positions_topic
        with _Ends(self.broker.bootstrap, topic) as ends:
            eventually(lambda: ends.total() > 0 or _ended(contenders), _START_S, "the first answer")
            assert not _ended(contenders), "a contender ended before it answered"
            for contender in contenders[1:]:
                contender.wait_ready()
            time.sleep(warm_s * len(contenders))
            begin_ms, used = time.time() * 1e3, _cpu_s(contenders)
            until = time.monotonic() + seconds
            while time.monotonic() < until and ends.total() < _NEARLY * count:
                time.sleep(_STEP_S)
            end_ms, used = time.time() * 1e3, _cpu_s(contenders) - used
            rss = sum(p.memory_info().rss for p in processes(contenders)) / len(contenders) / 1e6
        for contender in contenders:
            contender.stop()
        stamps = np.array(self._stamps(topic))
        answers = int(((stamps >= begin_ms) & (stamps < end_ms)).sum())
        assert answers, f"no answers in {end_ms - begin_ms:.0f} ms: the backlog of {count} is too small"
        return Run(answers / (end_ms - begin_ms) * 1e3, used / answers * 1e6, rss, answers)

    def _stamps(self, topic: str) -> list[int]:
        reader = TopicReader(self.broker.bootstrap, topic)
        try:
            return [message.timestamp()[1] for message in reader.read_out()]
        finally:
            reader.close()


class ModuleProcess(Ailing):
    """A module of ``benchmarks`` that consumes and produces until SIGTERM, with what it prints in a file."""

    process: subprocess.Popen[bytes]

    def __init__(
        self, python: str, name: str, bootstrap: str, topic: str, model: Path, more: Sequence[str], folder: Path
    ) -> None:
        """``more``: its other arguments, --output and --group among them."""
        command = [python, "-m", f"benchmarks.{name}", "--bootstrap", bootstrap, "--input", topic]
        self._log = folder / f"{name}-{uuid4().hex[:6]}.log"
        environment = os.environ | {"TMPDIR": str(folder)}  # where some keep their state
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--model", str(model), *more], stdout=out, stderr=out, cwd=brokers.ROOT, env=environment
            )

    def said(self) -> str:
        """The end of what it has printed."""
        return self._log.read_text(errors="replace")[-3000:]

    def wait_ready(self) -> None:
        """Nothing tells; it is alone, and its first answer is waited for."""

    def stop(self) -> int:
        """SIGTERM, and SIGKILL for it and its children where that does not help; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()


class _Ends:
    """How many records a topic has, transaction markers included; asking costs next to nothing."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "log_level": 0})
        self._places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def total(self) -> int:
        try:
            return sum(self._consumer.get_watermark_offsets(place, timeout=10)[1] for place in self._places)
        except KafkaException:  # a topic that was just made may not have its leader yet
            return 0


def pinned(cores: str) -> list[str]:
    """The beginning of a command that is held to ``cores``; empty for all."""
    return ["taskset", "-c", cores] if cores else []


def _ended(contenders: Sequence[Running]) -> bool:
    return any(contender.process.poll() is not None for contender in contenders)


def processes(contenders: Sequence[Running]) -> list[psutil.Process]:
    """Their processes, children included."""
    mothers = [psutil.Process(contender.process.pid) for contender in contenders]
    return [process for mother in mothers for process in [mother, *mother.children(recursive=True)]]


def _cpu_s(contenders: Sequence[Running]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes(contenders))
