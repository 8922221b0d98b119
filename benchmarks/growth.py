"""How throughput and cost grow with receivers, samples, batch and workers, and the model that capacity is planned by.

The model: microseconds of CPU a capture = frame + R (a + b S) + c P, for R receivers of S samples and their
P = R (R - 1) / 2 pairs. It is fitted (least squares of relative errors, no term below zero) to the points of one axis
at a time, and checked on points that no fit has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.harness import Bench, Run
from benchmarks.network import circle, with_samples
from benchmarks.workloads import Workload, captures
from stream_app.models.reference import build_tdoa

_SAMPLES, _RECEIVERS, _BATCH = 4480, 3, 32
_DISTINCT = 64
_MOST_BYTES = 300_000_000  # of a backlog
_MOST_RECORDS = 6000
_AXES: dict[str, tuple[int, ...]] = {
    "receivers": (2, 3, 5, 8),
    "samples": (1024, 2048, 4480, 8192, 16384, 65536),
    "batch": (1, 4, 32, 128),
    "workers": (1, 2),
}
_LONGEST = 16384  # samples that the model is for
_UNSEEN = ((5, 16384), (8, 1024), (5, 1024))  # receivers, samples


@dataclass(frozen=True, slots=True)
class Point:
    """One measured configuration."""

    axis: str
    receivers: int
    samples: int
    batch: int
    workers: int
    run: Run

    def row(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "axis": self.axis, "receivers": self.receivers, "samples": self.samples, "batch": self.batch,
            "workers": self.workers, "captures_per_s": round(self.run.rate, 1), "cpu_us": round(self.run.cpu_us, 1),
            "rss_mb": round(self.run.rss_mb),
        }  # fmt: skip


def measure(bench: Bench, seconds: float) -> list[Point]:
    """A run for each value of each axis, the others as in W1, and for the points that are only checked."""
    usual = {"receivers": _RECEIVERS, "samples": _SAMPLES, "batch": _BATCH, "workers": 1}
    cases = [(axis, usual | {axis: value}) for axis, values in _AXES.items() for value in values]
    cases += [("unseen", usual | {"receivers": r, "samples": s}) for r, s in _UNSEEN]
    done: dict[tuple[int, ...], Run] = {}
    points = []
    for axis, case in cases:
        key = tuple(case.values())
        if key not in done:
            done[key] = _run(bench, seconds, **case)
        points.append(Point(axis, **case, run=done[key]))
    return points


def _run(bench: Bench, seconds: float, receivers: int, samples: int, batch: int, workers: int) -> Run:
    network = with_samples(samples, circle(receivers))
    workload = Workload(
        f"growth-{receivers}x{samples}",
        partial(captures, network, distinct=_DISTINCT),
        partial(build_tdoa, network),
    )
    backlog = bench.backlog(workload, min(_MOST_RECORDS, _MOST_BYTES // (4 * receivers * samples)))
    return bench.run(
        backlog, seconds, lambda settings: [bench.worker(settings) for _ in range(workers)], max_batch=batch
    )


def _terms(receivers: int, samples: int) -> list[float]:
    pairs = receivers * (receivers - 1) / 2
    return [1.0, receivers, receivers * samples / 1e3, pairs]


@dataclass(frozen=True, slots=True)
class CostModel:
    """Microseconds of CPU a capture; the coefficients are of ``_terms``, samples in thousands."""

    coefficients: tuple[float, ...]
    errors: dict[str, float]  # relative, of the points it was not fitted to

    @classmethod
    def of(cls, points: Sequence[Point]) -> CostModel:
        """Fitted to the receivers and samples axes, as far as captures stay in the CPU's caches."""
        single = [point for point in points if point.axis in ("receivers", "samples")]
        fitted = [point for point in single if point.samples <= _LONGEST]
        rows = np.array([_terms(point.receivers, point.samples) for point in fitted])
        cost = np.array([point.run.cpu_us for point in fitted])
        found, _ = nnls(rows / cost[:, None], np.ones(len(cost)))
        model = cls(tuple(found.tolist()), {})
        unseen = [point for point in points if point.axis == "unseen"]
        for point in unseen:
            said = model.cpu_us(point.receivers, point.samples)
            model.errors[f"{point.receivers} receivers, {point.samples} samples"] = said / point.run.cpu_us - 1
        return model

    def cpu_us(self, receivers: int, samples: int) -> float:
        """Of one capture."""
        return float(np.dot(self.coefficients, _terms(receivers, samples)))
