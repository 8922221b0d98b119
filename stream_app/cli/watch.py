"""``fixstream watch``: the fixes of a running system."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_app.cli.fixes import FixReader
    from stream_app.records.fix import Fix


def watch(
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka brokers, host:port; default: FIXSTREAM_BOOTSTRAP_SERVERS")
    ] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="begin with the oldest fix that is kept")] = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="stop after so long; default: at Ctrl-C")] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="one JSON line a fix instead of the table")] = False,
) -> None:
    """Watch the positions topic of a running system."""
    from rich.live import Live

    from stream_app.cli.fixes import FixReader, FixTable, SeenFix
    from stream_app.settings import load_settings

    settings = load_settings(bootstrap_servers=bootstrap)
    reader = FixReader(settings, from_start)
    table = FixTable(f"{settings.positions_topic} at {settings.bootstrap_servers}")
    try:
        with nullcontext() if json_lines else Live(table, refresh_per_second=4):
            for fix in _until(reader, seconds):
                seen = SeenFix(fix)
                if json_lines:
                    print(json.dumps(seen.as_json()), flush=True)
                else:
                    table.add(seen)
    finally:
        reader.close()


def _until(reader: FixReader, seconds: float | None) -> Iterator[Fix]:
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        yield from reader.read(0.1)
