"""``fixstream export``: fixes and tracks in the formats of others' tools."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from stream_app.errors import ExportFailed

if TYPE_CHECKING:
    from stream_app.export.rows import Row
    from stream_app.export.sources import Ending, LeftOut
    from stream_app.export.writers import Kind, Writer


class Format(StrEnum):
    """What can be written."""

    GEOJSON = "geojson"
    KML = "kml"
    CSV = "csv"
    COT = "cot"
    AVRO = "avro"


class Topic(StrEnum):
    """What can be read."""

    POSITIONS = "positions"
    TRACKS = "tracks"


def export(
    form: Annotated[Format, typer.Option("--format", help="geojson lines, kml, csv, cot events or avro")],
    files: Annotated[
        list[str] | None,
        typer.Argument(help="fixes as JSON lines (watch --json), - for standard input; default: the topic"),
    ] = None,
    topic: Annotated[Topic, typer.Option(help="what to read from Kafka")] = Topic.POSITIONS,
    from_start: Annotated[bool, typer.Option("--from-start", help="with --follow: the topic's past as well")] = False,
    since: Annotated[str | None, typer.Option(help="begin there: 2h, 30m, or 2026-05-01T03:00:00Z")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="go on with what comes, until Ctrl-C")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="stop after so many")] = None,
    out: Annotated[Path | None, typer.Option(help="the file to write; default: standard output")] = None,
    send: Annotated[str | None, typer.Option(help="cot only: udp://HOST:PORT or tcp://HOST:PORT")] = None,
    stale: Annotated[float, typer.Option(min=1.0, help="cot only: how long an event is shown, seconds")] = 60.0,
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka brokers, host:port; default: FIXSTREAM_BOOTSTRAP_SERVERS")
    ] = None,
) -> None:
    """Write fixes or tracks as GeoJSON lines, KML, CSV, Cursor-on-Target events or Avro.

    Without --follow: what the topic holds now. Ctrl-C ends the document as it should end.
    """
    from stream_app.export.sources import Ending, LeftOut

    if files and (topic is Topic.TRACKS or from_start or since or follow):
        raise typer.BadParameter("files hold fixes: --topic, --from-start, --since and --follow are for Kafka")
    if send is not None and (form is not Format.COT or out is not None):
        raise typer.BadParameter("--send is for --format cot, without --out")
    ending, left_out = Ending(), LeftOut()
    kind: Kind = "fix" if topic is Topic.POSITIONS else "track"
    with ending.by_signals():
        parts = _parts(kind, files, from_start, since, follow, bootstrap, ending, left_out)
        _write(parts, form, kind, count, out, send, stale)
    if left_out.count:
        typer.echo(f"{left_out.count} records were left out, the first one: {left_out.first}", err=True)


def _parts(
    kind: Kind,
    files: list[str] | None,
    from_start: bool,
    since: str | None,
    follow: bool,
    bootstrap: str | None,
    ending: Ending,
    left_out: LeftOut,
) -> Iterator[Sequence[Row]]:
    import time

    from stream_app.cli.times import parse_time
    from stream_app.export.sources import file_rows, topic_rows
    from stream_app.settings import load_settings

    if files:
        return file_rows(files, ending)
    since_ms = None if since is None else parse_time(since, time.time())
    settings = load_settings(bootstrap_servers=bootstrap)
    return topic_rows(settings, kind, since_ms, follow, from_start, ending, left_out)


def _write(
    parts: Iterable[Sequence[Row]],
    form: Format,
    kind: Kind,
    count: int | None,
    out: Path | None,
    send: str | None,
    stale_s: float,
) -> None:
    try:
        with _opened(out, send) as file:
            writer = _writer(form, kind, file, stale_s)
            try:
                _fill(writer, parts, count)
            finally:
                writer.close()
    except BrokenPipeError as error:
        if send is not None:
            raise ExportFailed(f"{send}: the receiver has closed the connection") from error
        # Else whoever reads has enough.
    except OSError as error:
        raise ExportFailed(f"{send or out or 'standard output'}: cannot be written: {error.strerror}") from error


def _fill(writer: Writer, parts: Iterable[Sequence[Row]], count: int | None) -> None:
    left = count
    for part in parts:
        chosen = part if left is None else part[:left]
        for row in chosen:
            writer.write(row)
        if chosen:
            writer.flush()
        if left is not None:
            left -= len(chosen)
            if not left:
                return


def _writer(form: Format, kind: Kind, file: BinaryIO, stale_s: float) -> Writer:
    from stream_app.export.cot import CotEvents
    from stream_app.export.kml import KmlDocument
    from stream_app.export.writers import AvroContainer, CsvTable, GeoJsonLines

    if form is Format.COT:
        return CotEvents(file, stale_s)
    makers: dict[Format, Callable[[BinaryIO, Kind], Writer]] = {
        Format.GEOJSON: GeoJsonLines,
        Format.KML: KmlDocument,
        Format.CSV: CsvTable,
        Format.AVRO: AvroContainer,
    }
    return makers[form](file, kind)


@contextmanager
def _opened(out: Path | None, send: str | None) -> Iterator[BinaryIO]:
    from stream_app.export.sending import connected

    if send is not None:
        with connected(send) as file:
            yield file
    elif out is not None:
        with out.open("wb") as file:
            yield file
    else:
        yield sys.stdout.buffer
