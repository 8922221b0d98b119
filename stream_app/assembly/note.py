"""What an assembler writes beside a partition's offset, so that its successor knows what is answered already.

The offset is that of the oldest open reception. Above it, up to ``read_to``, a reception was answered unless its slot
is still open; and which slots are closed, each stream's mark tells. Layout: ``a1`` and, in base 85, zlib of
little-endian fields: read_to int64, then of each stream its name's hash (8 bytes), newest and floor (int64,
microseconds), the number of closed slots above the floor (uint32), their times (int64, each less the one before) and
their receivers (uint32, a bit each).
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

MOST_BYTES = 4096  # offset.metadata.max.bytes, as brokers have it by default
_VERSION = "a1"
_STREAM = struct.Struct("<8sqqI")
_READ_TO = struct.Struct("<q")
_LARGEST = 2**24  # bytes of a note unpacked; more is not one of ours


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one stream is: slots at or below ``floor_us`` are closed, and those in ``closed``.

    ``closed`` has, by slot, the receivers that it was closed with, a bit each. ``newest_us`` is the highest slot that
    was heard by enough receivers.
    """

    stream: bytes  # 8 bytes
    newest_us: int
    floor_us: int
    closed: Mapping[int, int] = field(default_factory=dict)


def encode_note(read_to: int, marks: Sequence[Mark]) -> str:
    """ASCII; perhaps longer than MOST_BYTES."""
    parts = [_READ_TO.pack(read_to)]
    for mark in marks:
        slots = sorted(mark.closed)
        parts.append(_STREAM.pack(mark.stream, mark.newest_us, mark.floor_us, len(slots)))
        parts.append(np.diff(np.array(slots, "<i8"), prepend=mark.floor_us).astype("<i8").tobytes())
        parts.append(np.array([mark.closed[slot] for slot in slots], "<u4").tobytes())
    return _VERSION + base64.b85encode(zlib.compress(b"".join(parts), 6)).decode()


def decode_note(note: str) -> tuple[int, list[Mark]]:
    """What ``encode_note`` was given. Raises ValueError for anything else."""
    if not note.startswith(_VERSION):
        raise ValueError(f"it begins {note[:2]!r}, not {_VERSION!r}")
    try:
        unpacked = zlib.decompressobj()
        data = unpacked.decompress(base64.b85decode(note[len(_VERSION) :]), _LARGEST)
        if not unpacked.eof:
            raise ValueError("it does not end")
        return _parsed(data)
    except (zlib.error, struct.error) as error:
        raise ValueError(str(error)) from error


def _parsed(data: bytes) -> tuple[int, list[Mark]]:
    [read_to] = _READ_TO.unpack_from(data)
    marks, at = [], _READ_TO.size
    while at < len(data):
        stream, newest_us, floor_us, count = _STREAM.unpack_from(data, at)
        at += _STREAM.size
        slots = floor_us + np.cumsum(np.frombuffer(data, "<i8", count, at))
        masks = np.frombuffer(data, "<u4", count, at + slots.nbytes)
        at += slots.nbytes + masks.nbytes
        marks.append(Mark(stream, newest_us, floor_us, dict(zip(slots.tolist(), masks.tolist(), strict=True))))
    return int(read_to), marks
