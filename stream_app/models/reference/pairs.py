"""Coherences of all pairs of receivers, looked up inside an ONNX graph: at a point, or the best within a cell."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from stream_app.models import contract
from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import DOUBLE, FLOAT, INT32, Graph

PIVOT = 1e-6  # coherence² stays this far below one
_NODES = (-1, 0, 1, 2)


def interpolation(reach: float) -> NDArray[np.float64]:
    """Weights of four neighbours as cubics [4, 4] of the way u from the second to the third, lowest power first.

    The least squares of the errors of all e^{j 2 pi f n}, |f| up to ``reach`` cycles a sample: where samples are dense,
    a quarter of the error of Lagrange's cubics, which are best at f = 0 alone.
    """
    f, u = np.linspace(-reach, reach, 65), np.linspace(0, 1, 33)
    waves = np.exp(2j * np.pi * f[:, None] * np.array(_NODES))
    powers = u[:, None] ** np.arange(4)
    terms = (waves[:, None, :, None] * powers[None, :, None, :]).reshape(-1, 16)
    wanted = np.exp(2j * np.pi * np.outer(f, u)).ravel()
    left, right = (np.concatenate([x.real, x.imag]) for x in (terms, wanted))
    return np.asarray(np.linalg.lstsq(left, right, rcond=1e-14)[0].reshape(4, 4))


class Pairs:
    """``tdoa`` features float32 [N, P, 2 L + 1] as real and imaginary parts by lag, and M float32 [N, 1]."""

    def __init__(self, g: Graph, plane: Plane, lags: int, per_second: float, reach: float, highest_hz: float) -> None:
        """``reach``: the largest distance in lags to either side that ``within`` is asked for."""
        self._weights = interpolation(highest_hz / per_second)
        self._g, self._plane, self.lags, self.per_second = g, plane, lags, per_second
        self.receivers = len(plane.network.receivers)
        self.ends = list(combinations(range(self.receivers), 2))
        cut = [g.const([k], np.int64) for k in (0, lags, 2 * lags, 2 * lags + 1, 2)]
        self.real, self.imag, m = (g.op("Slice", contract.INPUT_FEATURES, cut[k], cut[k + 1], cut[4]) for k in range(3))
        square = g.op("Add", g.op("Mul", self.real, self.real), g.op("Mul", self.imag, self.imag))
        self.square = g.op("Min", square, g.const(1 - PIVOT, np.float32))
        self._heard = g.cast(g.op("Greater", m, g.const(0, np.float32)), FLOAT)
        self.live = g.sum(self._heard, 1)  # pairs that heard something, float32 [N, 1]
        number = g.op("Max", g.axes("Unsqueeze", self.live, 2), g.const(1, np.float32))
        self.independent = g.axes("Squeeze", g.op("Div", g.sum(m, 1, 2, keep=True), number), 2)
        self._baselines = plane.between(g, contract.INPUT_POSITIONS)
        # Windows of 1, 2, 4, ... lags, one table after the other: any range is the larger of two of them.
        widest = 2 * math.ceil(reach) + 3
        windows = [self.square]
        for power in range(1, widest.bit_length()):
            size = 2**power
            windows.append(g.op("MaxPool", self.square, kernel_shape=[size], pads=[0, size - 1], strides=[1]))
        self._windows = g.op("Concat", *windows, axis=2)
        self._sizes = g.const([2**power for power in range(len(windows))], np.int32)

    def of_three(self) -> str:
        """Whether the first three receivers, and no others, heard something, bool [N, 1]."""
        g = self._g
        first = g.const([self.ends.index(pair) for pair in combinations(range(3), 2)], np.int64)
        among = g.sum(g.op("Gather", self._heard, first, axis=1), 1)
        three = g.const(3, np.float32)
        return g.op("And", g.op("Equal", among, three), g.op("Equal", self.live, three))

    def ends_of(self, by_receiver: str, axis: int) -> tuple[str, str]:
        """Values of each pair's first and second receiver along ``axis``, R long before and P after."""
        g = self._g
        first, second = np.array(self.ends, np.int32).reshape(-1, 2).T
        return (
            g.op("Gather", by_receiver, g.const(first, np.int32), axis=axis),
            g.op("Gather", by_receiver, g.const(second, np.int32), axis=axis),
        )

    def index(self, distances: str) -> str:
        """Fractional lag index float32 [N, P, G] of distances float32 or double [N, R, G]."""
        g = self._g
        first, second = self.ends_of(distances, 1)
        scale = g.const(self.per_second / self._plane.network.speed_m_s, np.float32)
        lag = g.op("Mul", g.cast(g.op("Sub", first, second), FLOAT), scale)
        return g.op("Add", lag, g.const((self.lags - 1) / 2, np.float32))

    def reach(self, distances: str, radius_m: float) -> str:
        """How many lags a pair's lag changes within ``radius_m`` of points, float32 [N, P, G].

        The gradient of d_i - d_j is as long as the difference of two unit vectors, by the law of cosines
        sqrt((b² - (d_i - d_j)²) / (d_i d_j)), b the baseline; nearer than the radius a direction is any.
        """
        g = self._g
        near = g.op("Add", g.cast(distances, FLOAT), g.const(radius_m, np.float32))
        first, second = self.ends_of(near, 1)
        difference = g.op("Sub", first, second)
        baseline = g.axes("Unsqueeze", g.cast(self._baselines, FLOAT), 2)
        square = g.op("Sub", g.op("Mul", baseline, baseline), g.op("Mul", difference, difference))
        square = g.op("Max", g.op("Div", square, g.op("Mul", first, second)), g.const(0, np.float32))
        turn = g.op("Div", g.const(radius_m, np.float32), g.op("Min", first, second))
        slope = g.op("Min", g.op("Add", g.op("Sqrt", square), turn), g.const(2, np.float32))
        lags_a_metre = self.per_second / self._plane.network.speed_m_s
        return g.op("Mul", slope, g.const(radius_m * lags_a_metre, np.float32))

    def at(self, index: str) -> tuple[str, str]:
        """Real and imaginary coherence float32 [N, P, G] between the lags, by four of them."""
        g = self._g
        index = g.op("Clip", index, g.const(1, np.float32), g.const(self.lags - 2.01, np.float32))
        whole = g.op("Floor", index)
        u = g.op("Sub", index, whole)
        base = g.cast(whole, INT32)
        parts: tuple[list[str], list[str]] = ([], [])
        for node, (last, *powers) in zip(_NODES, self._weights[:, ::-1].tolist(), strict=True):
            weight = g.const(last, np.float32)
            for power in powers:
                weight = g.op("Add", g.op("Mul", weight, u), g.const(power, np.float32))
            at = g.op("Add", base, g.const(node, np.int32))
            for part, source in zip(parts, (self.real, self.imag), strict=True):
                part.append(g.op("Mul", weight, g.op("GatherElements", source, at, axis=2)))
        return g.op("Sum", *parts[0]), g.op("Sum", *parts[1])

    def within(self, index: str, reach: str) -> str:
        """Largest squared coherence float32 [N, P, G] from ``index`` - ``reach`` to ``index`` + ``reach``."""
        g = self._g
        first, last = g.const(0, np.float32), g.const(self.lags - 1, np.float32)
        low = g.cast(g.op("Clip", g.op("Floor", g.op("Sub", index, reach)), first, last), INT32)
        high = g.cast(g.op("Clip", g.op("Ceil", g.op("Add", index, reach)), first, last), INT32)
        width = g.cast(g.op("Add", g.op("Sub", high, low), g.const(1, np.int32)), FLOAT)
        # Half a lag more keeps whole powers of two on the right side of rounding.
        log2 = g.op(
            "Mul", g.op("Log", g.op("Add", width, g.const(0.5, np.float32))), g.const(1 / math.log(2), np.float32)
        )
        power = g.cast(g.op("Floor", log2), INT32)
        table = g.op("Mul", power, g.const(self.lags, np.int32))
        end = g.op("Add", g.op("Sub", high, g.op("Gather", self._sizes, power, axis=0)), g.const(1, np.int32))
        left = g.op("GatherElements", self._windows, g.op("Add", table, low), axis=2)
        right = g.op("GatherElements", self._windows, g.op("Add", table, end), axis=2)
        return g.op("Max", left, right)

    def unexplained(self, index: str, reach: str, least: float) -> str:
        """What the pairs show at other lags than a point's, as log-likelihood, double [N].

        ``index`` and ``reach`` float32 [N, P, 1]: a pair's coherence further than ``reach`` from the point's lag
        is not the point's. Of each pair counts what is beyond ``least``, which noise reaches, too.
        """
        g = self._g
        lags = g.const(np.arange(self.lags)[None, None], np.float32)
        near = g.op("LessOrEqual", g.op("Abs", g.op("Sub", lags, index)), reach)
        own = g.op("ReduceMax", g.op("Where", near, self.square, g.const(0, np.float32)), axes=[2], keepdims=0)
        whole = g.op("ReduceMax", self.square, axes=[2], keepdims=0)
        left = [g.op("Log", g.op("Sub", g.const(1, np.float32), x)) for x in (own, whole)]
        gap = g.op("Mul", g.op("Sub", left[0], left[1]), self.independent)
        gap = g.op("Max", g.op("Sub", gap, g.const(least, np.float32)), g.const(0, np.float32))
        return g.cast(g.sum(gap, 1), DOUBLE)
