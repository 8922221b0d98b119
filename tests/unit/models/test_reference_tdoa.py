"""The reference models locate synthetic coherences honestly."""

from __future__ import annotations

import json
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from stream_app.dsp.tdoa import lag_count
from stream_app.models.reference import build_power, build_tdoa

PLACES = [(48.08, 11.42), (48.09, 11.62), (48.21, 11.51), (48.14, 11.66)]
SPEED = 299_792_458.0
M = 2000.0


def network(count: int, timing_us: float = 0.0) -> Any:
    receivers = tuple(
        SimpleNamespace(receiver_id=str(k), latitude=lat, longitude=lon, altitude_m=0.0, timing_sigma_us=0.0)
        for k, (lat, lon) in enumerate(PLACES[:count])
    )
    return SimpleNamespace(
        name="test",
        receivers=receivers,
        area=SimpleNamespace(south=48.05, north=48.23, west=11.4, east=11.67),
        sample_rate_hz=1e6,
        timing_sigma_us=timing_us,
        path_loss_exponent=3.0,
        path="line_of_sight",
        speed_m_s=SPEED,
        features=SimpleNamespace(band_hz=(0.0, 250e3), weighting="none", oversample=4),
    )


def ecef(lat: float, lon: float) -> NDArray[np.float64]:
    p, q, e2 = np.radians(lat), np.radians(lon), 6.69437999014e-3
    n = 6378137 / np.sqrt(1 - e2 * np.sin(p) ** 2)
    return np.array([n * np.cos(p) * np.cos(q), n * np.cos(p) * np.sin(q), n * (1 - e2) * np.sin(p)])


