"""The Fourier transform of one channel's samples on a frequency grid that need not be its own.

Bin k of the grid is k * rate / size Hz, k = -half..half; sample m lies at m / own_rate seconds. Where both
rates agree this is an FFT; else Bluestein's chirp transform (L. Bluestein, 1970), exact for any ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Complex = NDArray[np.complex64]
_STEP = 64
_REMEMBERED = 2**16  # samples up to which a table is kept for the next batch: what is kept stays within megabytes


def taper(count: int, ramp: int) -> NDArray[np.float32]:
    """Tukey window float32 [count], its two cosine ramps ``ramp`` samples long."""
    return (_kept_taper if count <= _REMEMBERED else _taper)(count, ramp)


def _taper(count: int, ramp: int) -> NDArray[np.float32]:
    window = np.ones(count, np.float32)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / max(ramp, 1))
    window[:ramp] = rise
    window[count - ramp :] = rise[::-1]
    window.setflags(write=False)
    return window


_kept_taper = lru_cache(maxsize=64)(_taper)


def fourier(samples: Complex, size: int, half: int) -> Complex:
    """Bins -half..half (complex64 [B, 2 half + 1]) of samples [B, n] taken at the grid's own rate."""
    full = fft.fft(samples, size, axis=-1, overwrite_x=True)
    return np.concatenate((full[:, size - half :], full[:, : half + 1]), axis=-1)


def chirp(samples: Complex, step: float, half: int) -> Complex:
    """Bins -half..half of samples [B, n], where ``step`` is a bin's width in cycles per own sample."""
    count = samples.shape[-1]
    plan = _kept_chirp_plan if max(count, 2 * half + 1) <= _REMEMBERED else _chirp_plan
    before, kernel, after = plan(count, step, half)
    work = fft.fft(samples * before, kernel.shape[-1], axis=-1, overwrite_x=True)
    work *= kernel
    # scipy-stubs promises complex128; complex64 in gives complex64 out
    found = cast(Complex, fft.ifft(work, axis=-1, overwrite_x=True))
    result: Complex = found[:, : 2 * half + 1] * after
    return result


def _chirp_plan(count: int, step: float, half: int) -> tuple[Complex, Complex, Complex]:
    bins = 2 * half + 1
    size = fft.next_fast_len(count + bins - 1)
    longest = np.arange(max(count, bins), dtype=np.float64)
    turns = step * longest * longest / 2
    wave: NDArray[np.complex128] = np.exp(2j * np.pi * (turns % 1.0))
    before = wave[:count].conj() * np.exp(2j * np.pi * ((step * half * longest[:count]) % 1.0))
    kernel: NDArray[np.complex128] = np.zeros(size, np.complex128)
    kernel[:bins] = wave[:bins]
    kernel[size - count + 1 :] = wave[count - 1 : 0 : -1]
    after = wave[:bins].conj()
    spectrum: Complex = np.asarray(fft.fft(kernel)).astype(np.complex64)
    return before.astype(np.complex64), spectrum, after.astype(np.complex64)


_kept_chirp_plan = lru_cache(maxsize=32)(_chirp_plan)


def delays(seconds: Sequence[float], width_hz: float, half: int) -> Complex:
    """e^{-j 2 pi f t} complex64 [B, 2 half + 1] at bins -half..half of ``width_hz``, one row for each time t.

    The product of a coarse and a fine table: a sine for each bin would cost more than the FFT.
    """
    turns = np.asarray(seconds, np.float64)[:, None] * width_hz
    rows = (2 * half) // _STEP + 1
    coarse = np.exp(-2j * np.pi * ((turns * (np.arange(rows) * _STEP - half)) % 1.0)).astype(np.complex64)
    fine = np.exp(-2j * np.pi * ((turns * np.arange(_STEP)) % 1.0)).astype(np.complex64)
    table = coarse[:, :, None] * fine[:, None, :]
    result: Complex = table.reshape(len(turns), rows * _STEP)[:, : 2 * half + 1]
    return result
