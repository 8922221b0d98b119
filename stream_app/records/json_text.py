"""JSON text with many samples in it, read in pieces: neither the interpreter's lock nor much memory is held at once."""

from __future__ import annotations

import binascii
import json
import json.decoder
import json.scanner
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

_NUMBER = r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,40})?(?:[eE][-+]?[0-9]{1,3})?"
_SPACE = r"[ \t\n\r]*+"
_PAIR = rf"\[{_SPACE}{_NUMBER}{_SPACE},{_SPACE}{_NUMBER}{_SPACE}\]"
_FIRST_PAIR = re.compile(rf"{_SPACE}{_PAIR}{_SPACE}(?=[,\]])")
_PAIRS = re.compile(rf"{_SPACE}{_PAIR}(?:{_SPACE},{_SPACE}{_PAIR}){{0,4095}}+{_SPACE}")
_NO_BRACKETS = dict.fromkeys(map(ord, "[] \t\n\r"))
_BASE64_PIECE = 2**20  # characters, a multiple of 4

_Scan = Callable[[str, int], tuple[Any, int]]


class _Decoder(json.JSONDecoder):
    """The standard library's decoder in Python, with arrays of pairs of numbers taken to NumPy in pieces."""

    def __init__(self) -> None:
        super().__init__(parse_constant=_refuse)
        self.parse_array = _array
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


def parse_json(data: bytes | bytearray) -> Any:
    """The value of UTF-8 JSON text; arrays of [number, number] pairs are float64 [N, 2].

    Raises ValueError for anything that is not JSON, NaN and nesting without end included.
    """
    try:
        return _Decoder().decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def from_base64(text: str) -> bytes:
    """The bytes of RFC 4648 text, padded, without line breaks. Raises ValueError."""
    if text.find("=", 0, max(len(text) - 4, 0)) >= 0:
        raise ValueError("padding before the end")
    pieces = (text[start : start + _BASE64_PIECE] for start in range(0, len(text), _BASE64_PIECE))
    return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _array(source: tuple[str, int], scan_once: _Scan) -> tuple[list[Any] | NDArray[np.float64], int]:
    """What follows a [, and where its ] is passed."""
    if _FIRST_PAIR.match(*source):
        found = _pairs(*source)
        if found is not None:
            return found
    value, end = json.decoder.JSONArray(source, scan_once)  # type: ignore[attr-defined]
    return value, end


def _pairs(text: str, at: int) -> tuple[NDArray[np.float64], int] | None:
    """Pairs up to the closing ]; None where the array holds anything else."""
    pieces = []
    while (run := _PAIRS.match(text, at)) is not None:
        # As lists of lists they would be objects for the garbage collector to walk, with the lock held.
        pieces.append(np.fromstring(run[0].translate(_NO_BRACKETS), np.float64, sep=",").reshape(-1, 2))
        at = run.end() + 1
        if text[run.end() : at] == "]":
            return np.concatenate(pieces), at
        if text[run.end() : at] != ",":
            return None
    return None
