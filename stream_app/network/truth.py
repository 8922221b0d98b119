"""Where the emitters of simulated captures really were: JSON lines beside the captures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from stream_app.errors import TruthFileError


@dataclass(frozen=True, slots=True)
class Truth:
    """The true place of a capture's emitter, WGS 84 degrees."""

    capture_id: str
    emitter: str
    latitude: float
    longitude: float


def write_truths(file: TextIO, truths: Iterable[Truth]) -> None:
    """Writes one JSON line a truth; coordinates keep every bit."""
    for truth in truths:
        file.write(json.dumps(asdict(truth)) + "\n")


def read_truths(path: str | Path) -> dict[str, Truth]:
    """The truths of a file by capture_id. Raises TruthFileError, which names file and line."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise TruthFileError(f"{path}: cannot be read: {error.strerror}") from error
    truths: dict[str, Truth] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            truth = _parse(line)
        except ValueError as error:
            raise TruthFileError(f"{path}: line {number}: {error}") from error
        if truth.capture_id in truths:
            raise TruthFileError(f"{path}: line {number}: capture_id {truth.capture_id!r} is there twice")
        truths[truth.capture_id] = truth
    return truths


def _parse(line: bytes) -> Truth:
    try:
        values = json.loads(line)
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(f"is no JSON object ({error}); was the file cut off?") from error
    if not isinstance(values, dict):
        raise ValueError("is no JSON object")
    for name in ("capture_id", "emitter"):
        if not isinstance(values.get(name), str):
            raise ValueError(f"{name} is missing or no text")
    for name, limit in (("latitude", 90), ("longitude", 180)):
        value = values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is missing or no number")
        if not math.isfinite(value) or abs(value) > limit:
            raise ValueError(f"{name} is {value}: it must be -{limit} to {limit} degrees")
    return Truth(values["capture_id"], values["emitter"], float(values["latitude"]), float(values["longitude"]))
