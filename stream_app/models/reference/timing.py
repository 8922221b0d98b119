"""What errors of the receivers' clocks and of propagation do to a fix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_app.models import contract
from stream_app.models.reference.answer import moments
from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import DOUBLE, Graph
from stream_app.models.reference.pairs import Pairs

_STEP_M = 10.0
_TINY_M2 = 1e-6
_NEVER = 1e6  # log odds; where all points are beyond, they keep their order
_AROUND = np.linspace(-4, 4, 17)  # sigmas


def variance(g: Graph, plane: Plane) -> str:
    """Seconds², double [N, R]: the captures' own start_sigma_ns and the network's timing_sigma_us."""
    sigma = g.cast(contract.INPUT_TIMING, DOUBLE)
    return g.op("Add", g.op("Mul", sigma, sigma), g.const((plane.network.timing_sigma_us * 1e-6) ** 2))


def timing(g: Graph, plane: Plane, pairs: Pairs, mean: str) -> tuple[str, str, str]:
    """What timing errors do: the fix's shift m, double [N, 1, 2], added covariance m² [N, 2, 2], mass beyond [N].

    To first order a fix follows arrival times by x = G t, G = (A W A^T)^-1 A W (weighted least squares, W the
    pairs' weights M |c|² / (1 - |c|²)), so that errors S of the arrival times give G S G^T. Far outside the
    receivers' triangle a position answers later arrivals with longer steps than earlier ones; so the
    posterior of x given the fix, exp(-z^T (G S G^T)^-1 z / 2) with z = G (t(x) - t(fix)), is summed over points
    of the area. The mass beyond is what it would have outside.
    """
    gain, middle = _gain(g, plane, pairs, mean)
    scaled = g.op("Mul", gain, g.axes("Unsqueeze", variance(g, plane), 1))
    linear = g.op("MatMul", scaled, g.op("Transpose", gain, perm=[0, 2, 1]))
    c = [[g.take(g.take(linear, i, 1), j, 1) for j in range(2)] for i in range(2)]
    tiny = g.const(_TINY_M2)
    root = g.op("Sqrt", g.op("Add", c[0][0], tiny))  # Cholesky's factors, double [N]
    lower = g.op("Div", c[1][0], root)
    rest = g.op("Sub", c[1][1], g.op("Mul", lower, lower))
    last = g.op("Sqrt", g.op("Add", g.op("Max", rest, g.const(0.0)), tiny))
    east, north = (x.ravel() for x in np.meshgrid(_AROUND, _AROUND))
    root, lower, last = (g.axes("Unsqueeze", x, 1) for x in (root, lower, last))
    east_m = g.op("Mul", root, g.const(east[None]))
    north_m = g.op("Add", g.op("Mul", lower, g.const(east[None])), g.op("Mul", last, g.const(north[None])))
    offsets = g.op("Concat", g.axes("Unsqueeze", east_m, 2), g.axes("Unsqueeze", north_m, 2), axis=2)
    points = g.op("Add", mean, offsets)
    away = plane.distances(g, points, contract.INPUT_POSITIONS)
    later = g.op("Mul", g.op("Sub", away, middle), g.const(1 / plane.network.speed_m_s))
    z = g.op("MatMul", gain, later)  # [N, 2, G]
    first = g.op("Div", g.take(z, 0, 1), root)
    second = g.op("Div", g.op("Sub", g.take(z, 1, 1), g.op("Mul", lower, first)), last)
    squares = g.op("Add", g.op("Mul", first, first), g.op("Mul", second, second))
    log_mass = g.op("Mul", squares, g.const(-0.5))
    beyond = g.op("Greater", plane.reach(g, points), g.const(1.0))
    free = g.op("Softmax", log_mass, axis=-1)
    outside = g.sum(g.op("Mul", free, g.cast(beyond, DOUBLE)), 1)
    held = g.op("Where", beyond, g.op("Sub", log_mass, g.const(_NEVER)), log_mass)
    _, shift, covariance = moments(g, g.op("Transpose", offsets, perm=[0, 2, 1]), held)
    return shift, covariance, outside


def _gain(g: Graph, plane: Plane, pairs: Pairs, mean: str) -> tuple[str, str]:
    """m/s, double [N, 2, R]: the fix's answer to arrival times; and its own distances [N, R, 1]."""
    h, weighted, middle = fisher(g, plane, pairs, mean)
    towards = g.op("MatMul", weighted, g.const(_incidence(pairs)))  # [N, 2, R]
    trace = g.op("Add", h[0], h[2])
    small = g.op("Add", g.op("Mul", trace, g.const(1e-4)), g.const(1e-30))
    a, d = g.op("Add", h[0], small), g.op("Add", h[2], small)
    det = g.op("Sub", g.op("Mul", a, d), g.op("Mul", h[1], h[1]))
    minus = g.op("Neg", h[1])
    flat = [g.axes("Unsqueeze", g.op("Div", x, det), 1) for x in (d, minus, minus, a)]
    inverse = g.reshape(g.op("Concat", *flat, axis=1), -1, 2, 2)
    return g.op("MatMul", inverse, towards), middle


def fisher(g: Graph, plane: Plane, pairs: Pairs, at: str) -> tuple[tuple[str, str, str], str, str]:
    """What the pairs' coherences tell of a place [N, 1, 2], each pair for itself, per mean square frequency.

    Returns the information's elements (east, both, north) double [N], 1/(m Hz)², the pairs' slopes times their weights
    M |c|² / (1 - |c|²) [N, 2, P], and the place's distances [N, R, 1].
    """
    around = g.op("Add", at, g.const(np.array([[[0, 0], [_STEP_M, 0], [0, _STEP_M]]])))
    distances = plane.distances(g, around, contract.INPUT_POSITIONS)
    middle = g.op("Gather", distances, g.const([0], np.int64), axis=2)
    moved = g.op("Gather", distances, g.const([1, 2], np.int64), axis=2)
    slope = g.op("Div", g.op("Sub", moved, middle), g.const(_STEP_M * plane.network.speed_m_s))
    slope = g.op("Transpose", slope, perm=[0, 2, 1])  # [N, 2, R]
    square = pairs.within(pairs.index(middle), g.const(2, np.float32))
    square = g.cast(g.axes("Squeeze", square, 2), DOUBLE)
    m = g.cast(pairs.independent, DOUBLE)
    weight = g.op("Mul", m, g.op("Div", square, g.op("Sub", g.const(1.0), square)))  # [N, P]
    through = g.op("MatMul", slope, g.const(_incidence(pairs).T))  # [N, 2, P]
    weighted = g.op("Mul", through, g.axes("Unsqueeze", weight, 1))
    hessian = g.op("MatMul", weighted, g.op("Transpose", through, perm=[0, 2, 1]))
    east, both, north = (g.take(g.take(hessian, i, 1), j, 1) for i, j in ((0, 0), (0, 1), (1, 1)))
    return (east, both, north), weighted, middle


def _incidence(pairs: Pairs) -> NDArray[np.float64]:
    """[P, R]: 1 at a pair's first receiver and -1 at its second."""
    incidence = np.zeros((len(pairs.ends), pairs.receivers))
    for p, (i, j) in enumerate(pairs.ends):
        incidence[p, i], incidence[p, j] = 1, -1
    return incidence
