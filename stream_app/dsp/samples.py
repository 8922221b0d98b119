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


def bytes_per_sample(datatype: str) -> int:
    """Bytes of one complex sample of a SigMF datatype; ValueError for one that is not read here."""
    if datatype not in _FORMATS:
        raise ValueError(f"datatype {datatype!r} is not one of {', '.join(_FORMATS)}")
    return 2 * np.dtype(_FORMATS[datatype][0]).itemsize


def sample_bytes(samples: bytes | memoryview, datatype: str, sample_count: int) -> memoryview:
    """A byte view of ``samples``; ValueError unless it holds exactly ``sample_count`` samples."""
    view = memoryview(samples).cast("B")
    expected = sample_count * bytes_per_sample(datatype)
    if view.nbytes != expected:
        raise ValueError(f"{view.nbytes} bytes of samples where {sample_count} samples of {datatype} need {expected}")
    return view


def to_complex64(
    datatype: str, batch: Sequence[bytes | memoryview], weights: NDArray[np.float32] | None = None
) -> NDArray[np.complex64]:
    """Samples of B channels of equal length as complex64 [B, n], full scale ±1.

    ``weights`` float32 [n] multiplies each sample (a taper costs no pass of its own).
    """
    width = bytes_per_sample(datatype)
    kind, scale, offset = _FORMATS[datatype]
    lengths = {memoryview(samples).nbytes for samples in batch}
    if len(lengths) > 1 or any(length % width for length in lengths):
        raise ValueError(f"samples of {datatype} have {sorted(lengths)} bytes: unequal or not whole samples")
    count = lengths.pop() // width if lengths else 0
    factor: np.float32 | NDArray[np.float32] = np.float32(scale)
    if weights is not None:
        factor = np.repeat(weights, 2) * np.float32(scale)
    out = np.empty((len(batch), 2 * count), np.float32)
    for row, samples in zip(out, batch, strict=True):
        values = np.frombuffer(samples, kind)
        if offset:
            np.add(values, np.float32(offset), out=row)
            np.multiply(row, factor, out=row)
        else:
            np.multiply(values, factor, out=row, casting="same_kind")
    return out.view(np.complex64)
