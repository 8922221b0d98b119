"""``fixstream deploy``, ``reload`` and ``rollback``: deployments by hand, and what the workers make of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.records.deployment import Split

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.models.control import Answers
    from stream_app.records.codec import Codecs
    from stream_app.records.deployment import Deployment
    from stream_app.settings import Settings

Model = Annotated[str | None, typer.Option(help="the model's name; default: FIXSTREAM_MODEL_NAME")]
Bootstrap = Annotated[str | None, typer.Option(help="Kafka brokers, host:port; default: FIXSTREAM_BOOTSTRAP_SERVERS")]
RegistryUri = Annotated[str | None, typer.Option(help="MLflow's URI; default: FIXSTREAM_REGISTRY_URI")]
Note = Annotated[str, typer.Option(help="why, for those who read it later")]
Wait = Annotated[bool, typer.Option("--wait", help="return when every worker answered; exit code 1 if one refused")]
Timeout = Annotated[float, typer.Option(min=0.1, help="longest --wait, seconds")]
NoCheck = Annotated[bool, typer.Option("--no-check", help="do not ask the registry whether the versions exist")]
_POLL_S = 0.2


def deploy(
    routes: Annotated[
        list[str], typer.Argument(metavar="VERSION=WEIGHT", help="live versions: 7, or 7=90 @challenger=10")
    ],
    shadow: Annotated[list[str] | None, typer.Option(metavar="VERSION=WEIGHT", help="a shadow version")] = None,
    split: Annotated[
        Split, typer.Option(case_sensitive=False, help="draw by capture, or all of one record key alike")
    ] = Split.CAPTURE,
    model: Model = None,
    note: Note = "",
    bootstrap: Bootstrap = None,
    registry: RegistryUri = None,
    wait: Wait = False,
    timeout: Timeout = 60.0,
    no_check: NoCheck = False,
) -> None:
    """Deploy versions of a model: every worker loads them and then splits the traffic by their weights.

    Weights are relative: 7=90 @challenger=10 gives version 7 nine captures of ten.
    """
    from stream_app.models.control import parse_route
    from stream_app.records.deployment import Deployment, RouteMode
    from stream_app.settings import load_settings

    wanted = [parse_route(text) for text in routes]
    wanted += [parse_route(text, RouteMode.SHADOW) for text in shadow or ()]
    settings = load_settings(bootstrap_servers=bootstrap, registry_uri=registry, model_name=model)
    _issue(
        settings,
        lambda _: Deployment(settings.model_name, 0, tuple(wanted), split, note=note),
        not no_check,
        timeout if wait else None,
    )


def reload(
    model: Model = None,
    note: Note = "",
    bootstrap: Bootstrap = None,
    registry: RegistryUri = None,
    wait: Wait = False,
    timeout: Timeout = 60.0,
    no_check: NoCheck = False,
) -> None:
    """Deploy the same routes again: workers ask the registry anew what the aliases name."""
    from dataclasses import replace

    from stream_app.models.control import settings_deployment
    from stream_app.settings import load_settings

    settings = load_settings(bootstrap_servers=bootstrap, registry_uri=registry, model_name=model)

    def again(history: list[Deployment]) -> Deployment:
        newest = history[-1] if history else settings_deployment(settings.model_name, settings.model_ref)
        return replace(newest, note=note or f"reload of revision {newest.revision}")

    _issue(settings, again, not no_check, timeout if wait else None)


def rollback(
    to: Annotated[int | None, typer.Option(help="the revision to go back to; default: the last that differs")] = None,
    model: Model = None,
    note: Note = "",
    bootstrap: Bootstrap = None,
    wait: Wait = False,
    timeout: Timeout = 60.0,
) -> None:
    """Go back: deploy the routes and the split of an earlier revision, as a new one.

    The registry is not asked: these versions have run, and a way back must not depend on it.
    """
    from dataclasses import replace

    from stream_app.models.control import settings_deployment, to_return_to
    from stream_app.settings import load_settings

    settings = load_settings(bootstrap_servers=bootstrap, model_name=model)

    def back(history: list[Deployment]) -> Deployment:
        first = settings_deployment(settings.model_name, settings.model_ref)
        earlier = to_return_to(history, first, to)
        return replace(earlier, note=note or f"rollback to revision {earlier.revision}")

    _issue(settings, back, check=False, wait_s=timeout if wait else None)


def next_of(deployment: Deployment, history: list[Deployment], issued_by: str) -> Deployment:
    """The deployment at the revision after the newest, issued now. Raises DeploymentRefused where it makes no sense."""
    from dataclasses import replace

    revision = history[-1].revision + 1 if history else 1
    following = replace(deployment, revision=revision, issued_by=issued_by, issued_at_us=time.time_ns() // 1000)
    following.check()
    return following


def publish_first(settings: Settings, codecs: Codecs, deployment: Deployment) -> None:
    """Publishes it. Raises DeploymentRefused where another one took its revision, BrokerUnavailable, DeliveryFailed."""
    from stream_app.errors import DeploymentRefused
    from stream_app.kafka.control import history, publish

    publish(settings, codecs, deployment)
    # Workers take the first of two deployments with one revision and ignore the other.
    if deployment not in history(settings, codecs, deployment.model_name):
        raise DeploymentRefused(
            f"revision {deployment.revision} of model {deployment.model_name!r} was issued by someone else at the same "
            "moment: look at fixstream status, then try again"
        )


def _issue(
    settings: Settings, made: Callable[[list[Deployment]], Deployment], check: bool, wait_s: float | None
) -> None:
    """The common end of the three commands: check, publish, say so, wait."""
    import getpass
    import socket

    from stream_app.kafka.control import history
    from stream_app.kafka.rights import Rights
    from stream_app.kafka.topics import ensure_topics
    from stream_app.models.control import described
    from stream_app.records.codec import Codecs

    codecs = Codecs(settings.schema_dir)
    topic = (settings.control_topic,)
    ensure_topics(settings, Rights(read=topic, write=topic))
    before = history(settings, codecs, settings.model_name)
    deployment = next_of(made(before), before, f"{getpass.getuser()}@{socket.gethostname()}")
    if check:
        _check_versions(settings, deployment)
    publish_first(settings, codecs, deployment)
    typer.echo(described(deployment))
    if wait_s is not None:
        _report(_answers(settings, codecs, deployment, wait_s), wait_s)


def _check_versions(settings: Settings, deployment: Deployment) -> None:
    """Raises ModelNotFound or RegistryUnavailable."""

    from stream_app.errors import RegistryUnavailable
    from stream_app.models.registry import Registry

    registry = Registry.of(settings)
    for version in sorted({route.version for route in deployment.routes}):
        try:
            registry.resolve(deployment.model_name, version)
        except RegistryUnavailable as error:
            raise RegistryUnavailable(f"{error}; --no-check deploys without asking it") from error


def _answers(settings: Settings, codecs: Codecs, deployment: Deployment, wait_s: float) -> Answers:
    """The workers' answers when all have come or the time is over."""
    from stream_app.kafka.control import StatusBoard
    from stream_app.kafka.follow import TopicFollower
    from stream_app.models.control import answers_to, silence_us

    deadline = time.monotonic() + wait_s
    follower, board = TopicFollower(settings, settings.status_topic), StatusBoard(codecs, deployment.model_name)
    try:
        board.take(follower.to_end(wait_s))
        while True:
            now_us, gone_us = time.time_ns() // 1000, silence_us(settings.status_every_s)
            found = answers_to(deployment, board.newest.values(), now_us, gone_us)
            if not found.missing or time.monotonic() > deadline:
                return found
            board.take(follower.poll(_POLL_S))
    finally:
        follower.close()


def _report(found: Answers, wait_s: float) -> None:
    """Says what the workers answered; leaves with exit code 1 unless all applied it."""
    if not (found.applied or found.refused or found.missing):
        typer.echo("No worker gives a sign of life: the next one that starts takes the deployment.", err=True)
    for status in found.refused:
        typer.echo(f"{status.worker} refused it: {' '.join(status.reason.split())}", err=True)
    for status in found.missing:
        said = f": {' '.join(status.reason.split())}" if status.reason else ""
        typer.echo(f"{status.worker} has not answered within {wait_s:g} s{said}", err=True)
    if found.refused or found.missing or not found.applied:
        raise typer.Exit(1)
    count = len(found.applied)
    typer.echo(f"applied by {count} worker{'s' if count > 1 else ''}")
