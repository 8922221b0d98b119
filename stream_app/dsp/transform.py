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

from stream_app.dsp.scratch import scratch

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


def padded(rows: int) -> int:
    """``rows``, or one more: pocketfft transforms four at once and the rest singly, so four cost less than three."""
    return rows + 1 if rows % 4 == 3 else rows


def chirp_points(count: int, half: int) -> int:
    """Points of the work array of ``chirp``: eights, for the FFT is quicker at them than at the next that would do."""
    return 8 * fft.next_fast_len(-(-(count + 2 * half) // 8), real=True)


def chirp(work: Complex, count: int, step: float, half: int) -> Complex:
    """Bins -half..half of the first ``count`` points of each row, where ``step`` is a bin's width in cycles per point.

    ``work`` [B, chirp_points] has zeros behind the ``count`` points, and is overwritten.
    """
    plan = _kept_chirp_plan if max(count, 2 * half + 1) <= REMEMBERED else _chirp_plan
    before, kernel, after = plan(count, step, half)
    work[:, :count] *= before
    # scipy-stubs promises complex128; complex64 in gives complex64 out
    work = cast(Complex, fft.fft(work, axis=-1, overwrite_x=True))
    work *= kernel
    work = cast(Complex, fft.ifft(work, axis=-1, overwrite_x=True))
    result: Complex = work[:, : 2 * half + 1] * after
    return result


def _chirp_plan(count: int, step: float, half: int) -> tuple[Complex, Complex, Complex]:
    bins = 2 * half + 1
    place = np.arange(max(count, bins), dtype=np.float64)
    turns = step / 2 * place * place
    before = rotations(step * half * place[:count] - turns[:count])
    wave = rotations(turns)
    kernel = np.zeros(chirp_points(count, half), np.complex64)
    kernel[:bins] = wave[:bins]
    kernel[kernel.size - count + 1 :] = wave[count - 1 : 0 : -1]
    spectrum = cast(Complex, fft.fft(kernel, overwrite_x=True))
    return before, spectrum, wave[:bins].conj()


_kept_chirp_plan = lru_cache(maxsize=32)(_chirp_plan)


def delays(seconds: NDArray[np.float64], width_hz: float, half: int) -> Complex:
    """e^{-j 2 pi f t} complex64 [..., 2 half + 1] at bins -half..half of ``width_hz``, one row for each time t.

    The product of a coarse and a fine table: a sine for each bin would cost more than the FFT. The thread's next call
    writes over it.
    """
    rows = (2 * half) // _STEP + 1
    steps = np.concatenate((np.arange(rows) * _STEP - half, np.arange(_STEP)))
    both = rotations(seconds[..., None] * -width_hz * steps)
    table = scratch("delays", *seconds.shape, rows, _STEP)
    np.multiply(both[..., :rows, None], both[..., None, rows:], out=table)
    result: Complex = table.reshape(*seconds.shape, rows * _STEP)[..., : 2 * half + 1]
    return result


def rotations(turns: NDArray[np.float64]) -> Complex:
    """e^{j 2 pi turns} complex64; only the fraction of a turn is left to single precision."""
    angles = (turns - np.rint(turns)).astype(np.float32) * np.float32(2 * np.pi)
    result = np.empty(turns.shape, np.complex64)
    np.cos(angles, out=result.real)
    np.sin(angles, out=result.imag)
    return result
