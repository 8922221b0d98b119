"""A band-limited random waveform that can be sampled at any times exactly, and channels made of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

START_NS = 1_700_000_000_000_000_000


class Waveform:
    """Sum of tones at random amplitudes, unit power, period 3 * span: no repeat within a capture."""

    def __init__(self, seed: int, low_hz: float, high_hz: float, span_s: float) -> None:
        rng = np.random.default_rng(seed)
        width = 1 / (3 * span_s)
        self.tones = np.arange(np.ceil(low_hz / width), np.floor(high_hz / width) + 1) * width
        values = rng.normal(size=len(self.tones)) + 1j * rng.normal(size=len(self.tones))
        self.values = values / np.sqrt(np.sum(np.abs(values) ** 2))

    def at(self, first_s: float, rate_hz: float, count: int) -> NDArray[np.complex128]:
        """Samples at first_s + m / rate_hz, by direct summation (split in two tables for speed)."""
        step = 64
        turns = 2j * np.pi * self.tones
        fine = self.values * np.exp(turns * first_s) * np.exp(np.outer(np.arange(step) / rate_hz, turns))
        coarse = np.exp(np.outer(turns, np.arange(-(-count // step)) * step / rate_hz))
        return (fine @ coarse).T.ravel()[:count]


def channel(
    samples: NDArray[np.complexfloating],
    rate_hz: float,
    start_ns: int = START_NS,
    datatype: str = "cf32_le",
    gain_db: float | None = None,
) -> SimpleNamespace:
    parts = np.ascontiguousarray(samples, np.complex128).view(np.float64)
    if datatype == "cf32_le":
        data = parts.astype("<f4").tobytes()
    else:
        data = np.round(parts * 0.1 * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2").tobytes()
    return SimpleNamespace(
        start_time_ns=start_ns,
        sample_rate_hz=rate_hz,
        datatype=datatype,
        sample_count=len(samples),
        samples=data,
        gain_db=gain_db,
    )


def noise(rng: np.random.Generator, count: int, snr_db: float) -> NDArray[np.complex128]:
    sigma = 10 ** (-snr_db / 20) / np.sqrt(2)
    return sigma * (rng.normal(size=count) + 1j * rng.normal(size=count))


def peak_lag(row: NDArray[np.float32], samples_per_s: float) -> float:
    """Lag in seconds of the peak of |coherence| of one pair, by a parabola through its top three lags."""
    lags = (len(row) - 1) // 2
    height = np.abs(row[:lags] + 1j * row[lags : 2 * lags])
    top = int(height.argmax())
    a, b, c = (float(v) for v in height[top - 1 : top + 2])
    return (top + 0.5 * (a - c) / (a - 2 * b + c) - (lags - 1) / 2) / samples_per_s
