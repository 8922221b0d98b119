"""The figures as pages: docs/benchmarks.md, docs/capacity.md and their plots."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.growth import CostModel
from tests.support.brokers import ROOT

_DOCS = ROOT / "docs"
_LOAD = 0.6  # of a core: what capacity is planned for, so that a worker's death is borne by the others
_FIX_BYTES = 1800  # with its outline, uncompressed
_PER_CAPTURE = 4  # receivers that hear one emitter
_SAMPLES = 4480


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and what it is to be."""

    key: str
    what: str
    limit: float
    most: bool  # at most, else at least

    def line(self, found: Mapping[str, Any]) -> str:
        """Its row."""
        value = found[self.key]
        held = value <= self.limit if self.most else value >= self.limit
        sign = "at most" if self.most else "at least"
        return f"| {self.what} | {_short(value)} | {sign} {self.limit:g} | {'held' if held else '**missed**'} |"


TARGETS = (
    Target("w1_over_bare_loop", "W1: a worker on one core over the bare loop on one core", 0.9, False),
    Target("scale_2_workers", "W1: two workers on two cores over one worker on one", 1.8, False),
    Target("scale_2_loops", "the same of two bare loops: what this machine's second core gives", 1.8, False),
    Target("frame_cost_us_over_librdkafka", "W3: CPU over consume and produce, us a capture", 25, True),
    Target("frame_cost_with_outline_us", "W3: the same with outlines, us a capture", 60, True),
    Target("w3_over_plain_faust", "W3: rate over plain Faust's", 10, False),
    Target("w2_cost_over_librdkafka", "W2: CPU over that of consume and produce", 2, True),
    Target("w1_over_best_peer", "W1: rate over the best peer's", 2, False),
    Target("w2_over_best_peer", "W2: rate over the best peer's", 2, False),
    Target("w4_over_best_peer", "W4: rate over the best peer's", 2, False),
    Target("w1_over_batch_32", "W1: rate over confluent-kafka's, batch 32", 1, False),
    Target("w2_over_batch_32", "W2: rate over confluent-kafka's, batch 32", 1, False),
    Target("w4_over_batch_32", "W4: rate over confluent-kafka's, batch 32", 1, False),
    Target("features_over_loop", "features: speed over a loop of NumPy", 10, False),
    Target("features_cost_over_fft", "features: cost over that of their FFTs alone", 1.5, True),
    Target("p95_ms", "W1 at half the top rate: 95 % of fixes within, ms", 50, True),
    Target("rss_mb", "resident memory with a backlog, MB", 400, True),
    Target("start_s", "start to first fix, s", 3, True),
    Target("help_s", "`fixstream --help`, s", 0.3, True),
)


