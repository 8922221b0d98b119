"""``fixstream simulate``: a network file's emitters to captures on Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    network: Annotated[Path, typer.Option(help="the network's YAML file, with its emitters")],
    count: Annotated[int | None, typer.Option(min=1, help="captures to send; default: until Ctrl-C")] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="captures a second; 0: as fast as they go; default: the file's interval_s"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same captures")] = 0,
    repeats: Annotated[
        float, typer.Option(min=0, max=0.99, help="share of captures that repeat an earlier one's samples")
    ] = 0.0,
    truth: Annotated[
        Path | None, typer.Option(help="where to write the true positions, one JSON line a capture")
    ] = None,
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka brokers, host:port; default: FIXSTREAM_BOOTSTRAP_SERVERS")
    ] = None,
) -> None:
    """Simulate a receiver network and send its captures to Kafka."""
    from stream_app.cli.sending import Timed, send_all
    from stream_app.network.file import load_network
    from stream_app.network.simulator import Simulator
    from stream_app.settings import load_settings

    where = load_network(network)
    if rate is None:
        rate = 1 / where.simulation.interval_s
    step_s = 1 / rate if rate else 0.0
    captures = Simulator(where, seed).captures(count, repeats)
    timed = (Timed(number * step_s, capture, place) for number, (capture, place) in enumerate(captures))
    settings = load_settings(bootstrap_servers=bootstrap)
    sent = send_all(timed, settings, count, truth)
    typer.echo(f"{sent} captures sent to {settings.captures_topic}", err=True)
