"""``fixstream replay``: recordings on disk to captures on Kafka, at their own pace or another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    files: Annotated[list[Path], typer.Argument(help="KiwiSDR recordings of one moment, one a receiver")],
    network: Annotated[Path, typer.Option(help="the network's YAML file: where the receivers stand")],
    capture_seconds: Annotated[float, typer.Option(help="length of one capture, seconds")] = 1.0,
    speed: Annotated[float, typer.Option(min=0, help="1: as it was; 10: ten times that; 0: as fast as it goes")] = 1.0,
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka brokers, host:port; default: FIXSTREAM_BOOTSTRAP_SERVERS")
    ] = None,
) -> None:
    """Replay recordings of one moment as captures on Kafka."""
    from stream_app.cli.sending import Timed, send_all
    from stream_app.network.file import load_network
    from stream_app.network.kiwisdr import read_kiwisdr
    from stream_app.network.replay import captures_of
    from stream_app.settings import load_settings

    where = load_network(network)
    captures = list(captures_of([read_kiwisdr(file) for file in files], where, capture_seconds))
    begin_us = captures[0].captured_at_us
    pace = 1e-6 / speed if speed else 0.0
    timed = (Timed((capture.captured_at_us - begin_us) * pace, capture) for capture in captures)
    settings = load_settings(bootstrap_servers=bootstrap)
    sent = send_all(timed, settings, len(captures))
    typer.echo(f"{sent} captures sent to {settings.captures_topic}", err=True)
