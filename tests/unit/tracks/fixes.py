"""Fixes of made-up emitters, as honest as their covariances say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_app.geo.ellipse import error_ellipses
from stream_app.geo.geodesy import moved
from stream_app.records.fix import CacheOutcome, Fix, Timings

START_US = 1_760_000_000_000_000
NETWORK, FREQUENCY_HZ = "lake", 433.92e6
Covariance = tuple[tuple[float, float], tuple[float, float]]
ROUND: Covariance = ((25.0, 0.0), (0.0, 25.0))


def a_fix(
    capture_id: str, elapsed_s: float, latitude: float, longitude: float, covariance: Covariance = ROUND, **more: object
) -> Fix:
    """A fix so many seconds after START_US."""
    (ee, en), (_, nn) = covariance
    axes = error_ellipses(np.array([covariance]), 0.95)
    major, minor = float(axes.sigma_x_m[0]), float(axes.sigma_y_m[0])
    made = Fix(
        capture_id=capture_id,
        network=NETWORK,
        captured_at_us=START_US + round(elapsed_s * 1e6),
        center_frequency_hz=FREQUENCY_HZ,
        latitude=latitude,
        longitude=longitude,
        cov_east_m2=ee,
        cov_north_m2=nn,
        cov_east_north_m2=en,
        sigma_x_m=major,
        sigma_y_m=minor,
        theta_rad=float(axes.theta_rad[0]),
        semi_major_m=2.4477 * major,
        semi_minor_m=2.4477 * minor,
        orientation_deg=float(axes.orientation_deg[0]),
        confidence=0.95,
        outline_geojson=None,
        model_name="m",
        model_version="1",
        fallback=False,
        model_confidence=None,
        border=False,
        cache=CacheOutcome.MISS,
        timings=Timings(1.0, 1.0, 1.0, 3.0),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def heard_ms(fix: Fix) -> int:
    """When its record was made: half a second after the capture."""
    return fix.captured_at_us // 1000 + 500


def tilted(rng: np.random.Generator, major_m: float, minor_m: float) -> NDArray[np.float64]:
    """A covariance [2, 2] of those 1-sigma axes, in any direction."""
    angle = rng.uniform(0, math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ np.diag([major_m**2, minor_m**2]) @ turn.T


def honest_fixes(
    place: Callable[[float], tuple[float, float]],
    count: int,
    step_s: float,
    rng: np.random.Generator,
    axes_m: tuple[float, float] = (20.0, 5.0),
) -> Iterator[tuple[Fix, tuple[float, float]]]:
    """Fixes of an emitter that is at ``place(seconds)``, off by draws of what they state; the truth beside each."""
    for number in range(count):
        truth = place(number * step_s)
        covariance = tilted(rng, *axes_m)
        east, north = rng.multivariate_normal([0, 0], covariance)
        latitude, longitude, _ = moved(*truth, float(east), float(north))
        stated: Covariance = tuple(map(tuple, covariance.tolist()))  # type: ignore[assignment]
        yield a_fix(f"c{number}", number * step_s, latitude, longitude, stated), truth
