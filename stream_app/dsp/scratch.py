"""Work arrays that stay with their thread: to fetch fresh pages for every batch costs as much as its FFTs."""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray

_KEPT_POINTS = 2**18  # 2 MiB of complex64 for each purpose and thread


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.kept: dict[str, NDArray[np.complex64]] = {}


_scratch = _Scratch()


def scratch(purpose: str, *shape: int) -> NDArray[np.complex64]:
    """An array complex64 of any contents, the thread's until it asks for the same ``purpose`` again."""
    points = math.prod(shape)
    if points > _KEPT_POINTS:
        return np.empty(shape, np.complex64)
    kept = _scratch.kept.get(purpose)
    if kept is None or kept.size < points:
        kept = _scratch.kept[purpose] = np.empty(points, np.complex64)
    return kept[:points].reshape(shape)
