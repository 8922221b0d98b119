"""IQ recordings of common SDR programs: RIFF/WAVE with I and Q as its two channels; the file's name says when."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stream_app.errors import RecordingError
from stream_app.network.instant import parse_instant
from stream_app.network.recording import Recording

# SDRSharp_20190101_120000Z_433920000Hz_IQ, HDSDR_20190101_120000Z_433920kHz_RF, SDRuno_20190101_120000Z_88110kHz
_NAME = re.compile(r"(?P<who>.*?)_?(?P<time>\d{8}[_T]\d{6}Z?)(?:_(?P<number>\d+(?:\.\d+)?)(?P<unit>[kM]?)Hz)?(?:_.*)?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6}
# (format tag, bits): SigMF's datatype, NumPy's type.
_TYPES = {
    (1, 8): ("cu8", "u1"),
    (1, 16): ("ci16_le", "<i2"),
    (1, 32): ("ci32_le", "<i4"),
    (3, 32): ("cf32_le", "<f4"),
}
_EXTENSIBLE = 0xFFFE
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # of a data chunk whose writer did not come back to fill it in, or that is in ds64
# A name's whole second is somewhere in that second: uniform.
_SECOND_SIGMA_NS = 1e9 / math.sqrt(12)


def read_wav(path: Path, start_time_ns: int | None = None) -> Recording:
    """Reads a WAV file of I and Q; samples are mapped, not loaded.

    Without ``start_time_ns`` the file's name must say when it began; as that is no better than a second, the
    recording's start_sigma_ns says so. Raises RecordingError.
    """
    name = _NAME.fullmatch(path.stem)
    try:
        with path.open("rb") as file:
            layout = _layout(path.name, file, path.stat().st_size)
        datatype, kind, rate, at, count = layout
        samples = np.memmap(path, kind, "r", at, (count, 2)) if count else np.empty((0, 2), kind)
    except OSError as error:
        raise RecordingError(f"cannot read recording {path}: {error.strerror}") from error
    sigma = None
    if start_time_ns is None:
        start_time_ns, sigma = _named_start(path.name, name), _SECOND_SIGMA_NS
    frequency = None
    if name is not None and name["number"]:
        frequency = float(name["number"]) * _UNITS[name["unit"]]
    return Recording(
        receiver_id=name["who"] if name is not None and name["who"] else path.stem,
        center_frequency_hz=frequency,
        start_time_ns=start_time_ns,
        sample_rate_hz=float(rate),
        samples=samples,
        datatype=datatype,
        start_sigma_ns=sigma,
        source=path.name,
    )


def _named_start(file: str, name: re.Match[str] | None) -> int:
    how = "give --start, or name it like SDRSharp_20190101_120000Z_433920000Hz_IQ.wav"
    if name is None:
        raise RecordingError(f"{file} does not say when it was recorded: {how}")
    if not name["time"].endswith("Z"):
        raise RecordingError(f"{file}: its name does not say that its time is UTC (a Z behind it): {how}")
    try:
        return parse_instant(name["time"])
    except ValueError as error:
        raise RecordingError(f"{file}: its name holds no time: {error}; {how}") from error


def _layout(name: str, file: BinaryIO, size: int) -> tuple[str, str, int, int, int]:
    """Datatype, NumPy type, rate, where the samples begin, and how many they are."""
    found: tuple[str, str, int] | None = None
    wide = 0  # the data chunk's size as ds64 has it
    for kind, at, length in _chunks(name, file, size):
        if kind == b"ds64":
            wide = int.from_bytes(file.read(16)[8:16], "little")
        elif kind == b"fmt ":
            found = _format(name, file.read(min(length, 40)))
        elif kind == b"data":
            if found is None:
                raise RecordingError(f"{name}: no fmt chunk before the data chunk at byte {at}")
            datatype, sample, rate = found
            width = 2 * np.dtype(sample).itemsize
            if length in _UNKNOWN_SIZES:
                length = wide or size - at
            if at + length > size:
                raise RecordingError(
                    f"{name} is truncated: its data chunk claims {length} bytes, {size - at} are there"
                )
            if length % width:
                raise RecordingError(f"{name}: its {length} bytes of data are no whole number of samples")
            return datatype, sample, rate, at, length // width
    raise RecordingError(f"{name} has no data chunk: it holds no samples")


def _chunks(name: str, file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and length of each chunk; the file stands at its place."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        raise RecordingError(f"{name} is not a RIFF/WAVE file")
    at = 12
    while at + 8 <= size:
        file.seek(at)
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        yield header[:4], at + 8, length
        at += 8 + length + length % 2


def _format(name: str, body: bytes) -> tuple[str, str, int]:
    if len(body) < 16:
        raise RecordingError(f"{name}: its fmt chunk has {len(body)} bytes, not 16")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = int.from_bytes(body[24:26], "little")
    if channels != 2:
        raise RecordingError(f"{name} has {channels} channel(s): a recording of I and Q has 2")
    if (tag, bits) not in _TYPES:
        raise RecordingError(
            f"{name} holds {bits}-bit samples of format {tag}: 8, 16 and 32-bit PCM and 32-bit float are read"
        )
    if not rate:
        raise RecordingError(f"{name}: its sample rate is 0")
    return *_TYPES[tag, bits], int(rate)
