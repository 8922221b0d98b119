"""``make bench``: floors, peers and workers in one run. Writes build/bench.json, docs/benchmarks.md and its plots."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks import features, growth, latency, report, start
from benchmarks.harness import Bench, Run, Running, pinned
from benchmarks.peers import PEERS, python_of
from benchmarks.workloads import BY_NAME, REPEATS, W1, W2, W3, W4, W5, Workload
from stream_app.settings import Settings
from tests.support.brokers import ROOT

JSON = ROOT / "build" / "bench.json"
_COUNTS = {"W1": 6000, "W2": 8000, "repeats": 16_000, "W3": 200_000, "W4": 2500, "W5": 3000}
_COMPARED = (W1, W2, W4)
_NEAR = 0.9  # of the best peer in the first round: who is below it is not run again
_ALWAYS = "confluent-kafka, batch 32"
_PLAIN = "faust-streaming, take 32"
_BARE = 1500  # captures of the bare loop
_CORE, _OTHER_CORE = "0", "1"
_FLOOR_WARM_S = 0.1
WORKER, FLOOR = "FixStream", "consume and produce"

Starter = Callable[[Settings], Sequence[Running]]
Runs = dict[str, list[Run]]


class Rounds:
    """What is run again and again, so that each ratio is of runs that were neighbours."""

    def __init__(self, bench: Bench, seconds: float, peers: Sequence[str]) -> None:
        self._bench, self._seconds, self._compared = bench, seconds, peers
        self.backlogs = {w.name: bench.backlog(w, _COUNTS[w.name]) for w in BY_NAME.values()}
        self.runs: dict[str, Runs] = {name: {} for name in self.backlogs}
        self.bare: list[float] = []
        self.two_bare: list[float] = []
        self._dropped: dict[str, set[str]] = {w.name: set() for w in _COMPARED}

    def play(self) -> None:
        """One round of all."""
        self.bare.append(sum(_bare_loops(W1, _BARE, _CORE)))
        self.two_bare.append(sum(_bare_loops(W1, _BARE, _CORE, _OTHER_CORE)))
        self._run(W1, "one core", lambda s: [self._bench.worker(s, _CORE)])
        self._run(W1, "two workers", lambda s: [self._bench.worker(s), self._bench.worker(s)])
        for workload in _COMPARED:
            self._worker(workload)
            self._peers(workload)
        self._worker(REPEATS)
        self._floor(REPEATS)
        self._worker(W3)
        self._worker(W3, "with outlines", geojson_outline=True)
        self._floor(W3)
        self._peer(W3, _PLAIN)
        if len(self.bare) == 1 and len(self._compared) > 1:
            self._worker(W5)  # no peer has versions: one run of a whole bench shows what they cost

    def _run(self, workload: Workload, name: str, starter: Starter, **more: Any) -> None:
        run = self._bench.run(self.backlogs[workload.name], self._seconds, starter, **more)
        self.runs[workload.name].setdefault(name, []).append(run)
        print(f"{workload.name} {name}: {run.rate:.0f}/s, {run.cpu_us:.0f} us, {run.rss_mb:.0f} MB", flush=True)

    def _worker(self, workload: Workload, name: str = WORKER, **more: Any) -> None:
        self._run(workload, name, lambda s: [self._bench.worker(s)], **more)

    def _floor(self, workload: Workload) -> None:
        backlog = self.backlogs[workload.name]
        # It is warm at once, and through with the backlog in a second.
        self._run(workload, FLOOR, lambda s: [self._bench.module("kafka_floor", [], backlog, s)], warm_s=_FLOOR_WARM_S)

    def _peers(self, workload: Workload) -> None:
        runs, dropped = self.runs[workload.name], self._dropped[workload.name]
        for name in self._compared:
            if name not in dropped:
                self._peer(workload, name)
        measured = {name: runs[name][0].rate for name in self._compared if name in runs}
        best = max(measured.values())
        dropped |= {name for name, rate in measured.items() if rate < _NEAR * best and name != _ALWAYS}

    def _peer(self, workload: Workload, name: str) -> None:
        module, arguments = PEERS[name]
        python = python_of(module)
        if python is None:
            return
        backlog = self.backlogs[workload.name]
        self._run(workload, name, lambda s: [self._bench.module(f"peers.{module}", arguments, backlog, s, python)])


def _bare_loops(workload: Workload, count: int, *cores: str) -> list[float]:
    """Captures a second of bare loops at the same time, one held to each core."""
    command = [sys.executable, "-m", "benchmarks.bare_loop", "--workload", workload.name, "--count", str(count)]
    loops = [subprocess.Popen([*pinned(core), *command], stdout=subprocess.PIPE, text=True) for core in cores]
    return [float(json.loads(loop.communicate()[0])["rate"]) for loop in loops]


def ratio(above: Sequence[Run] | Sequence[float], below: Sequence[Run] | Sequence[float], what: str = "rate") -> float:
    """The median of the paired ratios."""
    pairs = zip(above, below, strict=False)
    return float(np.median([_figure(a, what) / _figure(b, what) for a, b in pairs]))


def _figure(run: Run | float, what: str) -> float:
    return getattr(run, what) if isinstance(run, Run) else run


def over_best(runs: Runs) -> float:
    """The worker's rate over the best peer's: of the peers that were run each time, the one with the highest median."""
    full = len(runs[WORKER])
    peers = {name: runs[name] for name in PEERS if len(runs.get(name, [])) == full}
    best = max(peers, key=lambda name: float(np.median([run.rate for run in peers[name]])))
    return ratio(runs[WORKER], peers[best])


def summary(rounds: Rounds) -> dict[str, float]:
    """The ratios that the targets are about."""
    w1, w2, repeats, w3, w4 = (rounds.runs[name] for name in ("W1", "W2", "repeats", "W3", "W4"))
    frame = [a.cpu_us - b.cpu_us for a, b in zip(w3[WORKER], w3[FLOOR], strict=True)]
    outlined = [a.cpu_us - b.cpu_us for a, b in zip(w3["with outlines"], w3[FLOOR], strict=True)]
    return {
        "w1_over_bare_loop": ratio(w1["one core"], rounds.bare),
        "scale_2_loops": ratio(rounds.two_bare, rounds.bare),
        "scale_2_workers": ratio(w1["two workers"], w1["one core"]),
        "frame_cost_us_over_librdkafka": float(np.median(frame)),
        "frame_cost_with_outline_us": float(np.median(outlined)),
        "w3_over_plain_faust": ratio(w3[WORKER], w3[_PLAIN]),
        "w2_cost_over_librdkafka": ratio(repeats[WORKER], repeats[FLOOR], "cpu_us"),
        "w1_over_best_peer": over_best(w1),
        "w2_over_best_peer": over_best(w2),
        "w4_over_best_peer": over_best(w4),
        "w1_over_batch_32": ratio(w1[WORKER], w1[_ALWAYS]),
        "w2_over_batch_32": ratio(w2[WORKER], w2[_ALWAYS]),
        "w4_over_batch_32": ratio(w4[WORKER], w4[_ALWAYS]),
    }


def main() -> None:
    """Measures, says what it measures, writes the figures and, of a whole run, the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, one peer, short runs; no page is written")
    quick = parser.parse_args().quick
    begin = time.monotonic()
    found: dict[str, Any] = {"rounds": 1 if quick else 5}
    found["features"] = features.measure(3 if quick else 9)
    with Bench() as bench:
        found["broker"] = bench.broker.name
        rounds = Rounds(bench, 1.0, [_ALWAYS]) if quick else Rounds(bench, 1.5, list(PEERS))
        for _ in range(found["rounds"]):
            rounds.play()
        found |= summary(rounds)
        half = float(np.median([run.rate for run in rounds.runs["W1"][WORKER]])) / 2
        found |= latency.measure(bench, W1, half, 3 if quick else 20)
        points = [] if quick else growth.measure(bench, 1.5)
    found |= start.measure(1, 500) if quick else start.measure(5)
    found["features_over_loop"] = found["features"]["features_over_loop"]
    found["features_cost_over_fft"] = found["features"]["features_cost_over_fft"]
    found["runs"] = {
        w: {name: [asdict(run) for run in runs] for name, runs in r.items()} for w, r in rounds.runs.items()
    }
    found["bare_loop_per_s"], found["two_bare_loops_per_s"] = rounds.bare, rounds.two_bare
    found["growth"] = [point.row() for point in points]
    if points:
        found["cost_model"] = asdict(growth.CostModel.of(points))
    found["minutes"] = (time.monotonic() - begin) / 60
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(report.table(found))
    if not quick:
        report.write(found)
    print(f"{found['minutes']:.1f} minutes; all figures in {JSON.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
