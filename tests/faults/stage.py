"""What a scenario plays on: real parts, workers under load, and the account at the end."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from confluent_kafka import Message

from stream_app.kafka.topics import ensure_topics
from stream_app.models.registry import Registry
from stream_app.settings import Guarantee, Settings
from tests.faults.account import Account, Answer, Sent, account
from tests.faults.captures import Pool, key_of, number_of, place_of, refused_name
from tests.load.traffic import CODECS, Reading, Traffic
from tests.support.brokers import KraftBroker, delete_topics
from tests.support.netns import Namespace
from tests.support.process import Ailing
from tests.support.servers import MlflowServer, RedisServer
from tests.support.worker import WorkerProcess, eventually, settings_for

SESSION_MS = 2000
_TRANSACTION_MS = 3000
KAFKA: Mapping[str, str] = {
    "group.min.session.timeout.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
_MODEL = "faults"
_SETTLE_S = 120.0  # longest wait for what is owed when a fault is over
_QUIET_S = 3.0  # whoever answers twice may do so in this time
_SEED = 7


class Rig:
    """The parts that the scenarios of a run share, each started when it is first asked for; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fixstream-faults-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def heal(self) -> None:
        """Brings back what a scenario that was broken off has left frozen or ended."""
        for name in ("kafka", "redis", "mlflow"):
            part = self.__dict__.get(name)
            if part is None:
                continue
            part.thaw()
            if part.process is None or part.process.poll() is not None:
                part.start()

    def place(self, name: str) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    @cached_property
    def kafka(self) -> KraftBroker:
        """One broker."""
        broker = KraftBroker(self.place("kafka"), more=KAFKA)
        self._stack.enter_context(broker)
        return broker

    @cached_property
    def redis(self) -> RedisServer:
        """Redis; who ends it starts it again."""
        return self._stack.enter_context(RedisServer(self.place("redis")))

    @cached_property
    def mlflow(self) -> MlflowServer:
        """MLflow; who ends it starts it again."""
        return self._stack.enter_context(MlflowServer(self.place("mlflow")))

    @cached_property
    def pool(self) -> Pool:
        """Captures, and the model that answers them."""
        return Pool(self.folder)

    @cached_property
    def registry_uri(self) -> str:
        """A registry in a file, which holds the pool's model."""
        uri = f"sqlite:///{self.place('registry') / 'registry.db'}"
        Registry(uri, self.folder / "models").register(_MODEL, self.pool.model, "champion")
        return uri


