"""``fixstream demo``: a broker, a registry, a worker and a network in one command, and the fixes they make."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_app.cli.fixes import FixTable, SeenFix
    from stream_app.cli.local import LocalSystem
    from stream_app.cli.sending import Timed
    from stream_app.network.file import Network

_LAST_WAIT_S = 10.0


def demo(
    network: Annotated[Path | None, typer.Option(help="the network's YAML file; default: the demo network")] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="a folder of KiwiSDR, WAV or SigMF recordings, or of fixstream record, to play")
    ] = None,
    capture_seconds: Annotated[float, typer.Option(help="length of a capture of recordings, seconds")] = 1.0,
    at: Annotated[str | None, typer.Option(help="where the recordings' emitter is, LATITUDE,LONGITUDE")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="stop after so long; default: at Ctrl-C")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="captures a second")] = 10.0,
    repeats: Annotated[float, typer.Option(min=0, max=0.99, help="share of simulated captures that repeat")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="of the simulator")] = 0,
    json_lines: Annotated[bool, typer.Option("--json", help="one JSON line a fix instead of the table")] = False,
    with_map: Annotated[
        bool | None, typer.Option("--map/--no-map", help="the live map in the browser; default: unless --json")
    ] = None,
) -> None:
    """Show FixStream at work on this machine alone: embedded broker and registry, a worker, a receiver network."""
    from rich.live import Live

    from stream_app.cli.fixes import FixTable
    from stream_app.cli.local import LocalSystem
    from stream_app.network.file import load_network
    from stream_app.resources import example_network

    if recordings is not None and network is None:
        raise typer.BadParameter("--recordings needs --network: the file that says where their receivers stand")
    file = network or example_network("demo")
    where = load_network(file)
    step_s = 1 / rate
    captures = (
        _simulated(where, step_s, repeats, seed)
        if recordings is None
        else _recorded(where, recordings, step_s, capture_seconds, at)
    )
    seen: list[SeenFix] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fixstream-demo-")))
        print(f"Starting the embedded broker, the registry and a worker for network {where.name} ...", file=sys.stderr)
        system = stack.enter_context(LocalSystem(where, folder))
        if with_map or (with_map is None and not json_lines):
            _show_map(system, file)
        table = FixTable(where.name)
        with nullcontext() if json_lines else Live(table, refresh_per_second=4):
            try:
                for fix in _fixes(system, captures, seconds):
                    seen.append(fix)
                    _show(fix, table, json_lines)
            except KeyboardInterrupt:
                pass  # the way to end a demo: the summary follows
    if not json_lines and not sys.stdout.isatty():
        print()  # a live table that is not on a terminal ends without
    print(_summary(where, seen), file=sys.stderr)


def _show_map(system: LocalSystem, network: Path) -> None:
    """The map's address on standard error, and the map in the browser where there is one. A demo goes on without."""
    from stream_app.cli.browser import open_in_browser

    address = system.start_map([network])
    if address is None:
        print(f"There is no map: {system.complaint('map')}", file=sys.stderr)
        return
    print(f"The map is at {address}", file=sys.stderr)
    open_in_browser(address)


def _summary(network: Network, seen: list[SeenFix]) -> str:
    """What the fixes were worth, where the truth is known."""
    from stream_app.cli.evaluate import StatedFix, compare, report_text
    from stream_app.network.motion import Paths

    stated, places = {}, {}
    for item in seen:
        fix = item.fix
        stated[fix.capture_id] = StatedFix.of(fix)
        if item.truth is not None:
            places[fix.capture_id] = (item.truth.latitude, item.truth.longitude)
    if not places:
        return f"{len(seen)} fixes"
    return report_text(compare(stated, places), Paths(network).longest_baseline_m() / 1e3)


def _show(seen: SeenFix, table: FixTable, json_lines: bool) -> None:
    if json_lines:
        print(json.dumps(seen.as_json()), flush=True)
    else:
        table.add(seen)


def _fixes(system: LocalSystem, captures: Iterator[Timed], seconds: float | None) -> Iterator[SeenFix]:
    """Feeds captures when they are due, and yields the fixes that come back, to the last."""
    begin, sent, answered = time.monotonic(), 0, 0
    following = next(captures, None)
    while following is not None and (seconds is None or time.monotonic() - begin < seconds):
        due: list[Timed] = []
        while following is not None and following.due_s <= time.monotonic() - begin and len(due) < 32:
            due.append(following)
            following = next(captures, None)
        system.send(due)
        sent += len(due)
        for fix in system.fixes(0.05):
            answered += 1
            yield fix
    deadline = time.monotonic() + _LAST_WAIT_S
    while answered < sent and time.monotonic() < deadline:
        for fix in system.fixes(0.1):
            answered += 1
            yield fix
    if answered < sent:
        print(f"{sent - answered} captures were not answered: {system.complaint()}", file=sys.stderr)


def _simulated(network: Network, step_s: float, repeats: float, seed: int) -> Iterator[Timed]:
    from stream_app.errors import NetworkFileError

    if not network.emitters:
        raise NetworkFileError(f"network {network.name} has no emitters to simulate: add some, or give --recordings")
    return _from_now(network, step_s, repeats, seed)


def _from_now(network: Network, step_s: float, repeats: float, seed: int) -> Iterator[Timed]:
    """Captures of the moments at which they are sent: their emitters move as fast as they say, and ages are true."""
    from datetime import UTC, datetime

    from stream_app.cli.sending import Timed
    from stream_app.network.simulator import Simulator

    simulation = network.simulation.model_copy(update={"start_time": datetime.now(UTC), "interval_s": step_s})
    pairs = Simulator(network.model_copy(update={"simulation": simulation}), seed).captures(None, repeats)
    for number, (capture, truth) in enumerate(pairs):
        yield Timed(number * step_s, capture, truth)


def _recorded(network: Network, folder: Path, step_s: float, capture_seconds: float, at: str | None) -> Iterator[Timed]:
    from stream_app.cli.evaluate import parse_place
    from stream_app.cli.sending import Timed
    from stream_app.network.sources import Given, captures_from
    from stream_app.network.truth import Truth

    files = sorted(file for kind in ("*.wav", "*.sigmf-meta", "*.sigmf") for file in folder.glob(kind))
    place = None if at is None else parse_place(at)
    _, captures = captures_from(files or [folder], network, capture_seconds, Given())
    return (
        Timed(number * step_s, capture, None if place is None else Truth(capture.capture_id, "emitter", *place))
        for number, capture in enumerate(captures)
    )
