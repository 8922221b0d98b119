"""Dead letters for people: as a table, as JSON, in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from stream_app.cli.times import iso_time
from stream_app.errors import CaptureError
from stream_app.kafka.dead_letters import Letter
from stream_app.records.codec import Codecs

_MESSAGE_CHARS = 78
_HEX_BYTES, _HEX_ROW = 128, 16


class Tally:
    """Counts letters as they go by."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()
        self.replayed = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.by_reason.total()

    def over(self, letters: Iterable[Letter]) -> Iterator[Letter]:
        """The same letters, counted."""
        for letter in letters:
            self.by_reason[letter.about.code] += 1
            self.replayed += letter.replayed
            yield letter

    def __str__(self) -> str:
        """As in 42 dead letters (undecodable 40, unknown-schema 2), 7 of them replayed before."""
        if not self.total:
            return "no dead letters"
        before = f", {self.replayed} of them replayed before" if self.replayed else ""
        return f"{counted(self.total)} ({reasons(self.by_reason)}){before}"


def counted(count: int) -> str:
    """As in 1 dead letter, 2 dead letters."""
    return f"{count} dead letter{'' if count == 1 else 's'}"


def reasons(counts: Counter[str]) -> str:
    """As in undecodable 40, unknown-schema 2: the most frequent first."""
    return ", ".join(f"{printable(code)} {count}" for code, count in counts.most_common())


def table_of(letters: Iterable[Letter], title: str) -> Table:
    """A few lines a letter, within 80 columns; the message is cut."""
    table = Table(title=title, title_justify="left", expand=False, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("letter, UTC", no_wrap=True)
    for name, width in (("reason", 15), ("came from", 17), ("message", 26)):
        table.add_column(name, max_width=width, overflow="fold")
    for letter in letters:
        about = letter.about
        when = datetime.fromtimestamp(letter.at_ms / 1e3, UTC).strftime("%m-%d %H:%M:%S")
        why = [about.code]
        if about.versions:
            why.append(f"version {','.join(about.versions)}")
        if about.replays:
            why.append(f"after replay {about.replays}")
        if letter.replayed:
            why.append("replayed")
        origin = [about.topic or "", _source(letter), _size(letter.size)]
        table.add_row(*map(_cell, ([letter.place, when], why, origin, [_cut(about.message)])))
    return table


def as_json(letter: Letter) -> dict[str, Any]:
    """The letter without the capture's bytes."""
    about = letter.about
    return {
        "letter": letter.place,
        "time": iso_time(letter.at_ms),
        "reason": about.code,
        "message": about.message,
        "topic": about.topic,
        "partition": about.partition,
        "offset": about.offset,
        "versions": list(about.versions),
        "release": about.release,
        "replays": about.replays,
        "replayed": letter.replayed,
        "key": _key(letter),
        "size": letter.size,
    }


def in_full(letter: Letter, codecs: Codecs) -> Iterator[str]:
    """Lines: where it is, all that its headers say, what the capture holds or why not, its first bytes."""
    about = letter.about
    facts = {
        "letter": letter.place,
        "time": iso_time(letter.at_ms),
        "reason": about.code,
        "message": about.message,
        "came from": f"{about.topic or ''} {_source(letter)}",
        "version": ", ".join(about.versions) or "no model looked at it",
        "release": about.release or "not said",
        "replays": f"{about.replays} before this dead letter" if about.replays else "none before this dead letter",
        "replayed": "yes" if letter.replayed else "no",
        "key": "none" if letter.key is None else _key(letter) or "empty",
        "size": f"{letter.size} bytes",
    }
    for name, value in facts.items():
        yield f"{name:10}{printable(value)}".rstrip()
    yield ""
    for line in _capture(letter.value, codecs):
        yield printable(line)
    yield ""
    for begin in range(0, min(letter.size, _HEX_BYTES), _HEX_ROW):
        row = letter.value[begin : min(begin + _HEX_ROW, _HEX_BYTES)]
        signs = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{begin:04x}  {row.hex(' '):{3 * _HEX_ROW}} {signs}"
    if letter.size > _HEX_BYTES:
        yield f"... {letter.size - _HEX_BYTES} more bytes: --raw FILE writes them all"


def printable(text: str) -> str:
    """The text with escapes for what would move a terminal's cursor: it may come from anyone's capture."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _capture(value: bytes, codecs: Codecs) -> Iterator[str]:
    try:
        capture = codecs.decode_capture(value)
    except CaptureError as error:
        yield f"It does not decode here and now: {error.code}: {error}"
        return
    yield "It decodes here and now:"
    yield f"capture {capture.capture_id!r} of network {capture.network!r}, {capture.center_frequency_hz / 1e6:.6f} MHz"
    yield f"captured at {capture.captured_at_us} µs after 1970, {len(capture.channels)} channels"
    for channel in capture.channels:
        yield (
            f"  {channel.receiver_id}: {channel.sample_count} samples {channel.datatype}, "
            f"{channel.sample_rate_hz:g} Hz, at {channel.latitude:.5f} {channel.longitude:.5f}"
        )


def _source(letter: Letter) -> str:
    about = letter.about
    return "" if about.partition is None or about.offset is None else f"{about.partition}:{about.offset}"


def _key(letter: Letter) -> str | None:
    return None if letter.key is None else letter.key.decode(errors="backslashreplace")


def _size(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def _cut(message: str) -> str:
    return message if len(message) <= _MESSAGE_CHARS else message[: _MESSAGE_CHARS - 1] + "…"


def _cell(lines: list[str]) -> Text:
    """As Text: brackets in it are no markup."""
    return Text("\n".join(printable(line) for line in lines))