class Answers(Reading):
    """Fixes and dead letters, as they come."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.positions_topic, settings.dead_letter_topic)
        self._fixes = settings.positions_topic
        self.seen: list[Answer] = []
        self.names: set[str] = set()

    def take(self, message: Message) -> None:
        """Remembers an answer."""
        value, now_ms = message.value() or b"", time.time_ns() // 1_000_000
        if message.topic() == self._fixes:
            fix = CODECS.decode_fix(value)
            answer = Answer(fix.capture_id, message.key() or b"", now_ms, place_of(fix))
        else:
            answer = Answer(refused_name(value), message.key() or b"", now_ms, None)
        self.seen.append(answer)
        self.names.add(answer.name)


class Stage:
    """One scenario's topics, workers and load; a context manager that leaves nothing behind."""

    process: type[WorkerProcess] = WorkerProcess
    reading: type[Answers] = Answers

    def __init__(
        self,
        rig: Rig,
        delivery: Guarantee,
        short: bool,
        nodes: Sequence[KraftBroker] = (),
        pool: Pool | None = None,
        **more: Any,
    ) -> None:
        """``more`` are settings; ``nodes`` where the rig's own broker is not meant."""
        self.rig, self.delivery, self.short = rig, delivery, short
        self.nodes = nodes or [rig.kafka]
        self.cable: Namespace | None = None
        self.pool, self.folder = pool or rig.pool, rig.place("stage")
        values = {
            "registry_uri": more.get("registry_uri") or rig.registry_uri,
            "model_name": _MODEL,
            "model_cache_dir": str(rig.folder / "models"),
            "cache_url": "none://",
            "max_batch": 16,
            "delivery": delivery,
            "transaction_timeout_ms": _TRANSACTION_MS,
            **more,
        }
        self.settings = settings_for(
            ",".join(node.bootstrap for node in self.nodes), f"f{uuid4().hex[:8]}", **values
        ).model_copy(update={"session_timeout_ms": SESSION_MS})
        self.workers: dict[str, WorkerProcess] = {}
        self.random = random.Random(_SEED)
        self.disturbances = 0
        self.problems: list[str] = []  # what broke beside the account
        self.notes: list[str] = []
        self._stack = ExitStack()
        self._sent: dict[str, Sent] = {}
        self._unsure: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        ensure_topics(self.settings)
        self.answers = self._stack.enter_context(self.reading(self.settings))
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.kill()
        self._stack.close()
        self.rig.heal()
        names = (name for name in Settings.model_fields if name.endswith("_topic"))
        delete_topics(self.settings.bootstrap_servers, [getattr(self.settings, name) for name in names])

    def launch(self, name: str, **how: Any) -> WorkerProcess:
        """Starts a worker, also one that was there before; does not wait for it."""
        self.workers[name] = self.process(self.settings, self.folder, f"{name}-{uuid4().hex[:4]}", **how)
        return self.workers[name]

    def start(self, *names: str) -> list[WorkerProcess]:
        """Starts workers; returns when each has its share of the partitions."""
        for name in names:
            self.launch(name)
        self.wait_shared()
        return [self.workers[name] for name in names]

    def wait_shared(self) -> None:
        """Returns when all workers are ready and together have every partition, each once."""
        for worker in self.workers.values():
            worker.wait_ready(180)
        everything = list(range(self.settings.partitions))

        def shared() -> bool:
            shares = [worker.partitions() for worker in self.workers.values()]
            return all(shares) and sorted(p for share in shares for p in share) == everything

        eventually(shared, 60, "a share for every worker")

    def wait_answering(self) -> None:
        """Returns when answers come again."""
        count = len(self.answers.seen)
        eventually(lambda: len(self.answers.seen) > count, _SETTLE_S, "another answer")

    def kill(self, name: str) -> None:
        """kill -9 of a worker."""
        self.workers[name].kill()
        self.disturbances += 1

    def stop(self, name: str) -> None:
        """SIGTERM; the worker must end cleanly."""
        worker = self.workers.pop(name)
        code = worker.stop()
        self.disturbances += 1
        if code != 0:
            self.problems.append(f"worker {name} ended with {code}")

    @contextmanager
    def frozen(self, part: Ailing, seconds: float) -> Iterator[None]:
        """SIGSTOP, the body, the rest of the seconds, SIGCONT."""
        part.freeze()
        self.disturbances += 1
        until = time.monotonic() + seconds
        try:
            yield
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            part.thaw()

    @contextmanager
    def load(self, rate: float, fresh: bool = False) -> Iterator[Traffic]:
        """Sends captures while the body runs; the account is of these. Begins when the first answers are there."""
        with Traffic(self.settings, self.pool.records(fresh), rate) as traffic:
            eventually(lambda: self.answers.seen, 60, "the first answer")
            yield traffic
        self.expect(traffic.sent_ms, frozenset(traffic.failed))

    def expect(self, sent_ms: Mapping[str, int], unsure: frozenset[str] = frozenset()) -> None:
        """What the account is to be of."""
        numbers = {name: number_of(name) for name in sent_ms}
        self._sent = {n: Sent(i, key_of(i), sent_ms[n], self.pool.place(i)) for n, i in numbers.items()}
        self._unsure = unsure

    def wait_all(self, timeout_s: float) -> None:
        """Returns when all is answered, or the time is over."""
        with suppress(AssertionError):
            eventually(lambda: self._sent.keys() <= self.answers.names, timeout_s)

    def settle(self) -> Account:
        """The account, when all is answered and nothing more comes, or the time is over."""
        self.wait_all(_SETTLE_S)
        count = -1
        while count != len(self.answers.seen):
            count = len(self.answers.seen)
            time.sleep(_QUIET_S)
        end_ms = time.time_ns() // 1_000_000 - round(1e3 * _QUIET_S)
        self.problems += [self.answers.problem] if self.answers.problem else []
        for name, worker in self.workers.items():
            code = worker.process.poll()
            if code is not None:
                self.problems.append(f"worker {name} ended by itself with {code}")
        return account(self._sent, list(self.answers.seen), end_ms, self._unsure)

    @property
    def most_again(self) -> int:
        """Answers that at_least_once may repeat: what is in flight or waits to be committed, at each disturbance."""
        return self.disturbances * (self.settings.max_undelivered + 1) * self.settings.max_batch
