"""Location by the coherences of all pairs at once: a search from the whole area down to metres.

The log-likelihood of a point, waveform and carrier phases unknown, is -M log det C, C the receivers'
coherence matrix at the delays that the point would give. Cells of a grid are ranked by the largest
coherence that the lags within them reach; the best are divided, again and again, and the rest keep their
mass. Where the pairs show much more at lags that no such place gives, the emitter is taken to be elsewhere.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.stats import gamma

from stream_app.dsp.tdoa import lag_count
from stream_app.models import contract
from stream_app.models.reference.answer import OUTPUTS, Posterior, posterior, write
from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import DOUBLE, FLOAT, INT64, Graph
from stream_app.models.reference.local import Local, Refiner
from stream_app.models.reference.pairs import PIVOT, Pairs
from stream_app.models.reference.timing import timing, variance
from stream_app.models.reference.twin import twin

if TYPE_CHECKING:
    from stream_app.network.file import Network

_CELLS = 64
_KEPT = 128  # cells that go on to the next level: enough for the valleys behind a receiver, where lags hardly change
_KEPT_PAIR = 384  # of two receivers: all that a hyperbola crosses, so that no part of it weighs more than another
_KEPT_FINE = 32  # where the likelihood itself ranks them; with 16 one of 400 at the border was lost at 30 dB
_FINEST = 0.004  # of speed / bandwidth
_UNRESOLVED = 2.0  # the mean over a cell with a ridge in it, below the ridge's log-likelihood
_CHANCE = 0.01  # captures of noise alone in which one place may stand out: fewer than a 95 % ellipse may miss
_ELSEWHERE = math.log(1e3)  # prior odds that the emitter is in the area
_REMOTE = 0.01
_EVEN = 0.5  # of two places that nothing tells apart
_CLOCK_SIGMAS = 4.0  # a lag this far from a point's may still be its own
_OVERSAMPLE = 4  # below it, cubic interpolation biases fixes by metres at high SNR


def build_tdoa(network: Network) -> onnx.ModelProto:
    """A model of ``tdoa`` features float32 [N, P, 2 L + 1] for up to as many receivers as the network has."""
    g, plane, count = Graph(), Plane(network), len(network.receivers)
    spec, width = _features(network, plane)
    lags = lag_count(spec["max_lag_s"], spec["sample_rate_hz"], spec["oversample"])
    per_second = spec["sample_rate_hz"] * spec["oversample"]
    cell = np.array([plane.width, plane.height]) / (_CELLS - 2)
    reach = float(np.hypot(*cell)) / network.speed_m_s * per_second
    highest_hz = spec["band_hz"][1] if spec["band_hz"] else spec["sample_rate_hz"] / 2
    pairs = Pairs(g, plane, lags, per_second, reach, highest_hz)
    resolved = max(2 * spec["max_lag_s"] * width, 2.0)  # lags that a signal of that bandwidth tells apart
    search = _Search(g, plane, pairs, cell, width, _noise(resolved, count))
    found = search.posterior()
    shift, clocks, beyond = timing(g, plane, pairs, found.mean)
    nowhere = _nowhere(g, plane, pairs, search.best, resolved, per_second / width)
    somewhere = g.op("Sub", g.const(1.0), nowhere)
    mass = g.op("Mul", found.mass, g.cast(g.axes("Unsqueeze", somewhere, 1), FLOAT))
    covariance = g.op("Add", found.covariance, clocks)
    wide = g.op("Mul", g.axes("Unsqueeze", nowhere, 1, 2), g.const(np.diag([plane.width**2, plane.height**2])))
    covariance = g.op("Add", g.op("Mul", covariance, g.axes("Unsqueeze", somewhere, 1, 2)), wide)
    border = g.op("Max", beyond, nowhere, g.axes("Squeeze", search.outside, 1))
    found = replace(found, mass=mass)
    write(g, plane, _CELLS, found, g.op("Add", found.mean, shift), covariance, border)
    inputs: dict[str, tuple[int, list[int | str]]] = {
        contract.INPUT_FEATURES: (FLOAT, ["N", count * (count - 1) // 2, 2 * lags + 1]),
        contract.INPUT_POSITIONS: (DOUBLE, ["N", count, 3]),
        contract.INPUT_COUNT: (INT64, ["N"]),
        contract.INPUT_TIMING: (FLOAT, ["N", count]),
    }
    metadata = {
        contract.META_CONTRACT: contract.CONTRACT_VERSION,
        contract.META_FEATURES: json.dumps(spec),
        contract.META_NETWORK: network.name,
        contract.META_AREA: plane.area_json,
    }
    return g.model(inputs, OUTPUTS, metadata)


def _features(network: Network, plane: Plane) -> tuple[dict[str, Any], float]:
    """The extractor's parameters, and the signal's bandwidth in Hz as far as the network file tells."""
    band = network.features.band_hz
    margin = 6 * network.timing_sigma_us * 1e-6 + 4 / network.sample_rate_hz
    spec = {
        "extractor": "tdoa",
        "max_receivers": len(network.receivers),
        "sample_rate_hz": network.sample_rate_hz,
        "max_lag_s": plane.longest_baseline() / network.speed_m_s + margin,
        "oversample": max(network.features.oversample, _OVERSAMPLE),
        "band_hz": list(band) if band else None,
        "weighting": network.features.weighting,
    }
    return spec, 2 * (band[1] - band[0]) if band else network.sample_rate_hz


class _Search:
    """From the whole area down to ``finest`` metres; ``best`` [N, 1, 2] is the likeliest of the last level."""

    def __init__(
        self, g: Graph, plane: Plane, pairs: Pairs, cell: NDArray[np.float64], width: float, noise: float
    ) -> None:
        """``noise``: the log-likelihood below which points are alike."""
        self._noise = noise
        self._g, self._plane, self._pairs, self._cell = g, plane, pairs, cell
        finest = _FINEST * plane.network.speed_m_s / width
        self._pair = pairs.receivers == 2
        self._levels = 1 if self._pair else max(1, math.ceil(math.log(max(cell) / finest, 4)))
        offsets = (np.arange(4) - 1.5) / 4
        self._children = np.stack([x.ravel() for x in np.meshgrid(offsets, offsets)], -1)
        self.best = ""
        self.outside = g.const([[0.0]])  # the chance that the best's twin is it, outside the area, double [N, 1]
        self._refiner = Refiner(g, plane, pairs, width, self._likelihood_at)

    def posterior(self) -> Posterior:
        """Over the cells of all levels, and finely about the best place and its twin."""
        g = self._g
        start = g.const(self._plane.grid(_CELLS)[None])
        batch = g.op("Shape", contract.INPUT_COUNT)
        points = g.op("Expand", start, g.op("Concat", batch, g.const([1, 1], np.int64), axis=0))
        places, spreads, left, count, first = [], [], [], _CELLS**2, ""
        for level in range(self._levels):
            cell = self._cell / 4.0**level
            value, pooled = self._rank(start if level == 0 else points, cell)
            first = value if level == 0 else first
            size = _KEPT_PAIR if self._pair else _KEPT if pooled else _KEPT_FINE
            kept = g.top(value, size)
            top = g.op("ReduceMax", value, axes=[1], keepdims=1)
            gone = g.op("Expand", g.const(-1e9), g.op("Shape", kept))
            places.append(points)
            spreads.append((count, cell))
            left.append((g.op("ScatterElements", value, kept, gone, axis=1), top if pooled else "", cell))
            pick = g.op("Expand", g.axes("Unsqueeze", kept, 2), g.const([1, 1, 2], np.int64))
            parents = g.axes("Unsqueeze", g.op("GatherElements", points, pick, axis=1), 2)
            points = g.reshape(g.op("Add", parents, g.const(self._children * cell)), 0, -1, 2)
            count = size * len(self._children)
        cell = self._cell / 4.0**self._levels
        finest = self._rank(points, cell)[0] if self._pair else self._likelihood_at(points)
        self.best = self._likeliest(points, finest)
        top = g.op("ReduceMax", finest, axes=[1], keepdims=1)
        lattices = [] if self._pair else self._lattices()
        best = g.op("Max", top, *(lattice.best for lattice in lattices))
        masses = [self._mass(value, top, best, each) for value, top, each in left]
        masses.append(self._mass(finest, "", best, cell))
        grid, mass = g.op("Concat", *places, points, axis=1), g.op("Concat", *masses, axis=1)
        if not self._pair:
            mass = self._coarse_of_two(mass, first)
        offsets = self._offsets(grid, self.best)
        spread = np.concatenate([np.tile(each**2 / 12, (n, 1)) for n, each in [*spreads, (count, cell)]])
        for lattice in lattices:
            away = self._offsets(self.best, lattice.middle)
            mass = g.op("Where", lattice.covers(g, g.op("Add", offsets, away)), g.const(-1e9), mass)
            offsets = g.op("Concat", offsets, self._offsets(lattice.points, self.best), axis=2)
            mass = g.op("Concat", mass, lattice.log_mass, axis=1)
            spread = np.concatenate([spread, np.zeros((lattice.size, 2))])
        return posterior(g, self.best, offsets, mass, spread)

    def _coarse_of_two(self, mass: str, first: str) -> str:
        """Where only two receivers heard anything, the first level: finer ones hold but a part of a hyperbola."""
        g = self._g
        first = g.op("Max", first, g.const(self._noise))
        rest = g.op("Sub", g.op("Shape", mass), g.op("Shape", first))
        coarse = g.op("Pad", first, g.op("Concat", g.const([0, 0], np.int64), rest, axis=0), g.const(-1e9))
        two = g.op("Equal", self._pairs.live, g.const(1, np.float32))
        return g.op("Where", two, coarse, mass)

    def _lattices(self) -> list[Local]:
        """About the best place, and about the one that three receivers cannot tell from it, if the area has it."""
        g = self._g
        local = self._refiner(self.best)
        place, there = twin(g, self._plane, self._pairs, local.middle)
        away = g.op("Greater", self._plane.reach(g, place), g.const(1.0))
        self.outside = g.op("Where", g.op("And", there, away), g.const(_EVEN), g.const(0.0))
        apart = g.op("Not", g.op("Or", away, local.covers(g, self._offsets(place, local.middle))))
        if self._pairs.receivers > 3:  # three of many are rare: what the grid holds of their twin is enough
            return [local]
        return [local, self._refiner(place, g.op("And", there, apart))]

    def _likeliest(self, points: str, value: str) -> str:
        """[N, 1, 2] of points [N, G, 2]."""
        g = self._g
        at = g.axes("Unsqueeze", g.op("ArgMax", value, axis=1, keepdims=1), 2)
        return g.op("GatherElements", points, g.op("Expand", at, g.const([1, 1, 2], np.int64)), axis=1)

    def _offsets(self, points: str, middle: str) -> str:
        """Points [N, G, 2] from a middle [N, 1, 2], float32 [N, 2, G]."""
        g = self._g
        rows, middle = (g.op("Transpose", x, perm=[0, 2, 1]) for x in (points, middle))
        return g.cast(g.op("Sub", rows, middle), FLOAT)

    def _rank(self, points: str, cell: NDArray[np.float64]) -> tuple[str, bool]:
        """Log-likelihood of cells double [N, G]: what their pairs reach, each for itself, or at their centres."""
        g, pairs = self._g, self._pairs
        radius = float(np.hypot(*cell)) / 2
        distances = self._distances(points)
        index = pairs.index(distances)
        # Below one lag the likelihood is smooth over a cell, and the largest within would only make ties.
        if 2 * radius / self._plane.network.speed_m_s * pairs.per_second < 1:
            return self._log_likelihood(index), False
        square = pairs.within(index, pairs.reach(distances, radius))
        logs = g.sum(g.op("Log", g.op("Sub", g.const(1, np.float32), square)), 1)
        return g.cast(g.op("Neg", g.op("Mul", pairs.independent, logs)), DOUBLE), True

    def _mass(self, value: str, top: str, best: str, cell: NDArray[np.float64]) -> str:
        """Log mass [N, G] of cells that were left: a cell's best point stands for a part of the cell only."""
        g, area = self._g, math.log(float(np.prod(cell)))
        if top:
            # Relative to the level's best: what cells reach is taken at whole lags, and as if pairs were independent.
            value = g.op("Sum", value, g.op("Neg", top), best, g.const(-_UNRESOLVED))
        return g.op("Add", g.op("Max", value, g.const(self._noise)), g.const(area))

    def _distances(self, points: str) -> str:
        return self._plane.distances(self._g, points, contract.INPUT_POSITIONS, coarse=True)

    def _likelihood_at(self, points: str) -> str:
        return self._log_likelihood(self._pairs.index(self._distances(points)))

    def _log_likelihood(self, index: str) -> str:
        """-M log det C, double [N, G], by Schur complements of the Hermitian matrix in real arithmetic."""
        g, pairs = self._g, self._pairs
        real, imag = pairs.at(index)
        one = g.const([[1]], np.float32)
        re, im = {}, {}
        for p, key in enumerate(pairs.ends):
            re[key], im[key] = g.take(real, p, 1), g.take(imag, p, 1)
        diagonal = [one] * pairs.receivers
        total = g.const([[0]], np.float32)
        for k in range(pairs.receivers):
            pivot = g.op("Max", diagonal[k], g.const(PIVOT, np.float32))
            total = g.op("Add", total, g.op("Log", pivot))
            for i in range(k + 1, pairs.receivers):
                a, b = g.op("Div", re[k, i], pivot), g.op("Div", im[k, i], pivot)
                used = g.op("Add", g.op("Mul", a, re[k, i]), g.op("Mul", b, im[k, i]))
                diagonal[i] = g.op("Sub", diagonal[i], used)
                for j in range(i + 1, pairs.receivers):
                    x = g.op("Add", g.op("Mul", a, re[k, j]), g.op("Mul", b, im[k, j]))
                    y = g.op("Sub", g.op("Mul", a, im[k, j]), g.op("Mul", b, re[k, j]))
                    re[i, j], im[i, j] = g.op("Sub", re[i, j], x), g.op("Sub", im[i, j], y)
        return g.cast(g.op("Neg", g.op("Mul", pairs.independent, total)), DOUBLE)


