"""``fixstream dlq``: dead letters listed, looked into, and sent back."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.cli.deploy import Bootstrap

if TYPE_CHECKING:
    from stream_app.cli.letters import Tally
    from stream_app.kafka.dead_letters import Letter, Replayer, Wanted

app = typer.Typer(help="List dead letters, look into one, send them back.", no_args_is_help=True)
_ROWS = 50
_BATCH, _BATCH_BYTES = 200, 16 * 2**20

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="the code, such as unknown-schema; repeatable")]
Since = Annotated[str | None, typer.Option(help="not before: ISO 8601, or how long ago, such as 30m, 2h, 7d")]
Until = Annotated[str | None, typer.Option(help="before: the same")]
Version = Annotated[str | None, typer.Option(help="a model version that could not answer")]
Topic = Annotated[str | None, typer.Option(help="the topic that the captures came from")]


@app.command("list")
def list_(
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    version: Version = None,
    topic: Topic = None,
    json_lines: Annotated[bool, typer.Option("--json", help="one JSON line each instead of the table")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"the newest N; default: {_ROWS} in the table, all of them as JSON")
    ] = None,
    bootstrap: Bootstrap = None,
) -> None:
    """List dead letters, the newest last, and count them by reason."""
    from rich.console import Console

    from stream_app.cli.letters import Tally, as_json, table_of
    from stream_app.kafka.dead_letters import letters
    from stream_app.settings import load_settings

    wanted = _wanted(reason, since, until, version, topic)
    settings = load_settings(bootstrap_servers=bootstrap)
    tally = Tally()
    found = tally.over(letters(settings, wanted))
    if json_lines:
        for letter in found if limit is None else _newest(found, limit):
            print(json.dumps(as_json(letter)))
    else:
        shown = _newest(found, limit or _ROWS)
        title = f"{settings.dead_letter_topic} at {settings.bootstrap_servers}"
        if tally.total > len(shown):
            title += f": the newest {len(shown)}"
        if shown:
            Console().print(table_of(shown, title))
    typer.echo(str(tally), err=json_lines)


@app.command()
def show(
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="the dead letter, as list names it")],
    raw: Annotated[Path | None, typer.Option(metavar="FILE", help="write the capture's bytes there")] = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Show one dead letter: its headers, what its capture holds or why it does not decode, its first bytes."""
    from stream_app.cli.letters import in_full
    from stream_app.errors import DeadLetterError, SettingsError
    from stream_app.kafka.dead_letters import letter_at
    from stream_app.records.codec import Codecs
    from stream_app.settings import load_settings

    partition, _, offset = place.partition(":")
    if not (place.isascii() and partition.isdigit() and offset.isdigit()):
        raise SettingsError(f"{place!r} names no dead letter: give PARTITION:OFFSET as fixstream dlq list shows it")
    settings = load_settings(bootstrap_servers=bootstrap)
    letter = letter_at(settings, int(partition), int(offset))
    if letter is None:
        raise DeadLetterError(
            f"there is no dead letter {place} in {settings.dead_letter_topic}: fixstream dlq list shows those there are"
        )
    for line in in_full(letter, Codecs(settings.schema_dir)):
        typer.echo(line)
    if raw is not None:
        try:
            raw.write_bytes(letter.value)
        except OSError as error:
            raise DeadLetterError(f"{raw}: cannot be written: {error.strerror}") from error


@app.command()
def replay(
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    version: Version = None,
    topic: Topic = None,
    every: Annotated[bool, typer.Option("--all", help="all dead letters; needed where no filter is given")] = False,
    again: Annotated[bool, typer.Option("--again", help="those that were replayed before, too")] = False,
    to: Annotated[str | None, typer.Option(metavar="TOPIC", help="default: the topic each came from")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say how many would go, and send none")] = False,
    bootstrap: Bootstrap = None,
) -> None:
    """Send dead letters back to the topic they came from, bytes and key untouched, each one once.

    Exit code 1 where some cannot go.
    """
    from stream_app.cli.letters import Tally
    from stream_app.errors import SettingsError
    from stream_app.kafka.dead_letters import Replayer, Wanted, letters
    from stream_app.settings import load_settings

    wanted = _wanted(reason, since, until, version, topic)
    if every == (wanted != Wanted()):
        raise SettingsError("say which dead letters: by --reason, --since, --until, --version, --topic, or else --all")
    settings = load_settings(bootstrap_servers=bootstrap)
    replayer = Replayer(settings, to)
    if not dry_run:
        replayer.open()
    tally, report = Tally(), _Report(dry_run)
    try:
        for batch in _batches(tally.over(letters(settings, wanted)), again):
            report.take(batch, replayer)
    finally:  # also of a replay that fails or is stopped: what went is committed
        report.say(tally, again)
    raise typer.Exit(1 if report.left_out else 0)


class _Report:
    """What became of the letters; on a dry run, what would."""

    def __init__(self, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._sent: dict[str, Counter[str]] = defaultdict(Counter)  # by topic
        self.left_out: dict[str, Counter[str]] = defaultdict(Counter)  # by why

    def take(self, batch: list[Letter], replayer: Replayer) -> None:
        """Sends those that can be sent, and counts them all."""
        refused = [(letter, why) for letter in batch if (why := replayer.why_not(letter)) is not None]
        staying = {letter.place for letter, _ in refused}
        going = [letter for letter in batch if letter.place not in staying]
        if going and not self._dry_run:
            refused += replayer.send(going)
            staying = {letter.place for letter, _ in refused}
        for letter in going:
            if letter.place not in staying:
                self._sent[replayer.target(letter)][letter.about.code] += 1
        for letter, why in refused:
            self.left_out[why][letter.about.code] += 1

    def say(self, tally: Tally, again: bool) -> None:
        """A line for each topic, and for each cause why some were left out."""
        from stream_app.cli.letters import counted, reasons

        if not tally.total:
            typer.echo("no dead letters")
        for topic, counts in self._sent.items():
            verb = "would replay" if self._dry_run else "replayed"
            typer.echo(f"{verb} {counted(counts.total())} to {topic} ({reasons(counts)})")
        if tally.replayed and not again:
            typer.echo(f"left out {counted(tally.replayed)} replayed before; --again sends them once more")
        for why, counts in self.left_out.items():
            typer.echo(f"left out {counted(counts.total())} ({reasons(counts)}): {why}")


def _wanted(
    reason: list[str] | None, since: str | None, until: str | None, version: str | None, topic: str | None
) -> Wanted:
    from stream_app.cli.times import parse_time
    from stream_app.kafka.dead_letters import Wanted

    now_s = time.time()
    since_ms, until_ms = (None if text is None else parse_time(text, now_s) for text in (since, until))
    return Wanted(frozenset(reason or ()), since_ms, until_ms, version, topic)


def _newest(letters: Iterable[Letter], count: int) -> list[Letter]:
    """The newest, oldest of them first, without the captures' bytes: they may be many megabytes each."""
    from dataclasses import replace
    from heapq import nlargest

    lean = (replace(letter, value=b"") for letter in letters)
    return nlargest(count, lean, key=lambda letter: (letter.at_ms, letter.partition, letter.offset))[::-1]


def _batches(letters: Iterable[Letter], again: bool) -> Iterator[list[Letter]]:
    """What is sent in one transaction: bounded in number and bytes."""
    batch: list[Letter] = []
    held = 0
    for letter in letters:
        if letter.replayed and not again:
            continue
        if batch and (len(batch) == _BATCH or held + letter.size > _BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(letter)
        held += letter.size
    if batch:
        yield batch
