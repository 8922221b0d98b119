"""The filter against the same problem solved as a whole, and at the places where maps break."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_app.geo.geodesy import destination, distance_m, moved, offset_en_m, offset_turn
from stream_app.tracks.filter import Estimate, begun, corrected, sight
from tests.unit.tracks.fixes import tilted

_STEP_S, _ACCELERATION, _SPEED = 2.0, 0.7, 20.0


def _steps(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Transition and process noise of one step, as the textbooks have them (Bar-Shalom et al. 2001, 6.2.2)."""
    t, q = _STEP_S, _ACCELERATION**2
    transition = np.kron([[1, t], [0, 1]], np.eye(2))
    noise = np.kron([[t**3 / 3, t**2 / 2], [t**2 / 2, t]], np.eye(2)) * q
    return transition, noise


def test_fixes_one_by_one_come_to_what_all_at_once_come_to() -> None:
    """The last state of a linear Gaussian problem, by one least-squares solution over all states and fixes."""
    rng = np.random.default_rng(5)
    count, size = 12, 4
    transition, process = _steps(count)
    noises = [tilted(rng, 9.0, 3.0) for _ in range(count)]
    # Near the equator and small, a plane about the first fix is the same plane all along, to a millimetre.
    offsets = np.cumsum(rng.normal([6.0, 3.0], 4.0, (count, 2)), axis=0)
    offsets -= offsets[0]
    information, vector = np.zeros((count * size, count * size)), np.zeros(count * size)

    def add(rows: NDArray[np.float64], value: NDArray[np.float64], covariance: NDArray[np.float64]) -> None:
        nonlocal information, vector
        weight = np.linalg.inv(covariance)
        information += rows.T @ weight @ rows
        vector += rows.T @ weight @ value

    def state(number: int) -> NDArray[np.float64]:
        rows = np.zeros((size, count * size))
        rows[:, size * number : size * number + size] = np.eye(size)
        return rows

    add(state(0)[2:], np.zeros(2), np.eye(2) * _SPEED**2)
    for number in range(count):
        add(state(number)[:2], offsets[number], noises[number])
        if number:
            add(state(number) - transition @ state(number - 1), np.zeros(size), process)
    covariance = np.linalg.inv(information)
    expected, spread = (covariance @ vector)[-size:], covariance[-size:, -size:]

    estimate = begun(0.0, 9.0, noises[0], _SPEED)
    for offset, noise in zip(offsets[1:], noises[1:], strict=True):
        latitude, longitude, _ = moved(0.0, 9.0, float(offset[0]), float(offset[1]))
        estimate = corrected(estimate, sight(estimate, latitude, longitude, noise, _STEP_S, _ACCELERATION))
    east, north = offset_en_m(0.0, 9.0, estimate.latitude, estimate.longitude)
    assert [float(east), float(north), *estimate.velocity] == pytest.approx(expected, abs=1e-3)
    assert estimate.covariance == pytest.approx(spread, rel=1e-4, abs=1e-4)


@settings(max_examples=60)
@given(st.floats(-89.9, 89.9), st.floats(-180, 180), st.floats(0, 360), st.floats(0.5, 300))
def test_an_emitter_on_a_geodesic_is_followed_anywhere_on_earth(
    latitude: float, longitude: float, azimuth: float, speed: float
) -> None:
    """Over the antimeridian, over a pole: the filter's speed is the emitter's, its course is the way's azimuth."""
    noise = np.diag([4.0, 1.0])
    estimate = begun(latitude, longitude, noise, 300.0)
    for number in range(1, 31):
        place = destination(latitude, longitude, azimuth, number * speed)
        estimate = corrected(estimate, sight(estimate, float(place[0]), float(place[1]), noise, 1.0, 0.01))
    assert float(distance_m(estimate.latitude, estimate.longitude, *place)) < 1.0
    assert math.hypot(*estimate.velocity) == pytest.approx(speed, abs=0.3)
    ahead = destination(latitude, longitude, azimuth, 31 * speed)
    east, north = offset_en_m(estimate.latitude, estimate.longitude, *ahead)
    assert estimate.velocity == pytest.approx([float(east), float(north)], abs=1.2)
    assert -180 <= estimate.longitude <= 180