def _noise(resolved: float, receivers: int) -> float:
    """Log-likelihood that noise alone reaches so often that it says nothing of a place.

    Of noise M |c|² of a pair is exponential with mean 1, and L the sum over pairs. The likeliest of K places lies at
    the K-th part of that gamma distribution; so much less the log of K that all places together outweigh it.
    """
    pairs = receivers * (receivers - 1) // 2
    places = resolved ** min(2, receivers - 1)
    return max(float(gamma.isf(_CHANCE / places, pairs)) - math.log(places), 0.0)


def _nowhere(g: Graph, plane: Plane, pairs: Pairs, best: str, resolved: float, lobe: float) -> str:
    """Probability double [N] that no place in the area made the pairs' peaks.

    Lags that belong to no place fit noise, too: of each pair counts what its largest of ``resolved`` lags shows beyond
    what noise does in one of 1 / _CHANCE captures. The prior odds must be beaten. ``lobe``: lags about a peak that are
    the peak itself.
    """
    distances = plane.distances(g, best, contract.INPUT_POSITIONS)
    first, second = pairs.ends_of(variance(g, plane), 1)
    sigma = g.cast(g.op("Sqrt", g.op("Add", first, second)), FLOAT)
    late = g.op("Mul", g.axes("Unsqueeze", sigma, 2), g.const(_CLOCK_SIGMAS * pairs.per_second, np.float32))
    lobe_and_late = g.op("Add", late, g.const(lobe, np.float32))
    gap = pairs.unexplained(pairs.index(distances), lobe_and_late, math.log(resolved / _CHANCE))
    chance = g.op("Sigmoid", g.op("Sub", gap, g.const(_ELSEWHERE)))
    # An area's width squared, times a chance that nobody would act on, would still widen a fix of metres.
    return g.op("Where", g.op("Greater", chance, g.const(_REMOTE)), chance, g.const(0.0))
