"""A constant-velocity Kalman filter in a plane that goes along with the emitter. Pure: no I/O, no clock.

The plane is azimuthal equidistant about the last estimate, its axes east and north there. After each fix it is
re-centred, and what has a direction is carried along the geodesic: it holds on the antimeridian and at the poles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_app.geo.geodesy import moved, offset_turn

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Where an emitter is (WGS 84 degrees), how it moves, and how sure that is."""

    latitude: float
    longitude: float
    velocity: Array  # [2] east, north, m/s
    covariance: Array  # [4, 4] of east, north (m) and both velocities (m/s)


@dataclass(frozen=True, slots=True)
class Sight:
    """A fix as an estimate sees it: in the estimate's plane, against what was predicted for its moment."""

    state: Array  # [4] predicted
    covariance: Array  # [4, 4] of it
    residual: Array  # [2] fix minus prediction, m
    noise: Array  # [2, 2] the fix's own covariance, m²
    gain: Array  # [4, 2]
    distance2: float  # Mahalanobis, squared: chi-square of 2 degrees where the fix is of this emitter
    surprise: float  # -2 ln of the residual's density, but for a constant: compares tracks of different sharpness


def begun(latitude: float, longitude: float, covariance: Array, speed_sigma_m_s: float) -> Estimate:
    """The estimate after a first fix with ``covariance`` [2, 2] (m²): any velocity of that 1-sigma a component."""
    whole = np.zeros((4, 4))
    whole[:2, :2] = covariance
    whole[2, 2] = whole[3, 3] = speed_sigma_m_s**2
    return Estimate(latitude, longitude, np.zeros(2), whole)


def sight(
    estimate: Estimate, latitude: float, longitude: float, noise: Array, elapsed_s: float, acceleration: float
) -> Sight:
    """A fix (degrees; ``noise`` [2, 2] m², east/north at its place) ``elapsed_s`` after the estimate, or before it.

    ``acceleration`` is the 1-sigma of what a white acceleration adds to the velocity within a second, m/s².
    """
    transition = np.eye(4)
    transition[0, 2] = transition[1, 3] = elapsed_s
    state = np.concatenate([estimate.velocity * elapsed_s, estimate.velocity])
    covariance = transition @ estimate.covariance @ transition.T + _process_noise(elapsed_s, acceleration)
    east, north, turn = offset_turn(estimate.latitude, estimate.longitude, latitude, longitude)
    axes = _turned(-turn)  # the fix's own east and north, as the plane has them
    noise = axes @ noise @ axes.T
    residual = np.array([east, north]) - state[:2]
    spread = covariance[:2, :2] + noise
    weighed = np.linalg.solve(spread, np.column_stack([residual, covariance[:2]]))
    distance2 = float(residual @ weighed[:, 0])
    surprise = distance2 + float(np.linalg.slogdet(spread)[1])
    return Sight(state, covariance, residual, noise, weighed[:, 1:].T, distance2, surprise)


def corrected(estimate: Estimate, seen: Sight) -> Estimate:
    """The estimate at the moment of the fix, with the fix in it, in a plane about its new place."""
    state = seen.state + seen.gain @ seen.residual
    keep = np.eye(4)
    keep[:, :2] -= seen.gain
    # Joseph's form: it stays positive definite beside fixes of any sharpness.
    covariance = keep @ seen.covariance @ keep.T + seen.gain @ seen.noise @ seen.gain.T
    latitude, longitude, turn = moved(estimate.latitude, estimate.longitude, float(state[0]), float(state[1]))
    axes = np.zeros((4, 4))
    axes[:2, :2] = axes[2:, 2:] = _turned(turn)
    covariance = axes @ covariance @ axes.T
    return Estimate(latitude, longitude, axes[2:, 2:] @ state[2:], 0.5 * (covariance + covariance.T))


def _process_noise(elapsed_s: float, acceleration: float) -> Array:
    """Of a white acceleration (continuous time): two steps add what one of their length does. [4, 4]"""
    power, span = acceleration**2, abs(elapsed_s)
    place, cross, speed = power * span**3 / 3, power * elapsed_s * span / 2, power * span
    return np.array([[place, 0, cross, 0], [0, place, 0, cross], [cross, 0, speed, 0], [0, cross, 0, speed]])


def _turned(angle_rad: float) -> Array:
    """Turns (east, north) clockwise."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, s], [-s, c]])
