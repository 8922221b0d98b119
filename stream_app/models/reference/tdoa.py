"""Location by the coherences of all pairs at once: a search from the whole area down to metres.

The log-likelihood of a point, waveform and carrier phases unknown, is -M log det C, C the receivers'
coherence matrix at the delays that the point would give. Cells of a grid are ranked by the largest
coherence that the lags within them reach; the best are divided, again and again, and the rest keep their
mass.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import onnx

from stream_app.dsp.tdoa import lag_count
from stream_app.models import contract
from stream_app.models.reference.answer import OUTPUTS, moments, write
from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import DOUBLE, FLOAT, INT64, Graph

if TYPE_CHECKING:
    from stream_app.network.file import Network

_CELLS = 64
_KEPT = 64  # cells that go on to the next level
_FINEST = 0.0025  # of speed / bandwidth
_UNRESOLVED = 2.0  # the mean over a cell with a ridge in it, below the ridge's log-likelihood
_PIVOT = 1e-6
_OVERSAMPLE = 4  # below it, cubic interpolation biases fixes by metres at high SNR


@dataclass
class _Pairs:
    """Coherences float32 [N, P, L] by lag, and M float32 [N, 1]."""

    real: str
    imag: str
    size: str
    independent: str
    lags: int
    per_second: float
    receivers: int


def build_tdoa(network: Network) -> onnx.ModelProto:
    """A model of ``tdoa`` features float32 [N, P, 2 L + 1] for up to as many receivers as the network has."""
    plane, count = Plane(network), len(network.receivers)
    oversample = max(network.features.oversample, _OVERSAMPLE)
    band = network.features.band_hz
    width = 2 * (band[1] - band[0]) if band else network.sample_rate_hz
    margin = 6 * network.timing_sigma_us * 1e-6 + 4 / network.sample_rate_hz
    max_lag = plane.longest_baseline() / network.speed_m_s + margin
    spec = {
        "extractor": "tdoa",
        "max_receivers": count,
        "sample_rate_hz": network.sample_rate_hz,
        "max_lag_s": max_lag,
        "oversample": oversample,
        "band_hz": list(band) if band else None,
        "weighting": network.features.weighting,
    }
    lags = lag_count(max_lag, network.sample_rate_hz, oversample)
    g = Graph()
    pairs = _read(g, lags, network.sample_rate_hz * oversample, count)
    cell = np.array([plane.width, plane.height]) / (_CELLS - 2)
    finest = _FINEST * network.speed_m_s / width
    levels = max(1, math.ceil(math.log(max(cell) / finest, 4)))
    start = g.const(plane.grid(_CELLS)[None])
    batch = g.op("Shape", contract.INPUT_COUNT)
    points = g.op("Expand", start, g.op("Concat", batch, g.const([1, 1], np.int64), axis=0))
    offsets = (np.arange(4) - 1.5) / 4
    children = np.stack([x.ravel() for x in np.meshgrid(offsets, offsets)], -1)
    every: list[tuple[str, str, str, str, str]] = []
    for level in range(levels + 1):
        reach = float(np.hypot(*cell)) / network.speed_m_s * pairs.per_second
        index = _lag_index(g, plane, pairs, start if level == 0 else points)
        value = _log_likelihood(g, pairs, index)
        # Below one lag the likelihood is smooth over a cell, and pooling would only make ties.
        pooled = level < levels and reach >= 1
        bound = _bound(g, pairs, index, math.ceil(reach)) if pooled else value
        log_area = g.const(math.log(float(np.prod(cell))))
        spread = g.op("Add", g.op("Mul", points, g.const(0.0)), g.const(cell**2 / 12))
        if level == levels:
            every.append((points, g.op("Add", value, log_area), "", spread, ""))
            best = g.op("ReduceMax", value, axes=[1], keepdims=1)
            break
        kept = g.top(bound, _KEPT)
        gone = g.op("Expand", g.const(-1e9), g.op("Shape", kept))
        value = g.op("ScatterElements", g.op("Add", value, log_area), kept, gone, axis=1)
        ridge = g.op("ScatterElements", bound, kept, gone, axis=1) if pooled else ""
        every.append((points, value, ridge, spread, g.op("ReduceMax", bound, axes=[1], keepdims=1)))
        pick = g.op("Expand", g.axes("Unsqueeze", kept, 2), g.const([1, 1, 2], np.int64))
        parents = g.axes("Unsqueeze", g.op("GatherElements", points, pick, axis=1), 2)
        points = g.reshape(g.op("Add", parents, g.const(children * cell)), 0, -1, 2)
        cell = cell / 4
    masses = []
    size = float(np.prod(cell))
    for level, (_, value, ridge, _, top) in enumerate(every):
        if ridge:
            area = math.log(size * 16.0 ** (levels - level)) - _UNRESOLVED
            # Relative to the level's best: bounds are taken at whole lags, and as if pairs were independent.
            lead = g.op("Sub", ridge, top)
            floor = g.op("Add", g.op("Add", lead, best), g.const(area - _UNRESOLVED))
            value = g.op("Max", value, floor)
        masses.append(value)
    points = g.op("Concat", *(e[0] for e in every), axis=1)
    spread = g.op("Concat", *(e[3] for e in every), axis=1)
    mass, mean, covariance = moments(g, points, g.op("Concat", *masses, axis=1), spread)
    covariance = g.op("Add", covariance, _timing(g, plane, pairs, mean))
    write(g, plane, _CELLS, points, mass, mean, covariance)
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


def _read(g: Graph, lags: int, per_second: float, receivers: int) -> _Pairs:
    cut = [g.const([k], np.int64) for k in (0, lags, 2 * lags, 2 * lags + 1, 2)]
    real, imag, m = (g.op("Slice", contract.INPUT_FEATURES, cut[k], cut[k + 1], cut[4]) for k in range(3))
    size = g.op("Sqrt", g.op("Add", g.op("Mul", real, real), g.op("Mul", imag, imag)))
    live = g.cast(g.op("Greater", m, g.const(0, np.float32)), FLOAT)
    number = g.op("Max", g.sum(live, 1, 2, keep=True), g.const(1, np.float32))
    mean = g.axes("Squeeze", g.op("Div", g.sum(m, 1, 2, keep=True), number), 2)
    return _Pairs(real, imag, size, mean, lags, per_second, receivers)


def _lag_index(g: Graph, plane: Plane, pairs: _Pairs, points: str) -> str:
    """Fractional lag index double [N, P, G] of points."""
    delay = plane.distances(g, points, contract.INPUT_POSITIONS)
    ends = np.array(list(combinations(range(pairs.receivers), 2))).T
    first, second = (g.op("Gather", delay, g.const(e, np.int64), axis=2) for e in ends)
    lag = g.op("Mul", g.op("Sub", first, second), g.const(pairs.per_second / plane.network.speed_m_s))
    index = g.op("Add", g.op("Transpose", lag, perm=[0, 2, 1]), g.const((pairs.lags - 1) / 2))
    return g.op("Clip", index, g.const(1.0), g.const(pairs.lags - 2.001))


def _interpolate(g: Graph, pairs: _Pairs, index: str) -> tuple[str, str]:
    """Real and imaginary coherence float32 [N, P, G] by cubic Lagrange interpolation."""
    whole = g.op("Floor", index)
    u = g.cast(g.op("Sub", index, whole), FLOAT)
    base = g.cast(whole, INT64)
    nodes = (-1, 0, 1, 2)
    parts: tuple[list[str], list[str]] = ([], [])
    for node in nodes:
        others = [k for k in nodes if k != node]
        weight = g.const(1 / math.prod(node - k for k in others), np.float32)
        for k in others:
            weight = g.op("Mul", weight, g.op("Sub", u, g.const(k, np.float32)))
        at = g.op("Add", base, g.const(node, np.int64))
        for part, source in zip(parts, (pairs.real, pairs.imag), strict=True):
            part.append(g.op("Mul", weight, g.op("GatherElements", source, at, axis=2)))
    return g.op("Sum", *parts[0]), g.op("Sum", *parts[1])


def _log_likelihood(g: Graph, pairs: _Pairs, index: str) -> str:
    """-M log det C, double [N, G], by Schur complements of the Hermitian matrix in real arithmetic."""
    real, imag = _interpolate(g, pairs, index)
    one = g.const([[1]], np.float32)
    re, im = {}, {}
    for p, key in enumerate(combinations(range(pairs.receivers), 2)):
        re[key], im[key] = g.take(real, p, 1), g.take(imag, p, 1)
    diagonal = [one] * pairs.receivers
    total = g.const([[0]], np.float32)
    for k in range(pairs.receivers):
        pivot = g.op("Max", diagonal[k], g.const(_PIVOT, np.float32))
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


def _pooled(g: Graph, pairs: _Pairs, index: str, reach: int) -> str:
    """Largest squared coherence float32 [N, P, G] within ``reach`` lags."""
    pooled = g.op("MaxPool", pairs.size, kernel_shape=[2 * reach + 1], pads=[reach, reach], strides=[1])
    nearest = g.cast(g.op("Floor", g.op("Add", index, g.const(0.5))), INT64)
    size = g.op("GatherElements", pooled, nearest, axis=2)
    return g.op("Min", g.op("Mul", size, size), g.const(1 - _PIVOT, np.float32))


def _bound(g: Graph, pairs: _Pairs, index: str, reach: int) -> str:
    """What the pairs could reach within a cell, each for itself, double [N, G]."""
    square = _pooled(g, pairs, index, reach)
    logs = g.sum(g.op("Log", g.op("Sub", g.const(1, np.float32), square)), 1)
    return g.cast(g.op("Neg", g.op("Mul", pairs.independent, logs)), DOUBLE)


def _timing(g: Graph, plane: Plane, pairs: _Pairs, mean: str) -> str:
    """Covariance double [N, 2, 2] that timing errors of the receivers add: A diag(sigma²) A^T."""
    step = 10.0
    around = g.op("Add", mean, g.const(np.array([[[0, 0], [step, 0], [0, step]]])))
    delay = plane.distances(g, around, contract.INPUT_POSITIONS)
    middle = g.op("Gather", delay, g.const([0], np.int64), axis=1)
    moved = g.op("Gather", delay, g.const([1, 2], np.int64), axis=1)
    slope = g.op("Div", g.op("Sub", moved, middle), g.const(step * plane.network.speed_m_s))  # [N, 2, R]
    index = _lag_index(g, plane, pairs, mean)
    square = g.cast(g.axes("Squeeze", _pooled(g, pairs, index, 2), 2), DOUBLE)
    m = g.cast(pairs.independent, DOUBLE)
    weight = g.op("Mul", m, g.op("Div", square, g.op("Sub", g.const(1.0), square)))  # [N, P]
    rows = list(combinations(range(pairs.receivers), 2))
    incidence = np.zeros((len(rows), pairs.receivers))
    for p, (i, j) in enumerate(rows):
        incidence[p, i], incidence[p, j] = 1, -1
    through = g.op("MatMul", slope, g.const(incidence.T))  # [N, 2, P]
    weighted = g.op("Mul", through, g.axes("Unsqueeze", weight, 1))
    towards = g.op("MatMul", weighted, g.const(incidence))  # [N, 2, R]
    hessian = g.op("MatMul", weighted, g.op("Transpose", through, perm=[0, 2, 1]))
    h = [[g.take(g.take(hessian, i, 1), j, 1) for j in range(2)] for i in range(2)]
    trace = g.op("Add", h[0][0], h[1][1])
    small = g.op("Add", g.op("Mul", trace, g.const(1e-4)), g.const(1e-30))
    a, d = g.op("Add", h[0][0], small), g.op("Add", h[1][1], small)
    det = g.op("Sub", g.op("Mul", a, d), g.op("Mul", h[0][1], h[1][0]))
    minus = g.op("Neg", h[0][1])
    flat = [g.axes("Unsqueeze", g.op("Div", x, det), 1) for x in (d, minus, minus, a)]
    inverse = g.reshape(g.op("Concat", *flat, axis=1), -1, 2, 2)
    sigma = g.cast(contract.INPUT_TIMING, DOUBLE)
    variance = g.op("Mul", sigma, sigma)
    variance = g.op("Add", variance, g.const((plane.network.timing_sigma_us * 1e-6) ** 2))
    gain = g.op("MatMul", inverse, towards)
    scaled = g.op("Mul", gain, g.axes("Unsqueeze", variance, 1))
    return g.op("MatMul", scaled, g.op("Transpose", gain, perm=[0, 2, 1]))
