"""Sample bytes to complex64, scaled to ±1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

# SigMF datatype: NumPy type of one component, scale, offset before scaling.
# Zero of cu8 lies between 127 and 128.
_FORMATS: Final[dict[str, tuple[str, float, float]]] = {
    "cu8": ("u1", 1 / 127.5, -127.5),
    "ci8": ("i1", 1 / 2**7, 0.0),
    "ci16_le": ("<i2", 1 / 2**15, 0.0),
    "ci32_le": ("<i4", 1 / 2**31, 0.0),
    "cf32_le": ("<f4", 1.0, 0.0),
}
_WIDTHS: Final = {name: 2 * np.dtype(kind).itemsize for name, (kind, _, _) in _FORMATS.items()}


def bytes_per_sample(datatype: str) -> int:
    """Bytes of one complex sample of a SigMF datatype; ValueError for one that is not read here."""
    if datatype not in _FORMATS:
        raise ValueError(f"datatype {datatype!r} is not one of {', '.join(_FORMATS)}")
    return _WIDTHS[datatype]


def sample_bytes(samples: bytes | memoryview, datatype: str, sample_count: int) -> memoryview:
    """A byte view of ``samples``; ValueError unless it holds exactly ``sample_count`` samples."""
    view = memoryview(samples).cast("B")
    expected = sample_count * bytes_per_sample(datatype)
    if view.nbytes != expected:
        raise ValueError(f"{view.nbytes} bytes of samples where {sample_count} samples of {datatype} need {expected}")
    return view


def components(samples: bytes | memoryview, datatype: str, out: NDArray[np.float32]) -> None:
    """Real and imaginary parts of a channel's samples in turn into ``out`` [2 n]: zero at 0, in units of their own."""
    kind, _, offset = _FORMATS[datatype]
    out[...] = np.frombuffer(samples, kind)
    if offset:
        out += np.float32(offset)


def to_complex64(datatype: str, batch: Sequence[bytes | memoryview]) -> NDArray[np.complex64]:
    """Samples of B channels of equal length as complex64 [B, n], full scale ±1."""
    width = bytes_per_sample(datatype)
    lengths = {memoryview(samples).nbytes for samples in batch}
    if len(lengths) > 1 or any(length % width for length in lengths):
        raise ValueError(f"samples of {datatype} have {sorted(lengths)} bytes: unequal or not whole samples")
    count = lengths.pop() // width if lengths else 0
    out = np.empty((len(batch), 2 * count), np.float32)
    for row, samples in zip(out, batch, strict=True):
        components(samples, datatype, row)
    out *= np.float32(_FORMATS[datatype][1])
    return out.view(np.complex64)
