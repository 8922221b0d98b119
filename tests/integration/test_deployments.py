"""Deployments on real workers, while captures flow."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from stream_app.kafka.control import publish, statuses
from stream_app.kafka.topics import ensure_topics
from stream_app.models.reference import build_power, build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.records.deployment import Deployment, DeploymentState, ModelStatus, Route, RouteMode
from stream_app.records.fix import Fix
from stream_app.settings import Settings
from tests.support.brokers import Broker
from tests.support.worker import TopicReader, WorkerProcess, eventually, send_all, settings_for
from tests.unit.models.test_safety import hungry

pytestmark = pytest.mark.kafka
CODECS = Codecs()


@pytest.fixture
def registry(unique: str, tmp_path: Path) -> Registry:
    return Registry(f"sqlite:///{tmp_path / 'registry.db'}", tmp_path / "models")


@pytest.fixture
def settings(broker: Broker, registry: Registry, network: Network, unique: str, tmp_path: Path) -> Settings:
    """A registry with versions 1 (@champion) and 2 of the tdoa model, and 3, which works by power."""
    for kind, alias in ((build_tdoa, "champion"), (build_tdoa, None), (build_power, "challenger")):
        onnx.save(kind(network), str(tmp_path / "model.onnx"))
        registry.register(unique, tmp_path / "model.onnx", alias)
    found = settings_for(
        broker.bootstrap,
        unique,
        registry_uri=f"sqlite:///{tmp_path / 'registry.db'}",
        model_cache_dir=str(tmp_path / "models"),
        model_name=unique,
        cache_url="none://",
        status_every_s=1.0,
    )
    ensure_topics(found)
    return found


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers, and ends them."""
    with ExitStack() as stack:

        def begin(name: str, **changes: object) -> WorkerProcess:
            values = settings.model_copy(update={"worker_name": name, **changes})
            worker = WorkerProcess(values, tmp_path, name)
            stack.callback(worker.kill)
            return worker

        yield begin


def deploy(settings: Settings, revision: int, *routes: Route) -> None:
    publish(settings, CODECS, Deployment(settings.model_name, revision, routes, issued_by="test"))


def answers(settings: Settings, revision: int, workers: int = 1) -> dict[str, ModelStatus]:
    """The workers' answers to a revision, when all have answered it."""

    def settled() -> dict[str, ModelStatus]:
        found = statuses(settings, CODECS, settings.model_name)
        done = {name: s for name, s in found.items() if s.revision == revision and s.state != DeploymentState.LOADING}
        return done if len(done) == workers else {}

    return eventually(settled, 60, f"an answer to revision {revision} from {workers}")


def fixes_of(settings: Settings, network: Network, seed: int, count: int, topic: str = "") -> list[Fix]:
    """Sends captures and waits for their fixes."""
    captures = [
        replace(capture, capture_id=f"{seed}-{n}")
        for n, (capture, _) in enumerate(Simulator(network, seed=seed).captures(count))
    ]
    send_all(settings, [(key_of(each), CODECS.encode_capture(each)) for each in captures])
    reader = TopicReader(settings.bootstrap_servers, topic or settings.positions_topic)
    try:

        def mine() -> list[Fix]:
            found = [CODECS.decode_fix(message.value()) for message in reader.read()]
            wanted = [fix for fix in found if fix.capture_id.startswith(f"{seed}-")]
            return wanted if len(wanted) >= count else []

        return eventually(mine, 60, "the fixes")
    finally:
        reader.close()


