"""The other place that three receivers cannot tell from the first: two hyperbolas may meet twice."""

from __future__ import annotations

import numpy as np

from stream_app.models import contract
from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import Graph
from stream_app.models.reference.pairs import Pairs

_STEPS = 3  # of Newton's, each of which squares what the plane is off the earth by
_STEP_M = 10.0
_SINGULAR = 1e-9
_FAR = 20.0  # times the area's diagonal: no direction from there is another


def twin(g: Graph, plane: Plane, pairs: Pairs, place: str) -> tuple[str, str]:
    """Where [N, 1, 2] the first three receivers hear the same differences as at a place, and whether: bool [N, 1].

    In the plane about receiver 0, with q_i the others and r_i their ranges beyond its own, d: q_i y = (q_i² - r_i²) / 2
    - r_i d is linear, y = u + v d, and y² = d² has two roots, whose product is u² / (v² - 1) (Schau and Robinson 1987,
    Passive source localization employing intersecting spherical surfaces from time-of-arrival differences). One is the
    place. Newton's method then finds the other on the earth. More receivers than three have no twin.
    """
    at = plane.east_north(g, contract.INPUT_POSITIONS)  # [N, R, 2]
    home = g.op("Gather", at, g.const([0], np.int64), axis=1)
    others = g.op("Sub", g.op("Gather", at, g.const([1, 2], np.int64), axis=1), home)  # [N, 2, 2]
    ranges = _ranges(g, plane, place)  # [N, 3, 1]
    beyond = _differences(g, ranges)  # [N, 2, 1]
    squares = g.sum(g.op("Mul", others, others), 2, keep=True)
    half = g.op("Mul", g.op("Sub", squares, g.op("Mul", beyond, beyond)), g.const(0.5))
    u, v = _solve(g, others, half), g.op("Neg", _solve(g, others, beyond))  # [N, 2, 1]
    own = g.op("Sub", place, home)
    distance = g.op("Sqrt", g.sum(g.op("Mul", own, own), 1, 2, keep=True))
    excess = g.op("Sub", g.sum(g.op("Mul", v, v), 1, keep=True), g.const(1.0))
    further = g.op("Div", g.sum(g.op("Mul", u, u), 1, keep=True), g.op("Mul", excess, distance))  # [N, 1, 1]
    nearest = g.op("Min", further, g.op("Add", g.op("ReduceMin", beyond, axes=[1], keepdims=1), further))
    reach = float(np.hypot(plane.width, plane.height)) * _FAR
    there = g.op("And", g.op("Greater", nearest, g.const(0.0)), g.op("Less", further, g.const(reach)))
    there = g.op("And", g.reshape(there, -1, 1), pairs.of_three())
    found = g.op("Transpose", g.op("Add", u, g.op("Mul", v, further)), perm=[0, 2, 1])
    found = g.op("Where", g.axes("Unsqueeze", there, 2), g.op("Add", found, home), place)
    for _ in range(_STEPS):
        around = g.op("Add", found, g.const(np.array([[[0, 0], [_STEP_M, 0], [0, _STEP_M]]])))
        late = _differences(g, _ranges(g, plane, around))  # [N, 2, 3]
        here = g.op("Gather", late, g.const([0], np.int64), axis=2)
        moved = g.op("Gather", late, g.const([1, 2], np.int64), axis=2)
        slope = g.op("Div", g.op("Sub", moved, here), g.const(_STEP_M))
        step = _solve(g, slope, g.op("Sub", beyond, here))
        found = g.op("Add", found, g.op("Transpose", step, perm=[0, 2, 1]))
    return found, there


def _ranges(g: Graph, plane: Plane, points: str) -> str:
    """Metres [N, 3, G] to the first three receivers."""
    first = g.op("Gather", contract.INPUT_POSITIONS, g.const([0, 1, 2], np.int64), axis=1)
    return plane.distances(g, points, first)


def _differences(g: Graph, ranges: str) -> str:
    """[N, 2, G]: the second's and third's range beyond the first's."""
    others = g.op("Gather", ranges, g.const([1, 2], np.int64), axis=1)
    return g.op("Sub", others, g.op("Gather", ranges, g.const([0], np.int64), axis=1))


def _solve(g: Graph, matrix: str, right: str) -> str:
    """x [N, 2, 1] of matrix [N, 2, 2] x = right [N, 2, 1]; where there is none, something finite."""
    rows = [g.op("Gather", matrix, g.const([i], np.int64), axis=1) for i in range(2)]
    (a, b), (c, d) = ([g.op("Gather", row, g.const([j], np.int64), axis=2) for j in range(2)] for row in rows)
    first, second = (g.op("Gather", right, g.const([i], np.int64), axis=1) for i in range(2))
    det = g.op("Sub", g.op("Mul", a, d), g.op("Mul", b, c))
    det = g.op("Where", g.op("Less", g.op("Abs", det), g.const(_SINGULAR)), g.const(1.0), det)
    x = g.op("Sub", g.op("Mul", d, first), g.op("Mul", b, second))
    y = g.op("Sub", g.op("Mul", a, second), g.op("Mul", c, first))
    return g.op("Div", g.op("Concat", x, y, axis=1), det)