@example(89.97, 10.0, 90.0, 5000.0, 2.0)
@example(-89.97, 10.0, 250.0, 5000.0, -2.0)
@settings(max_examples=60)
@given(st.floats(-89.9, 89.9), st.floats(-180, 180), st.floats(0, 360), st.floats(0.01, 5000), st.floats(-30, 30))
def test_a_fix_is_seen_the_same_from_wherever_the_plane_is(
    latitude: float, longitude: float, azimuth: float, length: float, elapsed_s: float
) -> None:
    """A fix's ellipse keeps its direction on the ground: how far off it is does not depend on the meridians."""
    noise = np.array([[90.0, 50.0], [50.0, 60.0]])
    east, north = (length * f(math.radians(azimuth)) for f in (math.sin, math.cos))
    there_lat, there_lon, turn = moved(latitude, longitude, east, north)
    c, s = math.cos(turn), math.sin(turn)
    axes = np.array([[c, s], [-s, c]])
    velocity = np.array([3.0, -2.0])
    estimate = Estimate(latitude, longitude, velocity, np.diag([30.0, 20.0, 4.0, 2.0]))
    seen = sight(estimate, there_lat, there_lon, axes @ noise @ axes.T, elapsed_s, 1.0)
    expected = np.array([east, north]) - velocity * elapsed_s
    spread = noise + np.diag([30.0, 20.0]) + np.diag([4.0, 2.0]) * elapsed_s**2 + np.eye(2) * abs(elapsed_s) ** 3 / 3
    assert seen.residual == pytest.approx(expected, abs=1e-3)
    assert seen.distance2 == pytest.approx(expected @ np.linalg.solve(spread, expected), rel=1e-3, abs=1e-6)


def test_two_steps_add_the_uncertainty_that_one_of_their_length_does() -> None:
    estimate = Estimate(47.0, 9.0, np.zeros(2), np.diag([9.0, 4.0, 1.0, 1.0]))
    vague = np.eye(2) * 1e18  # says nothing: what is left is the prediction
    once = corrected(estimate, sight(estimate, 47.0, 9.0, vague, 8.0, 0.5))
    halfway = corrected(estimate, sight(estimate, 47.0, 9.0, vague, 3.0, 0.5))
    twice = corrected(halfway, sight(halfway, 47.0, 9.0, vague, 5.0, 0.5))
    assert twice.covariance == pytest.approx(once.covariance, rel=1e-9)


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-180, 180), st.floats(0, 1e6))
def test_going_there_and_looking_back_turn_alike(
    latitude: float, longitude: float, azimuth: float, length: float
) -> None:
    east, north = (length * f(math.radians(azimuth)) for f in (math.sin, math.cos))
    lat, lon, turn = moved(latitude, longitude, east, north)
    seen_east, seen_north, seen_turn = offset_turn(latitude, longitude, lat, lon)
    assert [seen_east, seen_north] == pytest.approx([east, north], abs=1e-3)
    if length > 1:  # of a point nothing can be turned by
        slack = 1e-3 + 1e-6 * length / max(1e-6, math.cos(math.radians(lat)))
        assert math.remainder(seen_turn - turn, 2 * math.pi) == pytest.approx(0, abs=slack)


@given(st.floats(1e-2, 1e5), st.floats(1e-5, 1), st.floats(0, 59), st.integers(0, 2**32))
def test_the_covariance_stays_one(major: float, ratio: float, elapsed_s: float, seed: int) -> None:
    """Whatever follows what: needles, specks, ellipses as large as a country."""
    rng = np.random.default_rng(seed)
    estimate = begun(47.0, 9.0, tilted(rng, 10.0, 10.0), 30.0)
    for size in (major, 5.0, major, 0.05):
        estimate = corrected(estimate, sight(estimate, 47.0, 9.0, tilted(rng, size, ratio * size), elapsed_s, 1.0))
        assert np.all(np.isfinite(estimate.covariance))
        assert np.linalg.eigvalsh(estimate.covariance).min() > -1e-9 * np.abs(estimate.covariance).max()
