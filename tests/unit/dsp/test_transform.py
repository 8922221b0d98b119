from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.dsp.lags import lag_transform
from stream_app.dsp.transform import chirp, chirp_points, delays


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(16, 300),
    half=st.integers(1, 200),
    ratio=st.floats(0.3, 3.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_chirp_transform_is_the_fourier_sum(count, half, ratio, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(2, count)) + 1j * rng.normal(size=(2, count))).astype(np.complex64)
    step = ratio / (2 * half + 1)
    work = np.zeros((2, chirp_points(count, half)), np.complex64)
    work[:, :count] = x
    bins = np.arange(-half, half + 1)
    direct = x.astype(complex) @ np.exp(-2j * np.pi * step * np.outer(np.arange(count), bins))
    assert np.allclose(chirp(work, count, step, half), direct, atol=2e-4 * np.sqrt(count))


def test_delays_agree_with_their_sums():
    shifts = delays(np.array([[0.0, 0.31, -2.7]]), 0.5, 100)
    exact = np.exp(-2j * np.pi * np.outer([0.0, 0.31, -2.7], np.arange(-100, 101) * 0.5))
    assert np.allclose(shifts[0], exact, atol=1e-5)


def test_a_long_chirp_transform_keeps_single_precision():
    count, half = 50_000, 20_000
    x = np.random.default_rng(2).normal(size=(1, 2 * count)).astype(np.float32).view(np.complex64)
    work = np.zeros((1, chirp_points(count, half)), np.complex64)
    work[:, :count] = x
    exact = np.fft.fft(x.astype(complex))[:, np.arange(-half, half + 1)]
    assert np.abs(chirp(work, count, 1 / count, half) - exact).max() < 3e-6 * np.abs(exact).max()


@settings(max_examples=60, deadline=None)
@given(
    middle=st.integers(1, 300),
    long=st.integers(1, 300).map(lambda n: 16 * n),
    half=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_few_lags_are_those_of_the_long_transform(middle, long, half, seed):
    bins = 2 * middle + 1
    long = max(long, bins, 2 * half + 1)
    parts = np.random.default_rng(seed).normal(size=(2, 3, 2 * bins)).astype(np.float32)
    transform = lag_transform(bins, long, half)
    work = np.full((2, 3, transform.points), np.nan, np.complex64)
    work[..., :bins] = parts.view(np.complex64)
    turns = np.outer(np.arange(-middle, middle + 1), np.arange(-half, half + 1)) / long
    exact = parts.view(np.complex64).astype(complex) @ np.exp(2j * np.pi * turns)
    assert np.abs(transform(work) - exact).max() < 2e-6 * np.sqrt(bins)


def test_few_lags_need_a_short_transform_only():
    assert lag_transform(bins=2489, long=18432, half=296).short == 1152
    assert lag_transform(bins=2489, long=18432, half=9000).short == 18432
