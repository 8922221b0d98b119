"""Redis, MLflow, the disk and the model itself: the parts beside the brokers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import onnx
import redis

from stream_app.kafka.control import publish, statuses
from stream_app.models.registry import Registry
from stream_app.records.deployment import Deployment, DeploymentState, Route
from stream_app.settings import Guarantee
from tests.faults.models import write_slow
from tests.faults.scenario import ONCE, Scenario
from tests.faults.stage import Rig, Stage
from tests.load.traffic import CODECS
from tests.support.servers import RedisServer
from tests.support.worker import eventually

_RATE = 60.0
_REDIS_AWAY_S = 3.0
_SLOW_S, _SLOW_SHORT_S = 5.0, 2.5
_SLOW_BATCH = 4
_DISK = "1m"


def _redis_lacking() -> str:
    return "" if RedisServer.installed() else "redis-server is not installed"


def _disk_lacking() -> str:
    return "" if os.geteuid() == 0 and shutil.which("mount") else "a small file system needs root and mount"


@contextmanager
def with_redis(rig: Rig, delivery: Guarantee, short: bool, **more: Any) -> Iterator[Stage]:
    """A stage whose workers remember in an empty Redis."""
    _client(rig).flushall()
    with Stage(rig, delivery, short, cache_url=rig.redis.uri, **more) as stage:
        yield stage


def redis_killed(stage: Stage, times: int) -> None:
    """SIGKILL; it comes back empty."""
    stage.start("one")
    with stage.load(_RATE):
        for _ in range(times):
            time.sleep(stage.random.uniform(0.5, 2.0))
            stage.rig.redis.kill()
            time.sleep(_REDIS_AWAY_S)
            stage.rig.redis.start()
        time.sleep(1)


def redis_frozen(stage: Stage, seconds: int) -> None:
    """Connections stay open, and nothing comes back."""
    stage.start("one")
    with stage.load(_RATE):
        time.sleep(1)
        with stage.frozen(stage.rig.redis, seconds):
            pass
        time.sleep(2)


def redis_full(stage: Stage, seconds: int) -> None:
    """Every write is refused, every read answered."""
    client = _client(stage.rig)
    stage.start("one")
    try:
        with stage.load(_RATE, fresh=True):
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1mb")
            time.sleep(seconds)
    finally:
        client.config_set("maxmemory", "0")
    if not stage.workers["one"].metric("fixstream_errors_total"):
        stage.problems.append("the worker never noticed that Redis was full")


def redis_corrupted(stage: Stage, times: int) -> None:
    """All that is remembered becomes random bytes, or has one bit flipped, while it is in use."""
    client, changed = _client(stage.rig), 0
    stage.start("one")
    with stage.load(_RATE):
        time.sleep(2)
        for number in range(times):
            for key in list(client.scan_iter("fixstream:*", 1000)):
                value = client.get(key)
                if isinstance(value, bytes):
                    client.set(key, _spoilt(stage, value, whole=bool(number % 2)))
                    changed += 1
            time.sleep(1)
    if not changed:
        stage.problems.append("Redis held nothing that could be corrupted")


def _spoilt(stage: Stage, value: bytes, whole: bool) -> bytes:
    if whole:
        return stage.random.randbytes(len(value))
    flipped = bytearray(value)
    flipped[stage.random.randrange(len(value))] ^= 1 << stage.random.randrange(8)
    return bytes(flipped)


def _client(rig: Rig) -> redis.Redis:
    return redis.Redis(port=rig.redis.port)


@contextmanager
def with_registry(rig: Rig, delivery: Guarantee, short: bool, uri: str, folder: Path) -> Iterator[Stage]:
    """A stage with a model of its own, whose cache on disk is ``folder``."""
    name = f"faults-{uuid4().hex[:8]}"
    Registry(uri, folder).register(name, rig.pool.model, "champion")
    settings = {"registry_uri": uri, "model_name": name, "model_cache_dir": str(folder), "model_ref": "1"}
    with Stage(rig, delivery, short, status_every_s=1.0, **settings) as stage:
        yield stage


@contextmanager
def with_mlflow(rig: Rig, delivery: Guarantee, short: bool) -> Iterator[Stage]:
    """A stage with a model on the MLflow server."""
    with with_registry(rig, delivery, short, rig.mlflow.uri, rig.place("models")) as stage:
        yield stage


def mlflow_dead(stage: Stage, times: int) -> None:
    """A worker that starts meanwhile takes the model from its disk."""
    _replace_meanwhile(stage, times, stage.rig.mlflow.kill, stage.rig.mlflow.start)


def mlflow_slow(stage: Stage, times: int) -> None:
    """It takes connections and answers none of them: longer than its clients wait."""
    _replace_meanwhile(stage, times, stage.rig.mlflow.freeze, stage.rig.mlflow.thaw)


def _replace_meanwhile(stage: Stage, times: int, harm: Callable[[], None], heal: Callable[[], None]) -> None:
    stage.start("one")
    with stage.load(_RATE):
        for number in range(times):
            harm()
            try:
                _replace_worker(stage, f"successor{number}")
            finally:
                heal()


def _replace_worker(stage: Stage, name: str) -> None:
    before = next(iter(stage.workers))
    stage.launch(name)
    stage.wait_shared()
    stage.stop(before)
    stage.wait_answering()


def mlflow_truncated(stage: Stage, times: int) -> None:
    """Each truncated version is deployed: refused by name, and a worker that starts then runs on the one before."""
    stage.start("one")
    deploy(stage, 1, "1", DeploymentState.APPLIED)
    with stage.load(_RATE):
        for number in range(times):
            version = register_another(stage, number)
            file = max((stage.rig.mlflow.folder / "artifacts").rglob("*.onnx"), key=lambda path: path.stat().st_mtime)
            with file.open("r+b") as artifact:
                artifact.truncate((file.stat().st_size - 1) // (number + 1))
            deploy(stage, number + 2, version, DeploymentState.REFUSED)
        stage.launch("fresh")
        stage.wait_shared()


@contextmanager
def with_small_disk(rig: Rig, delivery: Guarantee, short: bool) -> Iterator[Stage]:
    """A stage whose models are kept on a file system of one megabyte."""
    disk = rig.place("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "fixfaults", str(disk)], check=True)
    try:
        with with_registry(rig, delivery, short, rig.registry_uri, disk) as stage:
            yield stage
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def disk_full(stage: Stage, times: int) -> None:
    """A worker starts from what is there, a new version finds no room and waits; with room, it comes."""
    disk = Path(stage.settings.model_cache_dir)
    stage.start("one")
    with stage.load(_RATE):
        for number in range(times):
            ballast = disk / "ballast"
            with ballast.open("wb") as file:
                while _fits(file.fileno()):
                    pass
            _replace_worker(stage, f"successor{number}")
            version = register_another(stage, number)
            deploy(stage, number + 1, version, DeploymentState.LOADING)
            ballast.unlink()
            wait_state(stage, number + 1, DeploymentState.APPLIED)


def _fits(file: int) -> bool:
    try:
        return bool(os.write(file, bytes(4096)))
    except OSError:
        return False


def register_another(stage: Stage, number: int) -> str:
    """The same model in other bytes; its version."""
    model = onnx.load(str(stage.rig.pool.model))
    model.doc_string = f"{stage.settings.model_name} {number}"
    path = stage.folder / "another.onnx"
    onnx.save(model, str(path))
    return Registry(stage.settings.registry_uri, stage.folder).register(stage.settings.model_name, path)


def deploy(stage: Stage, revision: int, version: str, wanted: DeploymentState) -> None:
    """Publishes it, and returns when every worker has come to that."""
    name = stage.settings.model_name
    now_us = time.time_ns() // 1000
    publish(stage.settings, CODECS, Deployment(name, revision, (Route(version, 1.0),), issued_at_us=now_us))
    wait_state(stage, revision, wanted)


def wait_state(stage: Stage, revision: int, wanted: DeploymentState) -> None:
    """Returns when every worker says so of that revision."""

    def states() -> set[DeploymentState]:
        found = statuses(stage.settings, CODECS, stage.settings.model_name).values()
        return {status.state for status in found if status.revision == revision}

    eventually(lambda: states() == {wanted}, 90, f"{wanted} of revision {revision}")


@contextmanager
def with_slow_model(rig: Rig, delivery: Guarantee, short: bool) -> Iterator[Stage]:
    """A stage whose model takes seconds for each batch, longer than the session's timeout."""
    path, name = rig.folder / "slow.onnx", f"slow-{uuid4().hex[:8]}"
    write_slow(rig.pool.model, path, _SLOW_SHORT_S if short else _SLOW_S)
    Registry(rig.registry_uri, rig.folder / "models").register(name, path, "champion")
    with Stage(rig, delivery, short, model_name=name, max_batch=_SLOW_BATCH, model_check_s=300.0) as stage:
        yield stage


