"""The Cramér-Rao bound against the likelihood itself, and what it must do with geometry and clocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.network.bound import delay_information, delay_slopes, position_bound, rms_m
from tests.unit.network.networks import network

BANDWIDTH_HZ, SECONDS = 500e3, 4480e-6
RING = np.array([[math.cos(a), math.sin(a)] for a in np.radians([10, 130, 250])]) / 299_792_458.0


def _expected_log_likelihood(delays: np.ndarray, phases: np.ndarray, snr: np.ndarray, bins: int) -> float:
    """Of receivers' spectra whose true delays and phases are 0: -sum log det C - tr C^-1 C0 over the bins."""
    frequencies = (np.arange(bins) + 0.5) / bins * BANDWIDTH_HZ - BANDWIDTH_HZ / 2
    truth = np.outer(np.sqrt(snr), np.sqrt(snr)) + np.eye(len(snr))
    total = 0.0
    for frequency in frequencies:
        steer = np.sqrt(snr) * np.exp(1j * (phases - 2 * np.pi * frequency * delays))
        model = np.outer(steer, steer.conj()) + np.eye(len(snr))
        total -= np.linalg.slogdet(model)[1] + np.trace(np.linalg.solve(model, truth)).real
    return total * BANDWIDTH_HZ * SECONDS / bins


def test_the_information_is_the_curvature_of_the_likelihood_once_carrier_phases_are_unknown() -> None:
    snr = np.array([3.0, 0.5, 10.0])
    steps = np.array([2e-9] * 3 + [2e-3] * 3)

    def value(offset: np.ndarray) -> float:
        return _expected_log_likelihood(offset[:3], offset[3:], snr, 400)

    curvature = np.empty((6, 6))
    for i in range(6):
        for j in range(6):
            corners = [(a * b, value((a * np.eye(6)[i] + b * np.eye(6)[j]) * steps)) for a in (1, -1) for b in (1, -1)]
            curvature[i, j] = -sum(sign * at for sign, at in corners) / (4 * steps[i] * steps[j])
    delays, both, phases = curvature[:3, :3], curvature[:3, 3:], curvature[3:, 3:]
    found = delays - both @ np.linalg.pinv(phases) @ both.T
    expected = delay_information(snr, BANDWIDTH_HZ, SECONDS)
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.parametrize(("receivers", "stated"), [(3, {0: 7.5, 10: 2.1, 20: 0.7}), (4, {0: 6.1, 10: 1.8})])
def test_it_falls_with_snr_as_the_design_s_table_does(receivers: int, stated: dict[int, float]) -> None:
    azimuths = np.radians(np.arange(receivers) * 360 / receivers)
    slopes = np.stack([np.sin(azimuths), np.cos(azimuths)], -1) / 299_702_547.0
    found = {
        snr: rms_m(
            position_bound(
                slopes, delay_information([10 ** (snr / 10)] * receivers, 500e3, 4480e-6), np.zeros(receivers)
            )
        )
        for snr in stated
    }
    # The table's emitters stood off the centre, where the bound is lowest; how it falls does not depend on that.
    for snr, metres in stated.items():
        assert 0.8 * metres < found[snr] < metres
        assert found[snr] / found[0] == pytest.approx(metres / stated[0], abs=0.06 / stated[0])


def test_of_two_receivers_the_delay_has_the_textbook_variance() -> None:
    a, b = 2.0, 5.0
    coherence = a * b / ((1 + a) * (1 + b))  # squared; Carter 1987, with the band about its middle
    variance = (1 - coherence) / coherence / (2 * BANDWIDTH_HZ * SECONDS * (2 * math.pi * BANDWIDTH_HZ) ** 2 / 12)
    information = delay_information([a, b], BANDWIDTH_HZ, SECONDS)
    assert 1 / information[0, 0] == pytest.approx(variance)
    assert np.allclose(information, information[0, 0] * np.array([[1, -1], [-1, 1]]))


def test_two_receivers_leave_a_direction_open() -> None:
    known = delay_information([1.0, 1.0], BANDWIDTH_HZ, SECONDS)
    assert math.isinf(rms_m(position_bound(RING[:2], known, [0, 0])))


def test_clocks_alone_give_the_least_squares_covariance_where_the_signal_is_loud() -> None:
    known, sigma = delay_information([1e7] * 3, BANDWIDTH_HZ, SECONDS), 15e-9
    away = RING - RING.mean(0)
    assert np.allclose(position_bound(RING, known, [sigma] * 3), np.linalg.inv(away.T @ away) * sigma**2, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    azimuths=st.lists(st.integers(0, 35), min_size=3, max_size=8, unique=True),
    decibels=st.lists(st.floats(-20, 30), min_size=8, max_size=8),
    sigma_ns=st.floats(0, 100),
)
def test_more_receivers_louder_signals_and_better_clocks_never_make_it_worse(
    azimuths: list[int], decibels: list[float], sigma_ns: float
) -> None:
    angles = np.radians(10.0 * np.array(azimuths))
    slopes = np.stack([np.sin(angles), np.cos(angles)], -1) / 3e8
    snr = 10 ** (np.array(decibels[: len(angles)]) / 10)
    sigma = np.full(len(angles), sigma_ns * 1e-9)

    def metres(snr: np.ndarray, sigma: np.ndarray, receivers: slice = slice(None)) -> float:
        known = delay_information(snr[receivers], BANDWIDTH_HZ, SECONDS)
        return rms_m(position_bound(slopes[receivers], known, sigma[receivers]))

    base = metres(snr, sigma) * (1 + 1e-6)
    assert metres(2 * snr, sigma) <= base
    assert metres(snr, sigma / 2) <= base
    assert base * (1 - 1e-5) <= metres(snr, sigma, slice(0, -1))


def test_slopes_are_the_directions_to_the_receivers_over_the_speed() -> None:
    where = network()
    slopes = delay_slopes(where, 47.75, 9.05)
    directions = slopes * where.speed_m_s
    # Receivers stand at other heights than the emitter: a direction's part along the ground is a little below one.
    assert np.allclose(np.hypot(*directions.T), 1, atol=0.01)
    away = np.array([[0.60, -0.80], [-1.0, 0.0], [0.56, 0.83]])  # from a, b and c, which stand NW, E and SW
    assert np.allclose(directions, away, atol=0.05)