def test_a_deployment_splits_is_refused_whole_and_goes_back(
    settings: Settings, network: Network, start: Callable[..., WorkerProcess]
) -> None:
    worker = start("one")
    worker.wait_ready()
    assert {fix.model_version for fix in fixes_of(settings, network, 1, 20)} == {"1"}

    deploy(settings, 1, Route("@champion", 50), Route("3", 50))
    status = answers(settings, 1)["one"]
    assert (status.state, status.running_revision) == (DeploymentState.APPLIED, 1)
    assert [(v.ref, v.version) for v in status.versions] == [("@champion", "1"), ("3", "3")]
    split = Counter(fix.model_version for fix in fixes_of(settings, network, 2, 60))
    assert set(split) == {"1", "3"}

    deploy(settings, 2, Route("1", 50), Route("99", 50))
    status = answers(settings, 2)["one"]
    assert (status.state, status.running_revision) == (DeploymentState.REFUSED, 1)
    assert "99" in status.reason
    deploy(settings, 3, Route("1", -1))
    assert answers(settings, 3)["one"].state is DeploymentState.REFUSED
    assert {fix.model_version for fix in fixes_of(settings, network, 3, 60)} == {"1", "3"}

    deploy(settings, 2, Route("2", 1))  # late: ignored, and said
    deploy(settings, 4, Route("2", 1))
    assert answers(settings, 4)["one"].running_revision == 4
    assert {fix.model_version for fix in fixes_of(settings, network, 4, 20)} == {"2"}
    assert "came late and is ignored" in worker.log()
    assert worker.metric('fixstream_model_reload_count_total{outcome="refused"}') == 2
    assert worker.metric("fixstream_control_revision") == 4
    assert worker.stop() == 0
    assert statuses(settings, CODECS, settings.model_name) == {}


def test_a_model_that_would_end_the_worker_is_refused_and_the_running_one_goes_on(
    settings: Settings, registry: Registry, network: Network, start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    onnx.save(hungry(10**10), str(tmp_path / "hungry.onnx"))
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "model.onnx").read_bytes()[:-1000])
    assert registry.register(settings.model_name, tmp_path / "hungry.onnx") == "4"
    assert registry.register(settings.model_name, tmp_path / "cut.onnx") == "5"
    worker = start("one")
    worker.wait_ready()
    for revision, version, words in ((1, "4", "MAX_MODEL_MEMORY_BYTES"), (2, "5", "does not load")):
        deploy(settings, revision, Route(version, 1))
        status = answers(settings, revision)["one"]
        assert status.state is DeploymentState.REFUSED
        assert words in status.reason
    assert {fix.model_version for fix in fixes_of(settings, network, 7, 20)} == {"1"}
    assert worker.stop() == 0


def test_a_fresh_worker_takes_the_deployment_before_its_first_capture_and_shadows(
    settings: Settings, network: Network, start: Callable[..., WorkerProcess]
) -> None:
    deploy(settings, 1, Route("2", 100), Route("@challenger", 100, RouteMode.SHADOW))
    deploy(settings, 2, Route("99", 1))  # broken: a fresh worker goes on with what its neighbours run on
    captures = [capture for capture, _ in Simulator(network, seed=9).captures(10)]
    send_all(settings, [(key_of(each), CODECS.encode_capture(each)) for each in captures])
    worker = start("one")
    worker.wait_ready()
    status = answers(settings, 2)["one"]
    assert (status.state, status.running_revision) == (DeploymentState.REFUSED, 1)
    live = fixes_of(settings, network, 5, 20)
    assert {fix.model_version for fix in live} == {"2"}
    shadows = fixes_of(settings, network, 6, 20, settings.shadow_topic)
    assert {fix.model_version for fix in shadows} == {"3"}
    assert len({fix.capture_id for fix in shadows}) == 20


def test_a_hangup_resolves_the_aliases_again(
    settings: Settings, registry: Registry, network: Network, start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    worker = start("one")
    worker.wait_ready()
    onnx.save(build_tdoa(network), str(tmp_path / "model.onnx"))
    assert registry.register(settings.model_name, tmp_path / "model.onnx", "champion") == "4"
    assert {fix.model_version for fix in fixes_of(settings, network, 1, 5)} == {"1"}
    os.kill(worker.process.pid, signal.SIGHUP)

    def reloaded() -> bool:
        found = statuses(settings, CODECS, settings.model_name)["one"]
        return [v.version for v in found.versions] == ["4"]

    eventually(reloaded, what="the reload")
    assert {fix.model_version for fix in fixes_of(settings, network, 2, 5)} == {"4"}
