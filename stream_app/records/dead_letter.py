"""What a dead letter says of itself in its headers; its value and key are the capture's own, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as version_of

from stream_app.errors import FixStreamError

Headers = Sequence[tuple[str, bytes | None]]

CODE = "fixstream-code"
MESSAGE = "fixstream-message"
TOPIC, PARTITION, OFFSET = "fixstream-topic", "fixstream-partition", "fixstream-offset"
VERSION = "fixstream-version"  # of the model; several with commas between them
RELEASE = "fixstream-release"  # of FixStream
# On a capture that was sent again, and the count on its next dead letter, too.
REPLAYS, REPLAYED_FROM = "fixstream-replays", "fixstream-replayed-from"
# On the record without a value that marks a dead letter of the same partition as replayed: its offset.
REPLAYED = "fixstream-replayed"
REPLAYED_TO = "fixstream-replayed-to"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a capture was not answered, where it stood, and by which versions. None: the headers do not say."""

    code: str
    message: str
    topic: str | None
    partition: int | None
    offset: int | None
    versions: tuple[str, ...] = ()  # of the model, that were tried
    release: str | None = None
    replays: int = 0  # how often it was sent again before

    @classmethod
    def of(
        cls, error: FixStreamError, topic: str, partition: int, offset: int, headers: Headers | None = None
    ) -> DeadLetter:
        """The dead letter of the record that stood there with ``headers``."""
        return cls(error.code, str(error), topic, partition, offset, error.versions, _release(), replays_of(headers))

    def to_headers(self) -> list[tuple[str, bytes]]:
        """Headers in UTF-8; what is not known or empty has none."""
        values = {
            CODE: self.code,
            MESSAGE: self.message,
            TOPIC: self.topic,
            PARTITION: self.partition,
            OFFSET: self.offset,
            VERSION: ",".join(self.versions) or None,
            RELEASE: self.release,
            REPLAYS: self.replays or None,
        }
        return [(name, str(value).encode(errors="replace")) for name, value in values.items() if value is not None]

    @classmethod
    def from_headers(cls, headers: Headers | None) -> DeadLetter:
        """Takes any headers: another program's record on the topic has the code ``unknown``."""
        texts = _texts(headers)
        return cls(
            texts.get(CODE, "unknown"),
            texts.get(MESSAGE, ""),
            texts.get(TOPIC),
            _number(texts.get(PARTITION)),
            _number(texts.get(OFFSET)),
            tuple(filter(None, texts.get(VERSION, "").split(","))),
            texts.get(RELEASE),
            replays_of(headers),
        )


def replays_of(headers: Headers | None) -> int:
    """How often the record with these headers was sent again."""
    return _number(_texts(headers).get(REPLAYS)) or 0 if headers else 0


def replayed_offset(headers: Headers | None) -> int | None:
    """The offset of the dead letter that a record marks as replayed; None: the record is no such mark."""
    return _number(_texts(headers).get(REPLAYED))


def _texts(headers: Headers | None) -> dict[str, str]:
    return {name: (value or b"").decode(errors="replace") for name, value in headers or ()}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


@cache
def _release() -> str:
    return version_of("fixstream")
