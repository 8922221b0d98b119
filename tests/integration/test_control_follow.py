"""Aliases that move in a real MLflow registry become deployments on a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_app.cli.follow import AliasFollower
from stream_app.kafka.control import history, publish
from stream_app.kafka.embedded import free_port
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
from tests.integration.test_control import environment, isolated, send_status
from tests.support.brokers import Broker
from tests.support.servers import MlflowServer
from tests.support.worker import eventually

pytestmark = pytest.mark.kafka
CODECS = Codecs()


@pytest.fixture
def settings(broker: Broker, unique: str, registry_uri: str) -> Settings:
    found = isolated(broker.bootstrap, unique, registry_uri)
    ensure_topics(found)
    return found


def register(settings: Settings, folder: Path, content: bytes, alias: str) -> str:
    (folder / "model.onnx").write_bytes(content)
    return Registry(settings.registry_uri, folder).register(settings.model_name, folder / "model.onnx", alias)


def running(settings: Settings, revision: int, version: str) -> ModelStatus:
    """What a worker says that runs ``version`` as @champion."""
    loaded = (RunningVersion("@champion", version, "ab" * 32, 100.0, RouteMode.LIVE),)
    now_us = time.time_ns() // 1000
    return ModelStatus("w", settings.model_name, revision, DeploymentState.APPLIED, revision, loaded, "", now_us)


def test_a_moved_alias_is_deployed_once(settings: Settings, tmp_path: Path) -> None:
    register(settings, tmp_path, b"one", "champion")
    follower = AliasFollower(settings)
    assert follower.look() is None  # nothing moved since nobody looked before
    register(settings, tmp_path, b"two", "champion")
    published = follower.look()
    assert published is not None
    assert (published.revision, published.routes) == (1, (Route("@champion", 100.0),))
    assert published.note == "@champion moved from version 1 to 2"
    assert published.issued_by == "fixstream control follow"
    # A worker that took version 1 from its disk cache is no reason for another deployment, and another.
    send_status(settings, running(settings, 1, "1"))
    assert follower.look() is None
    assert history(settings, CODECS, settings.model_name) == [published]


def test_an_alias_that_moved_while_nobody_followed_is_seen_by_what_workers_run(
    settings: Settings, tmp_path: Path
) -> None:
    register(settings, tmp_path, b"one", "champion")
    routes = (Route("1", 90.0), Route("@champion", 10.0))
    publish(settings, CODECS, Deployment(settings.model_name, 6, routes, Split.KEY))
    register(settings, tmp_path, b"two", "champion")
    send_status(settings, running(settings, 5, "1"))
    follower = AliasFollower(settings)
    assert follower.look() is None  # revision 6 is still on its way there
    send_status(settings, running(settings, 6, "1"))
    published = follower.look()
    assert published is not None
    assert (published.revision, published.routes, published.split) == (7, routes, Split.KEY)
    assert follower.look() is None


def test_a_registry_or_a_broker_that_is_away_is_said_once(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    follower = AliasFollower(settings)
    assert [follower.look() for _ in range(3)] == [None] * 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert f"has no model {settings.model_name} @champion" in said[0]
    register(settings, tmp_path, b"one", "champion")
    assert follower.look() is None
    assert capsys.readouterr().err.splitlines() == [
        f"model {settings.model_name}: follows @champion (version 1)",
        "registry and broker answer again",
    ]
    away = AliasFollower(settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"}))
    assert [away.look() for _ in range(2)] == [None] * 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_mlflows_own_webhook_makes_a_deployment_without_waiting_for_the_next_look(
    broker: Broker, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

    # MLflow speaks only to public https addresses unless it is told otherwise.
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    port = free_port()
    monkeypatch.setenv("MLFLOW_WEBHOOK_CACHE_TTL", "0")  # or it knows of a new webhook only after a minute
    with MlflowServer(tmp_path) as server:
        settings = isolated(broker.bootstrap, unique, server.uri)
        ensure_topics(settings)
        register(settings, tmp_path, b"one", "champion")
        MlflowClient(server.uri, server.uri).create_webhook(
            "fixstream",
            f"http://127.0.0.1:{port}/webhook",
            [WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)],
            secret="s3cret",
        )
        out = tmp_path / "follow.out"
        with out.open("wb") as file:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "stream_app.cli.main", "control", "follow",
                    "--every", "3600", "--webhook-port", str(port),
                ],
                env=os.environ | environment(settings) | {"FIXSTREAM_WEBHOOK_SECRET": "s3cret"},
                stdout=file,
                stderr=file,
            )  # fmt: skip
        try:
            eventually(lambda: "follows" in out.read_text(), 60, "the first look")
            register(settings, tmp_path, b"two", "champion")
            found = eventually(lambda: history(settings, CODECS, unique), 60, "the deployment")
        finally:
            process.kill()
            process.wait(10)
    assert found[0].note == "@champion moved from version 1 to 2"
