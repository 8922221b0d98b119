"""From weighted points to the contract's outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import DOUBLE, FLOAT, Graph

NEAR = 1 / 30  # of the area's diagonal: mass this close to the best point is the confidence
FLOOR_M2 = 0.1
OUTPUTS: dict[str, tuple[int, list[int | str]]] = {
    "position": (DOUBLE, ["N", 2]),
    "covariance": (FLOAT, ["N", 2, 2]),
    "confidence": (FLOAT, ["N"]),
    "border_mass": (FLOAT, ["N"]),
}


def moments(g: Graph, points: str, log_mass: str) -> tuple[str, str, str]:
    """Masses [N, G], mean [N, 1, 2] and covariance [N, 2, 2] m² of points [N, G, 2]."""
    mass = g.op("Softmax", log_mass, axis=-1)
    mean = g.op("MatMul", g.axes("Unsqueeze", mass, 1), points)
    # Doubles hold the squares of an area's metres to well below FLOOR_M2.
    weighted = g.op("Transpose", g.op("Mul", points, g.axes("Unsqueeze", mass, 2)), perm=[0, 2, 1])
    square = g.op("MatMul", g.op("Transpose", mean, perm=[0, 2, 1]), mean)
    return mass, mean, g.op("Sub", g.op("MatMul", weighted, points), square)


def within_cells(g: Graph, mass: str, spread: NDArray[np.float64]) -> str:
    """Covariance [N, 2, 2] m² that points' own variances [G, 2] add, and a floor."""
    own = g.op("MatMul", g.axes("Unsqueeze", mass, 1), g.const(spread))
    return g.op("Mul", g.op("Add", own, g.const(FLOOR_M2)), g.const(np.eye(2)))


def write(
    g: Graph, plane: Plane, cells: int, points: str, mass: str, mean: str, covariance: str, border: str | None = None
) -> None:
    """Name the outputs. Border mass is what lies beyond, or within half a cell of, the area's rim.

    ``mass`` [N, G] sums to less than one where the emitter may be at none of the points; ``border`` [N]: what else
    says that it may be outside.
    """
    size = np.array([plane.width, plane.height])
    inside = g.op("Max", g.op("Min", mean, g.const(size / 2)), g.const(-size / 2))
    g.output(plane.lat_lon(g, g.axes("Squeeze", inside, 1)), "position")
    g.output(g.cast(covariance, FLOAT), "covariance")
    best = g.op("ArgMax", mass, axis=1, keepdims=1)
    best = g.op("Expand", g.axes("Unsqueeze", best, 2), g.const([1, 1, 2], np.int64))
    away = g.op("Sub", points, g.op("GatherElements", points, best, axis=1))
    radius = NEAR * float(np.hypot(*size))
    near = g.op("Less", g.sum(g.op("Mul", away, away), 2), g.const(radius**2))
    g.output(g.cast(g.sum(g.op("Mul", mass, g.cast(near, DOUBLE)), 1), FLOAT), "confidence")
    outer = g.op("Greater", plane.reach(g, points), g.const(1 - 1 / (cells - 2)))
    on_rim = g.sum(g.op("Mul", mass, g.cast(outer, DOUBLE)), 1)
    g.output(g.cast(on_rim if border is None else g.op("Max", on_rim, border), FLOAT), "border_mass")
