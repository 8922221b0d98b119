"""Deployments under load on real Kafka, Redis and MLflow: make control-drill. Writes build/control.json.

Two workers under a steady load; a minute without deployments, then 30 deployments in three minutes, 5 of them broken;
then a 90/10 split counted, a sticky split, a rollback timed, a worker that starts in the middle, the registry stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import psutil

from stream_app.kafka.control import publish, statuses
from stream_app.kafka.topics import ensure_topics
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network, load_network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.deployment import Deployment, DeploymentState, ModelStatus, Route, RouteMode, Split
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.load.traffic import CODECS, Fixes, Seen, Traffic, account, p99_ms, simulated
from tests.support import brokers
from tests.support.servers import MlflowServer, RedisServer
from tests.support.worker import WorkerProcess, eventually, send_all, settings_for

NAME = "drill"
SPLIT = (Route("1", 90.0), Route("2", 10.0))
SLACK_MS = 1000  # a batch in flight ends on the version it began with
DEPLOYMENTS, BROKEN = 30, 5


@dataclass
class Drill:
    """The parts, and what was deployed when."""

    settings: Settings
    network: Network
    folder: Path
    workers: list[WorkerProcess] = field(default_factory=list)
    revision: int = 0
    # (revision, versions, published ms, ms when all workers had applied it)
    applied: list[tuple[int, set[str], int, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def start(self, name: str) -> WorkerProcess:
        worker = WorkerProcess(self.settings.model_copy(update={"worker_name": name}), self.folder, name)
        self.workers.append(worker)
        return worker

    def deploy(self, *routes: Route, split: Split = Split.CAPTURE) -> dict[str, ModelStatus]:
        """Publishes and waits for every worker's answer."""
        self.revision += 1
        begin = time.time_ns() // 1_000_000
        publish(self.settings, CODECS, Deployment(NAME, self.revision, routes, split, "drill", begin * 1000))
        found = self.answers(self.revision)
        states = {status.state for status in found.values()}
        assert len(states) == 1, f"the workers do not agree: {found}"
        if states == {DeploymentState.APPLIED}:
            live = {v.version for s in found.values() for v in s.versions if v.mode is RouteMode.LIVE}
            self.applied.append((self.revision, live, begin, time.time_ns() // 1_000_000))
        else:
            self.refused += [status.reason for status in found.values()]
        return found

    def answers(self, revision: int) -> dict[str, ModelStatus]:
        def settled() -> dict[str, ModelStatus]:
            found = statuses(self.settings, CODECS, NAME)
            done = {n: s for n, s in found.items() if s.revision >= revision and s.state != DeploymentState.LOADING}
            return done if len(done) == len(self.workers) else {}

        return dict(eventually(settled, 60, f"an answer to revision {revision}"))

    def wrong_versions(self, seen: list[Seen]) -> int:
        """Fixes whose version was not live when they were made."""
        wrong = 0
        for each in seen:
            allowed: set[str] = set()
            for number, (_, versions, begin, _) in enumerate(self.applied):
                following = self.applied[number + 1][3] if number + 1 < len(self.applied) else 2**62
                if begin <= each.at_ms <= following + SLACK_MS:
                    allowed |= versions
            wrong += each.fix.model_version not in allowed
        return wrong


def register(drill: Drill, registry: Registry) -> None:
    """Versions 1 to 3 answer (3 with other features); 4 is no ONNX file, 5 breaks the contract."""
    file = drill.folder / "model.onnx"
    network = drill.network
    finer = network.model_copy(update={"features": network.features.model_copy(update={"oversample": 6})})
    for each in (network, network, finer):
        onnx.save(build_tdoa(each), str(file))
        registry.register(NAME, file, "champion")
    model = onnx.load(str(file))
    file.write_bytes(b"this is no model")
    registry.register(NAME, file)
    del model.metadata_props[:]
    onnx.save(model, str(file))
    registry.register(NAME, file)


def under_load(drill: Drill, traffic: Traffic, quiet_s: float, busy_s: float) -> tuple[int, int, int]:
    """The quiet time, then the deployments; milliseconds of begin, change and end."""
    begin = time.time_ns() // 1_000_000
    time.sleep(quiet_s)
    change = time.time_ns() // 1_000_000
    broken = [
        (Route("99", 1.0),),
        (Route("4", 1.0),),
        (Route("1", 1.0), Route("5", 1.0)),
        (Route("1", -1.0),),
        (Route("1", 1.0, RouteMode.SHADOW),),
    ]
    good: list[tuple[Route, ...]] = [
        (Route("2", 1.0),),
        (Route("@champion", 1.0),),
        (Route("1", 90.0), Route("2", 10.0)),
        (Route("1", 90.0), Route("3", 10.0)),
        (Route("1", 1.0), Route("2", 1.0), Route("3", 1.0)),
        (Route("1", 1.0), Route("3", 0.5, RouteMode.SHADOW)),
    ]
    step = busy_s / DEPLOYMENTS
    for number in range(DEPLOYMENTS):
        due = change / 1e3 + number * step
        time.sleep(max(0.0, due - time.time()))
        if number % (DEPLOYMENTS // BROKEN) == 3:
            drill.deploy(*broken[number // (DEPLOYMENTS // BROKEN)])
        else:
            drill.deploy(*good[number % len(good)])
    time.sleep(max(0.0, change / 1e3 + busy_s - time.time()))
    return begin, change, time.time_ns() // 1_000_000


def split_error(drill: Drill, fixes: Fixes, count: int) -> float:
    """Percentage points between a 90/10 split and what came, over ``count`` captures."""
    drill.deploy(*SPLIT)
    pool = [capture for capture, _ in Simulator(drill.network, seed=77).captures(50)]
    records = []
    for number in range(count):
        capture = replace(pool[number % len(pool)], capture_id=f"split-{number}")
        records.append((key_of(capture), CODECS.encode_capture(capture)))
    send_all(drill.settings, records)
    wanted = {f"split-{number}": 0 for number in range(count)}
    found = eventually(lambda: (s := fixes.of(wanted)) and len(s) >= count and s, 300, "the split's fixes")
    share = Counter(each.fix.model_version for each in found)
    return abs(share["1"] / len(found) - 0.9) * 100


def sticky(drill: Drill, fixes: Fixes) -> bool:
    """Whether a sticky split keeps each of 40 keys on one version, both versions in use."""
    drill.deploy(Route("1", 50.0), Route("2", 50.0), split=Split.KEY)
    pool = [capture for capture, _ in Simulator(drill.network, seed=78).captures(400)]
    captures = [replace(capture, capture_id=f"sticky-{number}") for number, capture in enumerate(pool)]
    send_all(drill.settings, [(f"key-{n % 40}".encode(), CODECS.encode_capture(c)) for n, c in enumerate(captures)])
    wanted = {capture.capture_id: 0 for capture in captures}
    found = eventually(lambda: (s := fixes.of(wanted)) and len(s) >= len(wanted) and s, 120, "the sticky fixes")
    versions: dict[bytes, set[str]] = defaultdict(set)
    for each in found:
        versions[each.key].add(each.fix.model_version)
    return all(len(v) == 1 for v in versions.values()) and len({min(v) for v in versions.values()}) == 2


def rollback(drill: Drill) -> float:
    """Seconds from the command to the old split on all workers."""
    before = {n: [(v.version, v.weight) for v in s.versions] for n, s in drill.deploy(*SPLIT).items()}
    drill.deploy(Route("2", 1.0))
    begin = time.monotonic()
    command = [sys.executable, "-m", "stream_app.cli.main", "rollback", "--model", NAME]
    command += ["--bootstrap", drill.settings.bootstrap_servers, "--wait"]
    environment = {"FIXSTREAM_CONTROL_TOPIC": drill.settings.control_topic}
    environment["FIXSTREAM_STATUS_TOPIC"] = drill.settings.status_topic
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    took = time.monotonic() - begin
    assert done.returncode == 0, done.stdout + done.stderr
    drill.revision += 1
    found = drill.answers(drill.revision)
    assert {n: [(v.version, v.weight) for v in s.versions] for n, s in found.items()} == before
    now = time.time_ns() // 1_000_000
    drill.applied.append((drill.revision, {"1", "2"}, now - round(took * 1000), now))
    return took


def reloads(drill: Drill) -> float:
    """Resident memory of the workers after 20 reloads of all three versions, beside before."""
    routes = (Route("1", 1.0), Route("2", 1.0), Route("3", 1.0))
    for _ in range(2):
        drill.deploy(*routes)
        drill.deploy(Route("1", 1.0))
    before = [psutil.Process(worker.process.pid).memory_info().rss for worker in drill.workers]
    for _ in range(20):
        drill.deploy(*routes)
        drill.deploy(Route("1", 1.0))
    after = [psutil.Process(worker.process.pid).memory_info().rss for worker in drill.workers]
    return max(b / a for a, b in zip(before, after, strict=True))


def run(quiet_s: float, busy_s: float, rate: float, split_count: int) -> dict[str, Any]:
    """All of it; the figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(brokers.broker(brokers.choose(), folder))
        for part in ("redis", "mlflow"):
            (folder / part).mkdir()
        redis = stack.enter_context(RedisServer(folder / "redis"))
        mlflow = stack.enter_context(MlflowServer(folder / "mlflow"))
        settings = settings_for(
            broker.bootstrap,
            NAME,
            registry_uri=mlflow.uri,
            model_cache_dir=str(folder / "models"),
            model_name=NAME,
            model_ref="1",
            cache_url=redis.uri,
            status_every_s=1.0,
        )
        drill = Drill(settings, load_network(example_network("demo")), folder)
        register(drill, Registry(mlflow.uri, folder / "models"))
        ensure_topics(settings)
        for name in ("one", "two"):
            stack.callback(drill.start(name).kill)
        for worker in drill.workers:
            worker.wait_ready()
        eventually(lambda: all(worker.partitions() for worker in drill.workers), 60, "a share for both")
        drill.deploy(Route("1", 1.0))
        fixes = stack.enter_context(Fixes(settings, settings.positions_topic))
        with Traffic(settings, simulated(drill.network, keys=16), rate) as traffic:
            time.sleep(5)  # warm
            begin, change, end = under_load(drill, traffic, quiet_s, busy_s)
            took = rollback(drill)
            late = drill.start("three")
            stack.callback(late.kill)
            late.wait_ready()
            late_fine = drill.answers(drill.revision)["three"].running_revision == drill.revision
            mlflow.stop()
            assert drill.workers[0].stop() == 0
            drill.workers[0] = drill.start("four")
            drill.workers.pop()
            stack.callback(drill.workers[0].kill)
            drill.workers[0].wait_ready()
        seen = eventually(
            lambda: (
                (s := fixes.of(traffic.sent_ms)) and len({e.fix.capture_id for e in s}) >= len(traffic.sent_ms) and s
            ),
            60,
            "the last fix",
        )
        time.sleep(3)  # whoever answers twice may do so now
        seen = fixes.of(traffic.sent_ms)
        mlflow.start()
        result: dict[str, Any] = {
            "broker": broker.name,
            "rate_per_s": rate,
            "deployments": DEPLOYMENTS,
            "refused": len(drill.refused) // 2,
            "reasons": sorted(set(drill.refused)),
            **account(traffic.sent_ms, seen),
            "not_sent": len(traffic.failed),
            "wrong_version": drill.wrong_versions(seen),
            "p99_quiet_ms": p99_ms(traffic.sent_ms, seen, begin, change),
            "p99_busy_ms": p99_ms(traffic.sent_ms, seen, change, end),
            "rollback_s": round(took, 2),
            "late_worker_took_the_deployment": late_fine,
        }
        result["p99_ratio"] = round(result["p99_busy_ms"] / result["p99_quiet_ms"], 2)
        result["split_error_points"] = round(split_error(drill, fixes, split_count), 2)
        result["sticky"] = sticky(drill, fixes)
        result["memory_ratio_after_20_reloads"] = round(reloads(drill), 3)
        return result


def main() -> None:
    """Runs the drill and writes its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds without deployments")
    parser.add_argument("--busy", type=float, default=180.0, help="seconds with them")
    parser.add_argument("--rate", type=float, default=40.0, help="captures a second")
    parser.add_argument("--split", type=int, default=10_000, help="captures that the split is counted over")
    options = parser.parse_args()
    result = run(options.quiet, options.busy, options.rate, options.split)
    out = brokers.ROOT / "build" / "control.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    held = {
        "nothing lost": result["lost"] == 0,
        "nothing twice": result["twice"] == 0,
        "versions live": result["wrong_version"] == 0,
        "five refused": result["refused"] == BROKEN,
        "p99 within 2": result["p99_ratio"] <= 2,
        "split within 1 point": result["split_error_points"] <= 1,
        "sticky": result["sticky"],
        "rollback within 5 s": result["rollback_s"] <= 5,
        "memory within 10 %": result["memory_ratio_after_20_reloads"] <= 1.1,
        "late worker": result["late_worker_took_the_deployment"],
    }
    failed = [name for name, fine in held.items() if not fine]
    print("all held" if not failed else f"did not hold: {', '.join(failed)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
