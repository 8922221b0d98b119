"""Error ellipses of 2-D Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ellipses:
    """N error ellipses; every array is float64 [N]."""

    sigma_x_m: Array  # 1-sigma along the major axis
    sigma_y_m: Array  # 1-sigma along the minor axis
    theta_rad: Array  # the major axis, counter-clockwise from east, in [0, pi)
    semi_major_m: Array  # at the confidence asked for
    semi_minor_m: Array
    orientation_deg: Array  # the major axis, clockwise from true north, in [0, 180)


def scale(confidence: float) -> float:
    """Sigmas from centre to the ellipse that holds ``confidence``: sqrt(-2 ln(1-p)), chi-square of 2 degrees.

    Raises ValueError outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be a probability above 0 and below 1, not {confidence!r}")
    return sqrt(-2 * log1p(-confidence))


def error_ellipses(cov: Array, confidence: float) -> Ellipses:
    """Ellipses of covariances ``cov`` [N, 2, 2] (m², east/north) at a probability; a circle points east.

    An eigenvalue that rounding left below zero counts as zero.
    """
    k = scale(confidence)
    major, minor, theta = _axes(cov)
    sigma_x, sigma_y = np.sqrt(major), np.sqrt(minor)
    # The remainder can round up to the modulus itself, which is the other end of the half-open range.
    orientation = np.mod(90.0 - np.degrees(theta), 180.0)
    orientation = np.where(orientation >= 180.0, 0.0, orientation)
    return Ellipses(sigma_x, sigma_y, theta, k * sigma_x, k * sigma_y, orientation)


def holds(cov: Array, east_m: Array, north_m: Array, confidence: float) -> NDArray[np.bool_]:
    """Whether points [N], offset from the ellipses' centres in metres, lie inside them. A flat ellipse is a line."""
    major, minor, theta = _axes(cov)
    limit = scale(confidence) ** 2
    along = (np.cos(theta) * east_m + np.sin(theta) * north_m) ** 2
    across = (np.cos(theta) * north_m - np.sin(theta) * east_m) ** 2
    inside = along * minor + across * major <= limit * major * minor
    result: NDArray[np.bool_] = inside & (along <= limit * major) & (across <= limit * minor)
    return result


def _axes(cov: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues (larger, smaller) and the larger one's direction of symmetric [N, 2, 2], in closed form."""
    cov = np.asarray(cov, np.float64)
    east, north = cov[:, 0, 0], cov[:, 1, 1]
    both = 0.5 * (cov[:, 0, 1] + cov[:, 1, 0])
    mean, half = 0.5 * (east + north), 0.5 * (east - north)
    radius = np.hypot(half, both)
    theta = np.mod(0.5 * np.arctan2(both, half), np.pi)
    theta = np.where(theta >= np.pi, 0.0, theta)
    return np.maximum(mean + radius, 0.0), np.maximum(mean - radius, 0.0), theta
