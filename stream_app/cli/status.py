"""``fixstream status``: what each worker runs, and whether they agree on the newest deployment."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import typer

from stream_app.cli.deploy import Bootstrap, Model

if TYPE_CHECKING:
    from rich.table import Table

    from stream_app.records.deployment import ModelStatus, RunningVersion

_DIGEST_CHARS = 8


def status(
    model: Model = None,
    as_json: bool = typer.Option(False, "--json", help="one JSON object instead of the table"),
    bootstrap: Bootstrap = None,
) -> None:
    """Show what each worker made of the newest deployment. Exit code 0 when all run it, else 1."""
    from rich.console import Console

    from stream_app.kafka.control import history, statuses
    from stream_app.models.control import agreement, silence_us
    from stream_app.records.codec import Codecs
    from stream_app.records.deployment import SETTINGS_REVISION
    from stream_app.settings import load_settings

    settings = load_settings(bootstrap_servers=bootstrap, model_name=model)
    codecs = Codecs(settings.schema_dir)
    deployments = history(settings, codecs, settings.model_name)
    newest = deployments[-1].revision if deployments else SETTINGS_REVISION
    found = sorted(statuses(settings, codecs, settings.model_name).values(), key=lambda one: one.worker)
    now_us = time.time_ns() // 1000
    gone = {one.worker for one in found if now_us - one.at_us > silence_us(settings.status_every_s)}
    agree, words = agreement([one for one in found if one.worker not in gone], newest)
    if as_json:
        workers = [_as_json(one, now_us, one.worker in gone) for one in found]
        typer.echo(
            json.dumps(
                {
                    "model_name": settings.model_name,
                    "newest_revision": newest,
                    "agree": agree,
                    "words": words,
                    "workers": workers,
                }
            )
        )
    else:
        if found:
            Console().print(_table(f"Model {settings.model_name}", found, now_us, gone))
        alive = [one for one in found if one.worker not in gone]
        if any(one.beacons for one in alive):
            Console().print(_beacons(alive))
        if any(one.clocks for one in alive):
            Console().print(_clocks(alive))
        for one in found:
            if one.reason:
                typer.echo(f"{one.worker}: {' '.join(one.reason.split())}")
        typer.echo(words)
    raise typer.Exit(0 if agree else 1)


def _table(title: str, found: list[ModelStatus], now_us: int, gone: set[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", expand=False, box=SIMPLE_HEAD, pad_edge=False)
    for name in ("worker", "revision", "state", "runs", "versions", "seen"):
        right = name in ("revision", "runs", "seen")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name == "state")
    for one in found:
        table.add_row(
            one.worker,
            str(one.revision),
            "gone" if one.worker in gone else one.state.value.lower(),
            str(one.running_revision) if one.versions else "none",
            "\n".join(map(_version, one.versions)),
            _age(now_us - one.at_us),
        )
    return table


def _beacons(found: list[ModelStatus]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="Beacons", title_justify="left", expand=False, box=SIMPLE_HEAD, pad_edge=False)
    for name in ("beacon", "level", "fixes", "in 68 %", "in 95 %", "bias", "rms", "worker"):
        left = name in ("beacon", "level", "worker")
        table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=name == "level")
    for one in found:
        for beacon in one.beacons:
            table.add_row(
                f"{beacon.network}/{beacon.name}",
                beacon.level.value.lower(),
                str(beacon.fixes),
                f"{100 * beacon.share_68:.0f} %",
                f"{100 * beacon.share_95:.0f} %",
                f"{beacon.bias_east_m:+.0f} m E, {beacon.bias_north_m:+.0f} m N",
                f"{beacon.rms_m:.0f} m",
                one.worker,
            )
    return table


def _clocks(found: list[ModelStatus]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="Receivers' clocks", title_justify="left", expand=False, box=SIMPLE_HEAD, pad_edge=False)
    for name in ("receiver", "late by", "sigma", "captures", "", "worker"):
        left = name in ("receiver", "", "worker")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for one in found:
        for clock in one.clocks:
            table.add_row(
                f"{clock.network}/{clock.receiver_id}",
                f"{clock.offset_ns / 1e3:.3f} us",
                f"{clock.sigma_ns / 1e3:.3f} us",
                str(clock.captures),
                "distrusted" if clock.distrusted else "",
                one.worker,
            )
    return table


def _version(version: RunningVersion) -> str:
    """As 7=90 1a2b3c4d; @champion is 7=90 1a2b3c4d; shadow 9=50 5e6f7a8b."""
    from stream_app.records.deployment import RouteMode

    mode = "shadow " if version.mode is RouteMode.SHADOW else ""
    alias = "" if version.ref == version.version else f"{version.ref} is "
    suspended = " suspended" if version.suspended else ""
    return f"{mode}{alias}{version.version}={version.weight:g} {version.digest[:_DIGEST_CHARS]}{suspended}"


def _age(age_us: int) -> str:
    seconds = max(0, age_us) / 1e6
    return next((f"{seconds / size:.0f} {unit}" for size, unit in _UNITS if seconds >= size), f"{seconds:.0f} s")


_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def _as_json(one: ModelStatus, now_us: int, gone: bool) -> dict[str, Any]:
    from dataclasses import asdict

    values = asdict(one)
    del values["model_name"], values["at_us"]
    return values | {"gone": gone, "seen_s": round((now_us - one.at_us) / 1e6, 3)}