def table(found: Mapping[str, Any]) -> str:
    """The targets, and what came of each."""
    head = ["| figure | measured | target | |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *(target.line(found) for target in TARGETS)])


def write(found: Mapping[str, Any]) -> None:
    """Both pages and the plots."""
    _plot(found["growth"])
    (_DOCS / "benchmarks.md").write_text(_benchmarks(found), encoding="utf-8")
    (_DOCS / "capacity.md").write_text(_capacity(found), encoding="utf-8")


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _benchmarks(found: Mapping[str, Any]) -> str:
    return f"""\
# Benchmarks

`make bench` wrote this page: {found["rounds"]} rounds in {found["minutes"]:.0f} minutes on {found["broker"]},
{os.cpu_count()} cores for everything: broker, contenders and harness. Each ratio is the median of ratios of runs of one
round. Absolute rates are this machine's; ratios are what to compare. All figures are in build/bench.json.

{table(found)}

From capture to fix at {found["rate"]:.0f} captures a second: p50 {found["p50_ms"]:.1f} ms, p95 {found["p95_ms"]:.1f},
p99 {found["p99_ms"]:.1f}. At half the top rate of a worker that has all cores, little of them is left for
broker, producer and reader.

## Workloads

{_workloads(found["runs"])}

FixStream runs with its default settings, exactly once and with its cache; peers keep their own documentation's promise,
at least once, and have no cache. All decode the same records, run the same model on one thread and send the same fixes.
A peer that reached less than 90 % of the best one's rate in the first round was not run again.

## Growth

![Throughput and cost against receivers, samples, batch and workers](images/growth.svg)

{_growth(found["growth"])}
"""


def _workloads(runs: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> str:
    lines = [
        "| workload | who | captures/s | CPU us a capture | resident MB | runs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for workload, contenders in runs.items():
        for name, each in contenders.items():
            rate, cpu, rss = (np.median([run[key] for run in each]) for key in ("rate", "cpu_us", "rss_mb"))
            lines.append(f"| {workload} | {name} | {rate:,.0f} | {_short(cpu)} | {rss:.0f} | {len(each)} |")
    return "\n".join(lines)


def _growth(points: Sequence[Mapping[str, Any]]) -> str:
    keys = ("axis", "receivers", "samples", "batch", "workers", "captures_per_s", "cpu_us", "rss_mb")
    lines = ["| " + " | ".join(keys) + " |", "| --- " * len(keys) + "|"]
    lines += ["| " + " | ".join(str(point[key]) for key in keys) + " |" for point in points]
    return "\n".join(lines)


def _capacity(found: Mapping[str, Any]) -> str:
    model = CostModel(tuple(found["cost_model"]["coefficients"]), found["cost_model"]["errors"])
    frame, each, per_sample, pair = model.coefficients
    errors = "; ".join(f"{what}: {error:+.0%}" for what, error in model.errors.items())
    return f"""\
# Capacity

How many workers, partitions and megabytes a second a network needs. `make bench` wrote this page from what it measured
(benchmarks.md); on another machine run it there: the coefficients are the machine's.

A capture of R receivers with S samples each costs, in microseconds of CPU, P = R (R - 1) / 2 being the pairs,

    {frame:.0f} + R ({each:.1f} + {per_sample:.1f} S / 1000) + {pair:.1f} P

It was fitted to the receivers and samples axes of the growth table up to 16384 samples; longer captures leave the CPU's
caches and cost more. On points that it was not fitted to it is off by:
{errors}.

- **Cores**: captures a second times that cost, over {_LOAD}: a load of {_LOAD:.0%}, so that others bear a death.
- **Workers**: one for every two cores, as `FIXSTREAM_INFERENCE_BATCHES` is 2; with 1, one a core, which wastes less.
- **Partitions** of `iq.captures`: twice the cores, so that workers share evenly and can be doubled without a new topic.
- **In**: captures a second times R S times the bytes of a sample (4 for ci16_le).
- **Out**: {_FIX_BYTES / 1000:.1f} KB a fix with its outline. Kafka's replicas multiply what the brokers write.
- **Memory**: {found["rss_mb"]:.0f} MB a worker of three receivers, whatever the lag. It grows with receivers and batch:
  the growth table counts MLflow's own process, too, which ends after half a minute.

For networks of {_PER_CAPTURE} receivers to a capture and {_SAMPLES} samples of ci16_le:

{_plan(model)}

A repeat costs about a tenth of that: the table takes all captures as distinct.
"""


def _plan(model: CostModel) -> str:
    lines = [
        "| receivers | captures/s each | captures/s | cores | partitions | in MB/s | out MB/s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    cost_s = model.cpu_us(_PER_CAPTURE, _SAMPLES) * 1e-6
    for receivers in (4, 40, 400, 4000, 10_000):
        for each in (1, 10):
            rate = receivers / _PER_CAPTURE * each
            workers = max(1, math.ceil(rate * cost_s / _LOAD))
            inwards = rate * _PER_CAPTURE * _SAMPLES * 4 / 1e6
            outwards = rate * _FIX_BYTES / 1e6
            needs = f"{rate:,.0f} | {workers:,} | {2 * workers:,} | {inwards:,.1f} | {outwards:,.1f}"
            lines.append(f"| {receivers:,} | {each} | {needs} |")
    return "\n".join(lines)


def _plot(points: Sequence[Mapping[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "fixstream"  # the same figures give the same file
    from matplotlib import pyplot

    axes = ("receivers", "samples", "batch", "workers")
    figure, panels = pyplot.subplots(1, len(axes), figsize=(13, 3.2), constrained_layout=True)
    for panel, axis in zip(panels, axes, strict=True):
        mine = [point for point in points if point["axis"] == axis]
        values = [point[axis] for point in mine]
        panel.plot(values, [point["captures_per_s"] for point in mine], "o-", label="captures/s")
        panel.plot(values, [point["cpu_us"] for point in mine], "s--", label="CPU us a capture")
        panel.set_xlabel(axis)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.grid(visible=True, which="both", alpha=0.3)
    panels[0].legend()
    (_DOCS / "images").mkdir(exist_ok=True)
    figure.savefig(_DOCS / "images" / "growth.svg", metadata={"Date": None})
    pyplot.close(figure)
