"""``fixstream demo``: a broker, a registry, a worker and a network in one command, and the fixes they make."""

from __future__ import annotations

import heapq
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_app.cli.fixes import FixTable, SeenFix
    from stream_app.cli.local import LocalSystem
    from stream_app.cli.sending import Timed
    from stream_app.network.file import Network
    from stream_app.records.capture import IqCapture

_LAST_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Play:
    """What one network's receivers are to hear."""

    file: Path
    network: Network
    captures: Iterator[Timed]


def demo(
    network: Annotated[Path | None, typer.Option(help="the network's YAML file; default: the demo network")] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(help="a folder of KiwiSDR, WAV or SigMF recordings, or of fixstream record, played beside"),
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
    """Show FixStream at work on this machine alone: receivers that know nothing of each other, assembled, located,
    tracked and on a map, with an embedded broker and registry.

    Simulated emitters move in real time. Recordings are played beside them, or alone where the network has no
    emitters; their network is --network, or the example that has their receivers.
    """
    from rich.live import Live

    from stream_app.cli.fixes import FixTable
    from stream_app.cli.local import LocalSystem

    plays = _plays(network, recordings, capture_seconds, at, rate, repeats, seed)
    seen: list[SeenFix] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fixstream-demo-")))
        names = " and ".join(play.network.name for play in plays)
        print(f"Starting broker, registry, assembler, worker and tracker for network {names} ...", file=sys.stderr)
        system = stack.enter_context(LocalSystem([play.file for play in plays], folder))
        if with_map or (with_map is None and not json_lines):
            _show_map(system)
        table = FixTable(names)
        with nullcontext() if json_lines else Live(table, refresh_per_second=4):
            try:
                captures = heapq.merge(*(play.captures for play in plays), key=lambda timed: timed.due_s)
                for fix in _fixes(system, captures, seconds):
                    seen.append(fix)
                    _show(fix, table, json_lines)
            except KeyboardInterrupt:
                pass  # the way to end a demo: the summary follows
    if not json_lines and not sys.stdout.isatty():
        print()  # a live table that is not on a terminal ends without
    for play in plays:
        print(_summary(play.network, [each for each in seen if each.fix.network == play.network.name]), file=sys.stderr)


def _plays(
    network: Path | None,
    recordings: Path | None,
    capture_seconds: float,
    at: str | None,
    rate: float,
    repeats: float,
    seed: int,
) -> list[Play]:
    """What is simulated, and what is recorded."""
    from stream_app.errors import NetworkFileError
    from stream_app.network.file import load_network
    from stream_app.resources import example_network

    file = network or example_network("demo")
    where = load_network(file)
    plays = []
    if where.emitters:
        plays.append(Play(file, where, _simulated(where, 1 / rate, repeats, seed)))
    elif recordings is None:
        raise NetworkFileError(f"network {where.name} has no emitters to simulate: add some, or give --recordings")
    if recordings is not None:
        step_s = capture_seconds if plays else 1 / rate
        candidates = [file] if network else sorted(file.parent.glob("*.yaml"))
        plays.append(_recorded(candidates, recordings, step_s, capture_seconds, at))
    if len({play.network.name for play in plays}) < len(plays):
        raise NetworkFileError(f"network {where.name} is simulated and recorded: one name cannot be both")
    return plays


def _show_map(system: LocalSystem) -> None:
    """The map's address on standard error, and the map in the browser where there is one. A demo goes on without."""
    from stream_app.cli.browser import open_in_browser
    from stream_app.errors import WorkerFailed

    try:
        address = system.start_map()
    except WorkerFailed as error:
        print(f"There is no map: {error}", file=sys.stderr)
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
        return f"network {network.name}: {len(seen)} fixes"
    longest_km = Paths(network).longest_baseline_m() / 1e3
    return (
        f"network {network.name}: receivers up to {longest_km:.1f} km apart\n"
        f"{report_text(compare(stated, places), None)}"
    )


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
    """Emitters that move from the first capture on, as time goes."""
    from stream_app.cli.sending import Timed
    from stream_app.network.simulator import Simulator

    now = {"start_time": datetime.now(UTC).replace(microsecond=0), "interval_s": step_s}
    live = network.model_copy(update={"simulation": network.simulation.model_copy(update=now)})
    for number, (capture, truth) in enumerate(Simulator(live, seed).captures(None, repeats)):
        yield Timed(number * step_s, capture, truth)


def _recorded(candidates: Sequence[Path], folder: Path, step_s: float, capture_seconds: float, at: str | None) -> Play:
    """The folder's recordings, in the first of the networks that has their receivers, or what was recorded of it."""
    from stream_app.cli.evaluate import parse_place
    from stream_app.errors import NetworkFileError
    from stream_app.network.file import load_network
    from stream_app.network.sources import Given, captures_from

    files = sorted(file for kind in ("*.wav", "*.sigmf-meta", "*.sigmf") for file in folder.glob(kind))
    place = None if at is None else parse_place(at)
    problem: NetworkFileError | None = None
    for file in candidates:
        network = load_network(file)
        try:
            _, captures = captures_from(files or [folder], network, capture_seconds, Given())
            first = next(captures, None)
            if first is not None and first.network != network.name:
                raise NetworkFileError(f"{folder}: the captures are of network {first.network}, give its --network")
        except NetworkFileError as error:
            problem = problem or error
            continue
        return Play(file, network, _timed(filter(None, chain([first], captures)), step_s, place))
    raise problem or NetworkFileError("there is no file of a network that may be the recordings': give --network")


def _timed(captures: Iterable[IqCapture], step_s: float, place: tuple[float, float] | None) -> Iterator[Timed]:
    from stream_app.cli.sending import Timed
    from stream_app.network.truth import Truth

    for number, capture in enumerate(captures):
        truth = None if place is None else Truth(capture.capture_id, "emitter", *place)
        yield Timed(number * step_s, capture, truth)
