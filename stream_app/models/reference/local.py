"""The posterior about one place, however narrow and slanted: a lattice laid along its own axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import FLOAT, Graph
from stream_app.models.reference.pairs import Pairs
from stream_app.models.reference.timing import fisher

_STENCIL = np.array([-4.0, 0.0, 4.0])  # sigmas: points that a parabola is laid through
_PARABOLAS = 2  # the first may be laid far from the summit, by a guessed scale
_FARTHEST = 64.0  # sigmas from there to the summit; further, it is no parabola's
_LATTICE = np.linspace(-4.5, 4.5, 13)  # sigmas; sums over steps of 0.75 are a Gaussian's integrals to 1e-7
_EDGE = 4.5 + 0.75 / 2
_NEVER = 1e9
_TRIANGLE = 3  # pairs of three receivers; two leave a hyperbola, which is no ellipse anywhere
_FLAT, _STEEP = 1 / 30, 30.0  # curvatures that are believed, as multiples of the expected


@dataclass(frozen=True, slots=True)
class Local:
    """A lattice's points double [N, G, 2], their log masses [N, G] and largest log-likelihood [N, 1], and its frame."""

    points: str
    log_mass: str
    size: int  # G
    best: str
    sound: str  # bool [N, 1]: whether the lattice holds the place's posterior
    middle: str  # [N, 1, 2]
    axes: tuple[str, str, str]  # Cholesky's factors [N, 1]: east by first, north by first, north by second

    def covers(self, g: Graph, offsets: str) -> str:
        """Whether the lattice stands for points float32 [N, 2, G], metres from its middle, bool [N, G]."""
        root, lower, last = (g.cast(x, FLOAT) for x in self.axes)
        first = g.op("Div", g.take(offsets, 0, 1), root)
        second = g.op("Div", g.op("Sub", g.take(offsets, 1, 1), g.op("Mul", lower, first)), last)
        furthest = g.op("Max", g.op("Abs", first), g.op("Abs", second))
        return g.op("And", g.op("Less", furthest, g.const(_EDGE, np.float32)), self.sound)


class Refiner:
    """Lays lattices about places that a search has found; ``likelihood`` gives L double [N, G] of points [N, G, 2]."""

    def __init__(self, g: Graph, plane: Plane, pairs: Pairs, width_hz: float, likelihood: Callable[[str], str]) -> None:
        """``width_hz``: the band that the pairs' coherences rest on."""
        self._g, self._plane, self._pairs, self._likelihood = g, plane, pairs, likelihood
        self._curvature = 2 * (2 * math.pi * width_hz) ** 2 / 12

    def __call__(self, place: str, wanted: str | None = None) -> Local:
        """The lattice about a place [N, 1, 2] near a summit, where it is ``wanted`` (bool [N, 1]).

        What pairs tell each for itself gives the scale; a parabola through nine points then gives the summit and the
        axes. Not sound: fewer than three receivers, no such parabola, or so long that it would bend with the
        hyperbolas.
        """
        g = self._g
        (a, b, d), _, distances = fisher(g, self._plane, self._pairs, place)
        a, b, d = (g.op("Mul", x, g.const(self._curvature)) for x in (a, b, d))
        small = g.op("Add", g.op("Mul", g.op("Add", a, d), g.const(1e-6)), g.const(1e-12))
        axes = _cholesky(g, *_inverse(g, g.op("Add", a, small), b, g.op("Add", d, small)))
        stencil, lattice = (np.stack([x.ravel() for x in np.meshgrid(n, n)], -1) for n in (_STENCIL, _LATTICE))
        middle = place
        for _ in range(_PARABOLAS):
            value = self._likelihood(_placed(g, middle, axes, stencil))
            summit, curved, fits = _parabola(g, value, stencil)
            middle = g.op("Add", middle, _turned(g, axes, summit))
            axes = _product(g, axes, _cholesky(g, *_inverse(g, *curved)))
        enough = g.op("GreaterOrEqual", self._pairs.live, g.const(_TRIANGLE, np.float32))
        sound = g.op("And", g.op("And", fits, enough), self._straight(axes, distances))
        if wanted is not None:
            sound = g.op("And", sound, wanted)
        # What is not sound may be no number, too.
        points = g.op("Where", g.axes("Unsqueeze", sound, 2), _placed(g, middle, axes, lattice), place)
        found = g.op("Where", sound, self._likelihood(points), g.const(-_NEVER))
        area = g.op("Log", g.op("Mul", g.op("Mul", axes[0], axes[2]), g.const((_LATTICE[1] - _LATTICE[0]) ** 2)))
        log_mass = g.op("Add", found, g.op("Where", sound, area, g.const(0.0)))
        top = g.op("ReduceMax", found, axes=[1], keepdims=1)
        return Local(points, log_mass, len(lattice), top, sound, middle, axes)

    def _straight(self, axes: tuple[str, str, str], distances: str) -> str:
        """Whether the lattice ends before a curve of the nearest receiver's radius leaves it, bool [N, 1]."""
        g = self._g
        root, _, last = axes
        length2 = g.op("Sum", *(g.op("Mul", x, x) for x in axes))  # the long axis' square, nearly
        across = g.op("Div", g.op("Mul", root, last), g.op("Sqrt", length2))
        nearest = g.op("ReduceMin", g.axes("Squeeze", distances, 2), axes=[1], keepdims=1)
        bend = g.op("Div", g.op("Mul", length2, g.const(_EDGE**2 / 2)), nearest)
        return g.op("Less", bend, g.op("Mul", across, g.const(_EDGE / 2)))


