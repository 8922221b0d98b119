"""Synthetic KiwiSDR recordings."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GPS_EPOCH_S = 315_964_800
WEEK_S = 604_800
BLOCK = 512


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def header(channels: int = 2, bits: int = 16, rate: int = 12_000) -> bytes:
    width = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate, rate * width, width, bits))


def block(samples: NDArray[np.int16], gps_second: float) -> bytes:
    """One kiwi and one data chunk; gps_second is of the week."""
    whole, nanos = divmod(round(gps_second * 1e9), 10**9)
    return chunk(b"kiwi", struct.pack("<BBII", 0, 0, whole, nanos)) + chunk(b"data", samples.astype("<i2").tobytes())


def riff(parts: Sequence[bytes]) -> bytes:
    body = b"WAVE" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write(
    folder: Path,
    samples: NDArray[np.int16],
    named_s: int,
    start_s: float,
    rate_hz: float,
    receiver: str = "AA1A",
    frequency: int = 77_500,
) -> Path:
    """A recording whose first sample was taken start_s after named_s (GNSS seconds since 1970), at a true rate."""
    parts = [header()]
    for at in range(0, len(samples), BLOCK):
        second = ((named_s - GPS_EPOCH_S) % WEEK_S + start_s + at / rate_hz) % WEEK_S
        parts.append(block(samples[at : at + BLOCK], second))
    path = folder / f"20171127T104156Z_{frequency}_{receiver}_iq.wav"
    path.write_bytes(riff(parts))
    return path
