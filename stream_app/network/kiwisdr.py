"""KiwiSDR IQ recordings: RIFF/WAVE whose ``data`` chunks each follow a ``kiwi`` chunk with its GNSS time."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import RecordingError
from stream_app.network.recording import Recording

_NAME = re.compile(r"^(\d{8}T\d{6})Z_(\d+)_(.+)_iq\.wav$")
_KIWI = struct.Struct("<BBII")
_GPS_EPOCH_S = 315_964_800  # 1980-01-06 in Unix seconds
_WEEK_S = 604_800
_HEAD_BYTES = 256  # the first kiwi chunk stands behind the fmt chunk
_JUMP_S = 1e-3  # a chunk whose time is off the sequence by more does not continue it


def read_kiwisdr(path: str | Path) -> Recording:
    """Reads a KiwiSDR recording named ``<UTC>_<Hz>_<receiver>_iq.wav``.

    Its times are GNSS seconds counted on the Unix epoch, without leap seconds; its rate is what they say.

    Raises RecordingError, which names file and offset, for anything that is not one.
    """
    path = Path(path)
    name = _NAME.match(path.name)
    if name is None:
        raise RecordingError(f"{path.name}: a KiwiSDR recording is named like 20171127T104156Z_77500_NAME_iq.wav")
    try:
        began = datetime.strptime(name[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise RecordingError(f"cannot read recording {path}: {error}") from error
    rate, seconds, blocks = _chunks(path.name, data)
    stated = _unwrap(np.array(seconds), began.timestamp())
    first, counts = _continuous(path.name, stated, blocks, rate)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.float64)
    base = float(np.floor(stated[first]))
    slope, offset = np.polyfit(starts, stated[first:] - base, 1)
    residual = float(np.abs(stated[first:] - base - offset - slope * starts).max())
    start_ns = (round(began.timestamp()) + int(base)) * 10**9 + round(offset * 1e9)
    samples = np.frombuffer(b"".join(blocks[first:]), "<i2").reshape(-1, 2)
    return Recording(
        receiver_id=name[3],
        center_frequency_hz=float(name[2]),
        start_time_ns=start_ns,
        sample_rate_hz=1 / float(slope),
        samples=samples,
        residual_s=residual,
        time_sync="GPS",
        source=path.name,
    )


def is_kiwisdr(path: Path) -> bool:
    """Whether a WAV file has KiwiSDR's times. Raises RecordingError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return b"kiwi" in file.read(_HEAD_BYTES)
    except OSError as error:
        raise RecordingError(f"cannot read recording {path}: {error.strerror}") from error


def _chunks(name: str, data: bytes) -> tuple[int, list[float], list[bytes]]:
    """Nominal rate, GPS seconds of week and bytes of each kiwi/data pair."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise RecordingError(f"{name} is not a RIFF/WAVE file")
    rate, seconds, blocks, at = 0, [], [], 12
    pending: float | None = None
    while at < len(data):
        if at + 8 > len(data):
            raise RecordingError(f"{name} is truncated at byte {at}: a chunk header is cut off")
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if len(body) < size:
            raise RecordingError(f"{name} is truncated at byte {at}: chunk {kind!r} claims {size} bytes")
        if kind == b"fmt ":
            rate = _format(name, body)
        elif kind == b"kiwi":
            if size != _KIWI.size:
                raise RecordingError(f"{name}: the kiwi chunk at byte {at} has {size} bytes, not {_KIWI.size}")
            _, _, whole, nanos = _KIWI.unpack(body)
            pending = whole + nanos * 1e-9
        elif kind == b"data":
            if pending is None or not rate:
                raise RecordingError(f"{name}: no kiwi time (or no fmt chunk) before the data chunk at byte {at}")
            if size % 4:
                raise RecordingError(f"{name}: the data chunk at byte {at} is no whole number of 16-bit IQ samples")
            seconds.append(pending)
            blocks.append(body)
            pending = None
        at += 8 + size + size % 2
    if len(blocks) < 3:
        raise RecordingError(f"{name} has {len(blocks)} timed data chunks; at least 3 are needed to fit its clock")
    return rate, seconds, blocks


def _format(name: str, body: bytes) -> int:
    if len(body) < 16:
        raise RecordingError(f"{name}: its fmt chunk has {len(body)} bytes, not 16")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if (tag, channels, bits) != (1, 2, 16) or not rate:
        raise RecordingError(f"{name} is not 2-channel 16-bit PCM (tag {tag}, {channels} channels, {bits} bits)")
    return int(rate)


def _unwrap(seconds: NDArray[np.float64], began: float) -> NDArray[np.float64]:
    """GPS seconds of week as seconds after ``began``, at most half a week from it.

    Seconds since 1970 would round to 240 ns in double precision.
    """
    in_week = (began - _GPS_EPOCH_S) % _WEEK_S
    offset = (seconds - in_week + _WEEK_S / 2) % _WEEK_S - _WEEK_S / 2
    return np.asarray(offset)


def _continuous(
    name: str, stated: NDArray[np.float64], blocks: list[bytes], rate: int
) -> tuple[int, NDArray[np.int64]]:
    """The first chunk from which all times continue one another, and the sample counts from there."""
    counts = np.array([len(block) // 4 for block in blocks])
    off = np.abs(np.diff(stated) - counts[:-1] / rate) > _JUMP_S
    broken = np.flatnonzero(off)
    first = int(broken[-1]) + 1 if len(broken) else 0
    # Chunks after the start-up ones may not jump: samples are missing there.
    if first > 2:
        raise RecordingError(
            f"{name}: the time jumps by {stated[first] - stated[first - 1]:.6f} s at data chunk {first}: "
            "samples are missing; cut the recording there"
        )
    if len(blocks) - first < 3:
        raise RecordingError(f"{name}: fewer than 3 data chunks have a time that continues the sequence")
    return first, counts[first:]
