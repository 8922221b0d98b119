"""A spectrum's inverse Fourier transform at a few lags about zero, at the cost of those few.

The long FFT gives ``long`` lags. Where only -half..half are wanted, the spectrum is convolved with a short kernel and
kept at every D-th bin alone: what folds onto the wanted lags has been made small, and how each of them was weighed is
known and taken out. This is gridding with a Kaiser-Bessel kernel (J. Jackson and others, 1991, Selection of a
convolution function for Fourier inversion using gridding).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stream_app.dsp.scratch import scratch
from stream_app.dsp.transform import Complex, padded, rotations

_WIDTH = 9  # of the kernel, in kept bins
_SHAPE = 19.5  # of the Kaiser-Bessel window: with that width and room, what folds stays below 1e-7
_ROOM = 1.75  # lags that the short FFT has over those wanted
_MOST_APART = 64  # bins
_TILE = 32  # rows of a matrix product: BLAS would put more on all cores, whose spinning costs more than it gains


@dataclass(frozen=True, slots=True)
class LagTransform:
    """sum_k C_k e^{j 2 pi k l / long} at lags l = -half..half, of bins k = -middle..middle."""

    points: int  # of a row: C, then whatever is there
    bins: int
    half: int
    short: int  # points of the FFT
    kernel: NDArray[np.float32] | None  # [2 D, 2 width], None where every bin is kept
    after: Complex  # [2 half + 1]

    def __call__(self, work: Complex) -> Complex:
        """Lags complex64 [N, P, 2 half + 1] of ``work`` [N, P, points], which is overwritten."""
        captures, pairs, _ = work.shape
        rows = captures * pairs
        work[..., self.bins :] = 0
        kept = scratch("kept bins", padded(rows), self.short)
        kept[...] = 0
        some = kept[:rows].reshape(captures, pairs, self.short)
        if self.kernel is None:
            some[..., : self.points] = work
        else:
            depth, width = self.kernel.shape
            tiles = work.view(np.float32).reshape(rows, -1, _TILE, depth)
            parts = scratch("kernel", rows, tiles.shape[1], _TILE, width // 2)
            np.matmul(tiles, self.kernel, out=parts.view(np.float32))
            parts = parts.reshape(captures, pairs, -1, width // 2)
            for at in range(width // 2):
                some[..., at : at + parts.shape[2]] += parts[..., at]
        # scipy-stubs promises complex128; complex64 in gives complex64 out
        found = cast(Complex, fft.ifft(kept, axis=-1, norm="forward", overwrite_x=True))[:rows]
        lags = np.empty((rows, 2 * self.half + 1), np.complex64)
        np.multiply(found[:, self.short - self.half :], self.after[: self.half], out=lags[:, : self.half])
        np.multiply(found[:, : self.half + 1], self.after[self.half :], out=lags[:, self.half :])
        return lags.reshape(captures, pairs, -1)


@lru_cache(maxsize=32)
def lag_transform(bins: int, long: int, half: int) -> LagTransform:
    """The transform for spectra of ``bins`` bins (an odd number), on the lags of a ``long`` FFT."""
    lags = np.arange(-half, half + 1)
    apart = max(d for d in range(1, _MOST_APART + 1) if d == 1 or _fits(d, bins, long, half))
    if apart == 1:
        return LagTransform(bins, bins, half, long, None, rotations(lags * (bins - 1) / 2 / -long))
    kernel = np.kaiser(_WIDTH * apart, _SHAPE)
    place = np.arange(_WIDTH * apart) - (_WIDTH * apart - 1) / 2
    weighed = sum(tap * np.cos(2 * np.pi / long * x * lags) for tap, x in zip(kernel / apart, place, strict=True))
    # A block of D bins adds to the kept bins w = 0..width - 1 after it: its bin r by kernel[w D + D - 1 - r].
    taps = kernel.reshape(_WIDTH, apart)[:, ::-1].T
    origin = (bins - 1) / 2 + place[-1] - apart + 1
    after = (rotations(lags * origin / -long) / weighed).astype(np.complex64)
    parts = np.kron(taps, np.eye(2)).astype(np.float32)  # a complex number's two parts are weighed alike
    return LagTransform(_row(bins, apart), bins, half, long // apart, parts, after)


def _row(bins: int, apart: int) -> int:
    return -(-bins // (apart * _TILE)) * apart * _TILE


def _fits(apart: int, bins: int, long: int, half: int) -> bool:
    kept = _row(bins, apart) // apart + _WIDTH - 1
    return long % apart == 0 and long // apart >= max(kept, _ROOM * (2 * half + 1))