def run(
    model: Any, at: tuple[float, float], heard: int, peak: float, timing_s: float = 0.0, noise: int | None = None
) -> Any:
    """The model's answer to coherences of a flat 500 kHz signal, noise-free or with noise of that seed."""
    spec = json.loads({p.key: p.value for p in model.metadata_props}["fixstream.features"])
    count, rate = spec["max_receivers"], spec["sample_rate_hz"] * spec["oversample"]
    lags = lag_count(spec["max_lag_s"], spec["sample_rate_hz"], spec["oversample"])
    lag = (np.arange(lags) - (lags - 1) / 2) / rate
    arrival = [np.linalg.norm(ecef(*at) - ecef(*place)) / SPEED for place in PLACES]
    features = np.zeros((1, count * (count - 1) // 2, 2 * lags + 1), np.float32)
    for p, (i, j) in enumerate(combinations(range(count), 2)):
        if j < heard:
            features[0, p, :lags] = peak * np.sinc(500e3 * (lag - (arrival[i] - arrival[j])))
            features[0, p, -1] = M
    if noise is not None:
        rng = np.random.default_rng(noise)
        spectrum = np.zeros((features.shape[1], 2, lags))
        spectrum[..., : int(lags * 500e3 / rate / 2)] = 1  # of the signal's bandwidth, as the extractor's band keeps
        random = np.fft.ifft(spectrum * rng.normal(size=spectrum.shape) * lags).real
        random /= random.std() * np.sqrt(2 * M)
        features[0, :, :-1] += random.reshape(len(random), -1)
    positions = np.zeros((1, count, 3))
    positions[0, :heard, :2] = PLACES[:heard]
    session = ort.InferenceSession(model.SerializeToString())
    timing = np.full((1, count), timing_s, np.float32)
    feed = {"features": features, "receiver_positions": positions, "receiver_count": np.array([heard])}
    answers = session.run(None, {**feed, "receiver_timing_sigma": timing})
    return [answer[0] for answer in answers]


def error_m(position: NDArray[np.float64], at: tuple[float, float]) -> float:
    return float(np.linalg.norm(ecef(*position) - ecef(*at)))


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("shift", [0.0, 0.0007, 0.0013])
def test_fix_is_unbiased_inside_a_cell(count: int, shift: float) -> None:
    at = (48.137 + shift, 11.53 - shift)
    position, covariance, confidence, border = run(build_tdoa(network(count)), at, count, 0.9)
    assert error_m(position, at) < 1.5
    assert np.all(np.linalg.eigvalsh(covariance) > 0)
    assert confidence > 0.95
    assert border < 0.01


def test_two_receivers_give_a_long_ellipse() -> None:
    _, covariance, confidence, _ = run(build_tdoa(network(2)), (48.137, 11.53), 2, 0.9)
    assert np.sqrt(np.linalg.eigvalsh(covariance)[1]) > 3000
    assert confidence < 0.5


def test_no_signal_gives_the_area() -> None:
    _, covariance, confidence, _ = run(build_tdoa(network(3)), (48.137, 11.53), 3, 0.0)
    assert np.all(np.sqrt(np.linalg.eigvalsh(covariance)) > 4000)
    assert confidence < 0.1


def test_emitter_just_outside_the_area_shows_at_the_border() -> None:
    border = run(build_tdoa(network(3)), (48.2318, 11.53), 3, 0.9)[3]
    assert border > 0.5


@pytest.mark.parametrize("at", [(48.27, 11.53), (48.14, 11.9), (47.9, 11.2), (49.0, 12.5)])
def test_an_emitter_outside_the_area_is_never_a_sure_fix_inside(at: tuple[float, float]) -> None:
    _, covariance, confidence, border = run(build_tdoa(network(4)), at, 4, 0.9)
    assert border > 0.99
    assert np.all(np.sqrt(np.linalg.eigvalsh(covariance)) > 10_000)
    assert confidence < 0.01


@pytest.mark.parametrize("count", [3, 4])
def test_noise_alone_gives_the_area(count: int) -> None:
    model = build_tdoa(network(count))
    for seed in range(10):
        covariance, confidence = run(model, (48.137, 11.53), count, 0.0, noise=seed)[1:3]
        assert np.all(np.sqrt(np.linalg.eigvalsh(covariance)) > 3000)
        assert confidence < 0.3


def test_every_place_of_the_area_is_found() -> None:
    model, rng = build_tdoa(network(4)), np.random.default_rng(3)
    for at in rng.uniform((48.055, 11.41), (48.225, 11.66), (60, 2)):
        position, covariance, _, border = run(model, tuple(at), 4, 0.95)
        assert error_m(position, at) < 5
        assert np.sqrt(np.trace(covariance)) < 50
        assert border < 0.05


def test_timing_errors_are_summed_over_the_area() -> None:
    at, sigma = (48.155, 11.60), 1.5e-6
    position, covariance = run(build_tdoa(network(3)), at, 3, 0.97, sigma)[:2]
    grid = np.stack(np.meshgrid(np.linspace(48.05, 48.23, 301), np.linspace(11.4, 11.67, 301)), -1).reshape(-1, 2)
    away = np.stack([[np.linalg.norm(ecef(*p) - ecef(*place)) for place in PLACES[:3]] for p in grid]) / SPEED
    late = away - [np.linalg.norm(ecef(*at) - ecef(*place)) / SPEED for place in PLACES[:3]]
    late -= late.mean(axis=1, keepdims=True)  # when it was sent is unknown
    mass = np.exp(-0.5 * (late**2).sum(axis=1) / sigma**2)
    mass /= mass.sum()
    mean = mass @ grid
    metres = (grid - mean) * (111_200, 111_320 * np.cos(np.radians(at[0])))
    spread = (metres * mass[:, None]).T @ metres
    assert error_m(mean, at) > 100  # else this test would show nothing
    assert error_m(position, mean) < 0.2 * error_m(mean, at)
    assert np.allclose(covariance, spread[::-1, ::-1], rtol=0.1, atol=0.02 * np.trace(spread))


def test_fewer_receivers_than_the_model_has() -> None:
    at = (48.137, 11.53)
    few = run(build_tdoa(network(3)), at, 3, 0.8)
    padded = run(build_tdoa(network(4)), at, 3, 0.8)
    assert error_m(padded[0], tuple(few[0])) < 0.5
    assert np.allclose(padded[1], few[1], rtol=0.1, atol=0.5)


def test_timing_uncertainty_widens() -> None:
    at = (48.137, 11.53)
    model = build_tdoa(network(3))
    exact, loose = run(model, at, 3, 0.9), run(model, at, 3, 0.9, 1e-6)
    assert np.sqrt(np.trace(loose[1])) > 150 > np.sqrt(np.trace(exact[1]))


def test_power_model_finds_the_loudest_region() -> None:
    at = (48.10, 11.45)
    model = build_power(network(4))
    away = np.array([np.linalg.norm(ecef(*at) - ecef(*place)) for place in PLACES])
    features = np.repeat((-30 * np.log10(away))[None, :, None, None], 16, axis=3).astype(np.float32)
    positions = np.array([[(*place, 0.0) for place in PLACES]])
    session = ort.InferenceSession(model.SerializeToString())
    feed = {"features": features, "receiver_positions": positions, "receiver_count": np.array([4])}
    position, covariance = session.run(None, feed)[:2]
    assert error_m(position[0], at) < 2 * np.sqrt(np.trace(covariance[0]))
