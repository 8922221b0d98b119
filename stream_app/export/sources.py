"""Where exported rows come from: a topic, or JSON lines. Rows come in parts, each written before the next is read."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from confluent_kafka import Message

from stream_app.errors import FixesFileError, UndecodableRecord
from stream_app.export.rows import Row, fix_row, json_row, track_row
from stream_app.export.writers import Kind
from stream_app.kafka.follow import TopicFollower
from stream_app.records.codec import Codecs
from stream_app.settings import Settings

_SILENCE_S = 30.0
_TICK_S = 0.2
_LONGEST_LINE = 2**20
_GULP = 500


class Ending:
    """Whether the user wants an end. It comes between two parts, so that the document can be closed."""

    def __init__(self) -> None:
        self.asked = False
        self.waiting = False  # for input, that may never come

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for it meanwhile."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def ask(self, *_: object) -> None:
        """A signal's handler."""
        self.asked = True
        if self.waiting:
            raise KeyboardInterrupt


class LeftOut:
    """Records that are no rows: how many, and why the first of them."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, what: str) -> None:
        """One more."""
        self.first = self.first or what
        self.count += 1


def topic_rows(
    settings: Settings,
    kind: Kind,
    since_ms: int | None,
    follow: bool,
    from_start: bool,
    ending: Ending,
    left_out: LeftOut,
) -> Iterator[Sequence[Row]]:
    """The rows of positions or tracks; parts of a topic that is followed may be empty. Raises BrokerUnavailable."""
    codecs = Codecs(settings.schema_dir)
    topic = settings.positions_topic if kind == "fix" else settings.tracks_topic

    def row_of(value: bytes) -> Row:
        return fix_row(codecs.decode_fix(value)) if kind == "fix" else track_row(codecs.decode_track(value))

    with closing(TopicFollower(settings, topic, from_start or not follow)) as follower:
        if since_ms is not None:
            follower.go_to_time(since_ms)
        for messages in _polled(follower, ending) if follow else follower.parts_to_end(_SILENCE_S):
            # A tombstone says that nobody needs the track any more; its last record said that it ended.
            values = (
                (f"{m.topic()} {m.partition()}:{m.offset()}", value)
                for m in messages
                if (value := m.value()) is not None
            )
            yield list(_rows(values, row_of, left_out))
            if ending.asked:
                return


def file_rows(names: Sequence[str], ending: Ending) -> Iterator[Sequence[Row]]:
    """The fixes of files of JSON lines, "-" for standard input. Raises FixesFileError, which names file and line."""
    for name in names:
        shown = "standard input" if name == "-" else name
        with ExitStack() as stack:
            try:
                file = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            except OSError as error:
                raise FixesFileError(f"{name}: cannot be read: {error.strerror}") from error
            part: list[Row] = []
            # What comes through a pipe is passed on at once: someone may be watching.
            gulp = _GULP if os.path.isfile(name) else 1
            for number, line in enumerate(_lines(file, shown, ending), 1):
                if line.strip():
                    try:
                        part.append(json_row(line))
                    except ValueError as error:
                        raise FixesFileError(f"{shown}: line {number} is no fix: {error}") from error
                if len(part) >= gulp:
                    yield part
                    part = []
            yield part
            if ending.asked:
                return


def _polled(follower: TopicFollower, ending: Ending) -> Iterator[Sequence[Message]]:
    while not ending.asked:
        yield follower.poll(_TICK_S)


def _rows(values: Iterable[tuple[str, bytes]], row_of: Callable[[bytes], Row], left_out: LeftOut) -> Iterator[Row]:
    for place, value in values:
        try:
            yield row_of(value)
        except (UndecodableRecord, ValueError) as error:
            left_out.add(f"{place}: {error}")


def _lines(file: BinaryIO, shown: str, ending: Ending) -> Iterator[bytes]:
    while not ending.asked:
        try:
            ending.waiting = True
            line = file.readline(_LONGEST_LINE + 1)
            ending.waiting = False
        except KeyboardInterrupt:
            return
        except OSError as error:
            raise FixesFileError(f"{shown}: cannot be read: {error.strerror}") from error
        if len(line) > _LONGEST_LINE:
            raise FixesFileError(f"{shown}: a line is longer than {_LONGEST_LINE} bytes: it is no fix")
        if not line:
            return
        yield line
