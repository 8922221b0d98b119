"""``fixstream control follow``: aliases that move in the MLflow registry become deployments."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.cli.deploy import Bootstrap, Model, RegistryUri

if TYPE_CHECKING:
    from stream_app.kafka.control import ControlReader
    from stream_app.models.registry import Registry
    from stream_app.records.deployment import Deployment
    from stream_app.settings import Settings

app = typer.Typer(help="Turn what happens in the registry into deployments.", no_args_is_help=True)
_ISSUER = "fixstream control follow"
_BROKER_S = 5.0


@app.callback()
def control() -> None:
    """Turn what happens in the registry into deployments."""


@app.command()
def follow(
    every: Annotated[float, typer.Option(min=0.1, help="seconds between looks at the registry")] = 5.0,
    webhook_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="take MLflow's webhooks at POST /webhook on this port")
    ] = None,
    webhook_host: Annotated[str, typer.Option(help="address of the webhooks' port")] = "127.0.0.1",
    model: Model = None,
    bootstrap: Bootstrap = None,
    registry: RegistryUri = None,
) -> None:
    """Watch the aliases of the newest deployment, and deploy its routes again when one moves. Ends at Ctrl-C."""
    import asyncio

    from stream_app.errors import SettingsError
    from stream_app.settings import load_settings

    settings = load_settings(bootstrap_servers=bootstrap, registry_uri=registry, model_name=model)
    secret = settings.webhook_secret
    if webhook_port is not None and not secret:
        raise SettingsError(
            "webhooks without a secret would let anyone speak for the registry: set FIXSTREAM_WEBHOOK_SECRET to the "
            "secret that MLflow's webhook was made with"
        )
    where = None if webhook_port is None else (webhook_host, webhook_port)
    asyncio.run(_follow(AliasFollower(settings), every, where, secret.get_secret_value() if secret else ""))


class AliasFollower:
    """Looks at registry, deployments and statuses; publishes when an alias moved. Not thread-safe."""

    def __init__(self, settings: Settings) -> None:
        from stream_app.models.registry import Registry
        from stream_app.records.codec import Codecs

        self._settings, self._codecs = settings, Codecs(settings.schema_dir)
        self._registry: Registry = Registry.of(settings)
        self._reader: ControlReader | None = None
        self._revision: int | None = None  # that the last look was about
        self._last: dict[str, str] = {}  # what its aliases named then
        self._ours: int | None = None  # the revision published here last
        self._said = ""
        self._aliases: list[str] | None = None

    def look(self) -> Deployment | None:
        """One look; the deployment that it published, if any. A registry or broker that is away is said once."""
        from stream_app.errors import BrokerUnavailable, FixStreamError

        try:
            published = self._look()
        except FixStreamError as error:
            if isinstance(error, BrokerUnavailable) and self._reader is not None:
                self._reader.close()
                self._reader = None
            self._say(f"{' '.join(str(error).split())}; looking again and again")
            return None
        if self._said:
            self._say("")
        return published

    def _look(self) -> Deployment | None:
        from dataclasses import replace

        from stream_app.cli.deploy import next_of, publish_first
        from stream_app.kafka.control import ControlReader
        from stream_app.kafka.rights import Rights
        from stream_app.kafka.topics import ensure_topics
        from stream_app.models.control import aliases_of, moves, settings_deployment, silence_us

        settings = self._settings
        if self._reader is None:
            topic = (settings.control_topic,)
            ensure_topics(settings, Rights(read=topic, write=topic), _BROKER_S)
            self._reader = ControlReader(settings, self._codecs, settings.model_name)
        self._reader.read(_BROKER_S)
        before = self._reader.deployments
        newest = before[-1] if before else settings_deployment(settings.model_name, settings.model_ref)
        resolved = {alias: self._registry.resolve(newest.model_name, alias) for alias in aliases_of(newest)}
        self._say_aliases(resolved)
        if newest.revision != self._revision:  # its workers resolved the aliases anew
            self._revision, self._last = newest.revision, {}
        alive = []
        if newest.revision != self._ours:  # a worker that cannot follow ours must not make for another, and another
            since_us = time.time_ns() // 1000 - silence_us(settings.status_every_s)
            alive = [status for status in self._reader.statuses.values() if status.at_us >= since_us]
        moved = moves(newest, resolved, alive, self._last)
        following = None
        if moved:
            following = next_of(replace(newest, note="; ".join(moved)), before, _ISSUER)
            publish_first(settings, self._codecs, following)
            self._revision = self._ours = following.revision
        self._last = resolved
        return following

    def _say_aliases(self, resolved: dict[str, str]) -> None:
        if sorted(resolved) != self._aliases:
            named = ", ".join(f"{alias} (version {version})" for alias, version in resolved.items())
            what = f"follows {named}" if named else "follows nothing: the newest deployment names no alias"
            print(f"model {self._settings.model_name}: {what}", file=sys.stderr, flush=True)
        self._aliases = sorted(resolved)

    def _say(self, problem: str) -> None:
        if problem != self._said:
            print(problem or "registry and broker answer again", file=sys.stderr, flush=True)
        self._said = problem


async def _follow(follower: AliasFollower, every_s: float, where: tuple[str, int] | None, secret: str) -> None:
    import asyncio
    from contextlib import AsyncExitStack, suppress

    from stream_app.models.control import described
    from stream_app.web.webhook import webhook_server

    wake = asyncio.Event()
    async with AsyncExitStack() as stack:
        if where is not None:
            await stack.enter_async_context(webhook_server(*where, secret, wake.set))
        while True:
            wake.clear()
            published = await asyncio.to_thread(follower.look)
            if published is not None:
                typer.echo(f"{described(published)} ({published.note})")
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), every_s)
