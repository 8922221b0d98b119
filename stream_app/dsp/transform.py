"""The Fourier transform of one channel's samples on a frequency grid that need not be its own.

Bin k of the grid is k * rate / size Hz, k = -half..half; sample m lies at m / own_rate seconds. Where both
rates agree this is an FFT; else Bluestein's chirp transform (L. Bluestein, 1970), exact for any ratio.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Complex = NDArray[np.complex64]
_STEP = 64
REMEMBERED = 2**16  # samples up to which a table is kept for the next batch: what is kept stays within megabytes


def taper(count: int, ramp: int) -> NDArray[np.float32]:
    """Tukey window float32 [count], its two cosine ramps ``ramp`` samples long."""
    window = np.ones(count, np.float32)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / max(ramp, 1))
    window[:ramp] = rise
    window[count - ramp :] = rise[::-1]
    return window


def chirp_points(count: int, half: int) -> int:
    """Points of the work array of ``chirp``: eights, for the FFT is quicker at those than at the least that would do."""
    return 8 * fft.next_fast_len(-(-(count + 2 * half) // 8), real=True)


def chirp(work: Complex, count: int, step: float, half: int, origin: int = 0) -> Complex:
    """Bins -half..half of the first ``count`` points of each row, where ``step`` is a bin's width in cycles per point.

    ``work`` has chirp_points, zeros behind the ``count`` points, and is overwritten. Point ``origin`` lies at time zero.
    """
    plan = _kept_chirp_plan if max(count, 2 * half + 1) <= REMEMBERED else _chirp_plan
    before, kernel, after = plan(count, step, half, origin)
    work[..., :count] *= before
    # scipy-stubs promises complex128; complex64 in gives complex64 out
    work = cast(Complex, fft.fft(work, axis=-1, overwrite_x=True))
    work *= kernel
    work = cast(Complex, fft.ifft(work, axis=-1, overwrite_x=True))
    result: Complex = work[..., : 2 * half + 1] * after
    return result


def lag_points(bins: int, long: int, half: int) -> int:
    """Points of the work array of ``over_lags``: the chirp transform's, where its two FFTs are less than the long one."""
    points = chirp_points(bins, half)
    return points if 2 * points < long else long


def over_lags(work: Complex, bins: int, long: int, half: int) -> Complex:
    """sum_k C_k e^{j 2 pi k l / long} at lags l = -half..half, complex64 [..., 2 half + 1].

    C_k, k = -(bins - 1) / 2..(bins - 1) / 2, are the first ``bins`` points of each row of ``work``, which has lag_points
    and is overwritten. Few bins and few lags of a long transform cost less as a chirp transform.
    """
    work[..., bins:] = 0
    middle = (bins - 1) // 2
    if work.shape[-1] != long:
        return chirp(work, bins, -1 / long, half, middle)
    found = cast(Complex, fft.ifft(work, axis=-1, norm="forward", overwrite_x=True))
    result = np.concatenate((found[..., long - half :], found[..., : half + 1]), axis=-1)
    result *= delays(np.array(middle / long), 1.0, half)  # the rows began at C's lowest bin, not at its middle
    return result


def _chirp_plan(count: int, step: float, half: int, origin: int) -> tuple[Complex, Complex, Complex]:
    bins = 2 * half + 1
    size = chirp_points(count, half)
    longest = np.arange(max(count, bins), dtype=np.float64)
    turns = step * longest * longest / 2
    wave: NDArray[np.complex128] = np.exp(2j * np.pi * (turns % 1.0))
    before = wave[:count].conj() * np.exp(2j * np.pi * ((step * half * longest[:count]) % 1.0))
    kernel: NDArray[np.complex128] = np.zeros(size, np.complex128)
    kernel[:bins] = wave[:bins]
    kernel[size - count + 1 :] = wave[count - 1 : 0 : -1]
    after = wave[:bins].conj() * np.exp(2j * np.pi * ((step * origin * (longest[:bins] - half)) % 1.0))
    spectrum: Complex = np.asarray(fft.fft(kernel)).astype(np.complex64)
    return before.astype(np.complex64), spectrum, after.astype(np.complex64)


_kept_chirp_plan = lru_cache(maxsize=32)(_chirp_plan)


def delays(seconds: NDArray[np.float64], width_hz: float, half: int) -> Complex:
    """e^{-j 2 pi f t} complex64 [..., 2 half + 1] at bins -half..half of ``width_hz``, one row for each time t.

    The product of a coarse and a fine table: a sine for each bin would cost more than the FFT.
    """
    turns = seconds[..., None] * width_hz
    rows = (2 * half) // _STEP + 1
    coarse = np.exp(-2j * np.pi * ((turns * (np.arange(rows) * _STEP - half)) % 1.0)).astype(np.complex64)
    fine = np.exp(-2j * np.pi * ((turns * np.arange(_STEP)) % 1.0)).astype(np.complex64)
    table = coarse[..., :, None] * fine[..., None, :]
    result: Complex = table.reshape(*seconds.shape, rows * _STEP)[..., : 2 * half + 1]
    return result
