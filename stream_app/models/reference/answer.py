"""From weighted points to the contract's outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import DOUBLE, FLOAT, Graph

NEAR = 1 / 30  # of the area's diagonal: mass this close to the best point is the confidence
_ROUNDING = 1e-6  # of a covariance's trace: below it, single precision no longer keeps it positive definite
FLOOR_M2 = 1e-4  # single precision tells lags no better
OUTPUTS: dict[str, tuple[int, list[int | str]]] = {
    "position": (DOUBLE, ["N", 2]),
    "covariance": (FLOAT, ["N", 2, 2]),
    "confidence": (FLOAT, ["N"]),
    "border_mass": (FLOAT, ["N"]),
}


@dataclass(frozen=True, slots=True)
class Posterior:
    """Masses of points about an origin double [N, 1, 2]: single precision is enough near it.

    ``offsets`` float32 [N, 2, G], metres east and north, rows long for speed; ``mass`` float32 [N, G], whose sum is
    one; ``mean`` double [N, 1, 2]; ``covariance`` double [N, 2, 2], m², of the points and within the cells that they
    stand for.
    """

    origin: str
    offsets: str
    mass: str
    mean: str
    covariance: str


def posterior(g: Graph, origin: str, offsets: str, log_mass: str, spread: NDArray[np.float64]) -> Posterior:
    """Of log masses double [N, G]; ``spread`` [G, 2]: variances of the cells, m² east and north."""
    top = g.op("ReduceMax", log_mass, axes=[1], keepdims=1)
    mass, mean, covariance = moments(g, offsets, g.cast(g.op("Sub", log_mass, top), FLOAT))
    own = g.op("MatMul", g.axes("Unsqueeze", mass, 1), g.const(spread, np.float32))
    own = g.op("Mul", g.op("Add", own, g.const(FLOOR_M2, np.float32)), g.const(np.eye(2), np.float32))
    covariance = g.cast(g.op("Add", covariance, own), DOUBLE)
    return Posterior(origin, offsets, mass, g.op("Add", origin, g.cast(mean, DOUBLE)), covariance)


def moments(g: Graph, points: str, log_mass: str) -> tuple[str, str, str]:
    """Masses [N, G], mean [N, 1, 2] and covariance [N, 2, 2] m² of points [N, 2, G], of their own precision."""
    mass = g.op("Softmax", log_mass, axis=-1)
    mean = g.op("MatMul", points, g.axes("Unsqueeze", mass, 2))
    away = g.op("Sub", points, mean)  # squares of whole coordinates would drown a covariance of centimetres
    weighted = g.op("Mul", away, g.axes("Unsqueeze", mass, 1))
    square = g.op("MatMul", weighted, g.op("Transpose", away, perm=[0, 2, 1]))
    return mass, g.op("Transpose", mean, perm=[0, 2, 1]), square


def write(
    g: Graph, plane: Plane, cells: int, found: Posterior, mean: str, covariance: str, border: str | None = None
) -> None:
    """Name the outputs. Border mass is what lies beyond, or within half a cell of, the area's rim.

    The masses may sum to less than one where the emitter may be at none of the points; ``border`` double [N]: what
    else says that it may be outside.
    """
    size = np.array([plane.width, plane.height])
    inside = g.op("Max", g.op("Min", mean, g.const(size / 2)), g.const(-size / 2))
    g.output(plane.lat_lon(g, g.axes("Squeeze", inside, 1)), "position")
    trace = g.sum(g.op("Mul", covariance, g.const(np.eye(2))), 1, 2, keep=True)
    covariance = g.op("Add", covariance, g.op("Mul", trace, g.const(_ROUNDING * np.eye(2))))
    g.output(g.cast(covariance, FLOAT), "covariance")
    best = g.axes("Unsqueeze", g.op("ArgMax", found.mass, axis=1, keepdims=1), 2)
    best = g.op("Expand", best, g.const([1, 2, 1], np.int64))
    away = g.op("Sub", found.offsets, g.op("GatherElements", found.offsets, best, axis=2))
    radius = NEAR * float(np.hypot(*size))
    near = g.op("Less", g.sum(g.op("Mul", away, away), 1), g.const(radius**2, np.float32))
    g.output(g.sum(g.op("Mul", found.mass, g.cast(near, FLOAT)), 1), "confidence")
    points = g.op("Add", found.offsets, g.cast(g.op("Transpose", found.origin, perm=[0, 2, 1]), FLOAT))
    rim = g.const((size / 2 * (1 - 1 / (cells - 2)))[:, None], np.float32)
    outer = g.op("ReduceMax", g.op("Sub", g.op("Abs", points), rim), axes=[1], keepdims=0)
    on_rim = g.sum(g.op("Mul", found.mass, g.cast(g.op("Greater", outer, g.const(0, np.float32)), FLOAT)), 1)
    g.output(on_rim if border is None else g.op("Max", on_rim, g.cast(border, FLOAT)), "border_mass")
