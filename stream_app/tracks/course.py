"""Speed and course of a velocity that is known only so well."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_app.geo.ellipse import scale

Array = NDArray[np.float64]
_SIGNIFICANT = scale(0.95)  # sigmas: the 95 % ellipse of the velocity leaves standing still out


@dataclass(frozen=True, slots=True)
class Course:
    """Over ground; the course is clockwise from true north, in [0, 360)."""

    speed_m_s: float
    speed_sigma_m_s: float
    course_deg: float | None  # None: the emitter may as well stand
    course_sigma_deg: float | None


def course_of(velocity: Array, covariance: Array) -> Course:
    """Of a velocity [2] (east, north, m/s) and its covariance [2, 2].

    The course is stated where the speed is more than 2.45 sigmas of the velocity's worst direction. Then both sigmas
    are those along and across the velocity, and the course's is below 24 degrees, where that is a fair account of it.
    Otherwise the speed is mostly the length of the error, and its sigma is the RMS of that length.
    """
    east, north = float(velocity[0]), float(velocity[1])
    speed = math.hypot(east, north)
    (ee, en), (_, nn) = covariance.tolist()
    worst = 0.5 * (ee + nn) + math.hypot(0.5 * (ee - nn), en)
    if speed <= _SIGNIFICANT * math.sqrt(worst):
        return Course(speed, math.sqrt(ee + nn), None, None)
    east, north = east / speed, north / speed
    along = east * east * ee + 2 * east * north * en + north * north * nn
    across = north * north * ee - 2 * east * north * en + east * east * nn
    course = math.degrees(math.atan2(east, north)) % 360.0
    sigma = math.degrees(math.sqrt(max(across, 0.0)) / speed)
    return Course(speed, math.sqrt(max(along, 0.0)), 0.0 if course >= 360.0 else course, sigma)