def slow_model(stage: Stage, batches: int) -> None:
    """The worker must stay in its group all the time."""
    (worker,) = stage.start("one")
    count = batches * _SLOW_BATCH
    with stage.load(2.0) as traffic:
        eventually(lambda: len(traffic.sent_ms) >= count, count, "the last capture sent")
    stage.wait_all(6 * _SLOW_S * batches)
    if "Gave up" in worker.log() or "lost to the group" in worker.log():
        stage.problems.append("the worker lost partitions while its model was thinking")


SCENARIOS = (
    Scenario(
        "redis-killed",
        f"kill -9 of Redis, started again {_REDIS_AWAY_S:.0f} s later",
        redis_killed,
        5,
        1,
        stage=with_redis,
        deliveries=ONCE,
        lacking=_redis_lacking,
    ),
    Scenario(
        "redis-frozen",
        "Redis is frozen",
        redis_frozen,
        15,
        4,
        unit="s",
        stage=with_redis,
        deliveries=ONCE,
        lacking=_redis_lacking,
    ),
    Scenario(
        "redis-full",
        "Redis has no memory left and evicts nothing",
        redis_full,
        15,
        4,
        unit="s",
        stage=with_redis,
        deliveries=ONCE,
        lacking=_redis_lacking,
    ),
    Scenario(
        "redis-corrupted",
        "every value in Redis gets random bytes, or one bit flipped",
        redis_corrupted,
        20,
        4,
        stage=with_redis,
        deliveries=ONCE,
        lacking=_redis_lacking,
    ),
    Scenario(
        "mlflow-dead",
        "kill -9 of MLflow, and a worker is replaced meanwhile",
        mlflow_dead,
        2,
        1,
        stage=with_mlflow,
        deliveries=ONCE,
    ),
    Scenario(
        "mlflow-slow",
        "MLflow is frozen for longer than its clients wait, and a worker is replaced meanwhile",
        mlflow_slow,
        1,
        1,
        stage=with_mlflow,
        deliveries=ONCE,
    ),
    Scenario(
        "mlflow-truncated",
        "a version whose file is cut short on the server is deployed",
        mlflow_truncated,
        3,
        1,
        stage=with_mlflow,
        deliveries=ONCE,
    ),
    Scenario(
        "disk-full",
        "the model cache's disk is full when a worker is replaced and a version deployed",
        disk_full,
        2,
        1,
        stage=with_small_disk,
        deliveries=ONCE,
        lacking=_disk_lacking,
    ),
    Scenario(
        "slow-model",
        f"a model that takes {_SLOW_S:.0f} s for each batch of {_SLOW_BATCH}",
        slow_model,
        12,
        2,
        unit="batches",
        stage=with_slow_model,
        deliveries=ONCE,
    ),
)