def _inverse(g: Graph, a: str, b: str, d: str) -> tuple[str, str, str]:
    """Elements of [[a, b], [b, d]]^-1."""
    det = g.op("Sub", g.op("Mul", a, d), g.op("Mul", b, b))
    return g.op("Div", d, det), g.op("Neg", g.op("Div", b, det)), g.op("Div", a, det)


def _cholesky(g: Graph, a: str, b: str, d: str) -> tuple[str, str, str]:
    """Lower factors of [[a, b], [b, d]], each [N, 1] from [N]."""
    a, b, d = (g.reshape(x, -1, 1) for x in (a, b, d))
    root = g.op("Sqrt", a)
    lower = g.op("Div", b, root)
    return root, lower, g.op("Sqrt", g.op("Sub", d, g.op("Mul", lower, lower)))


def _product(g: Graph, one: tuple[str, str, str], two: tuple[str, str, str]) -> tuple[str, str, str]:
    """Factors of the product of two lower triangular matrices."""
    lower = g.op("Add", g.op("Mul", one[1], two[0]), g.op("Mul", one[2], two[1]))
    return g.op("Mul", one[0], two[0]), lower, g.op("Mul", one[2], two[2])


def _placed(g: Graph, middle: str, axes: tuple[str, str, str], at: NDArray[np.float64]) -> str:
    """Points [N, G, 2] ``at`` [G, 2] sigmas along the axes from ``middle`` [N, 1, 2]."""
    first, second = (g.const(x[None]) for x in at.T)
    east = g.op("Mul", axes[0], first)
    north = g.op("Add", g.op("Mul", axes[1], first), g.op("Mul", axes[2], second))
    return g.op("Add", middle, g.op("Concat", g.axes("Unsqueeze", east, 2), g.axes("Unsqueeze", north, 2), axis=2))


def _turned(g: Graph, axes: tuple[str, str, str], z: tuple[str, str]) -> str:
    """Metres [N, 1, 2] of sigmas z, each [N, 1], along the axes."""
    east = g.op("Mul", axes[0], z[0])
    north = g.op("Add", g.op("Mul", axes[1], z[0]), g.op("Mul", axes[2], z[1]))
    return g.axes("Unsqueeze", g.op("Concat", east, north, axis=1), 1)


def _parabola(g: Graph, value: str, at: NDArray[np.float64]) -> tuple[tuple[str, str], tuple[str, str, str], str]:
    """Summit (two of [N, 1]), curvature (elements [N]) of the parabola through values [N, G], and whether it fits.

    Where it does not, the summit is the middle and the curvature the expected one.
    """
    x, y = at.T
    terms = np.stack([np.ones_like(x), x, y, x * x / 2, x * y, y * y / 2], -1)
    middle = g.op("Gather", value, g.const([len(at) // 2], np.int64), axis=1)
    fitted = g.op("MatMul", g.op("Sub", value, middle), g.const(np.linalg.pinv(terms).T))
    slope = [g.take(fitted, k, 1) for k in (1, 2)]
    a, b, d = (g.op("Neg", g.take(fitted, k, 1)) for k in (3, 4, 5))
    det = g.op("Sub", g.op("Mul", a, d), g.op("Mul", b, b))
    lowest, highest = (g.const(k) for k in (_FLAT, _STEEP))
    least, most = g.op("Min", a, d), g.op("Max", a, d)
    round_ = g.op("And", g.op("Greater", least, lowest), g.op("Less", most, highest))
    fits = g.op("And", round_, g.op("Greater", det, g.op("Mul", most, lowest)))
    a, d = (g.op("Where", fits, x, g.const(1.0)) for x in (a, d))
    b = g.op("Where", fits, b, g.const(0.0))
    inverse = _inverse(g, a, b, d)
    summit = [g.op("Add", g.op("Mul", inverse[k], slope[0]), g.op("Mul", inverse[k + 1], slope[1])) for k in range(2)]
    near = g.op("Less", g.op("Max", *(g.op("Abs", x) for x in summit)), g.const(_FARTHEST))
    fits = g.op("And", fits, near)
    east, north = (g.reshape(g.op("Where", fits, x, g.const(0.0)), -1, 1) for x in summit)
    return (east, north), (a, b, d), g.reshape(fits, -1, 1)
