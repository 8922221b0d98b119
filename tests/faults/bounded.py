"""Memory that does not grow: with a long backlog, and over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Self

import numpy as np
import psutil

from stream_app.settings import Guarantee
from tests.faults.captures import Pool
from tests.faults.scenario import ONCE, Scenario
from tests.faults.stage import Rig, Stage
from tests.load.traffic import Traffic
from tests.support.worker import WorkerProcess, eventually

_RATE = 60.0
_SAMPLES = 256  # of each channel: 2.4 KB a capture
_REMEMBERED = 5_000  # answers: the cache is full before the warm-up is over
_WARM = 0.1  # of the captures, or of the time
_FLAT = 0.15
_SLOWEST_HZ = 50.0
_LONG_S = 60.0  # of less, a slope says nothing
_MIB = 2**20


class Memory:
    """The resident memory of a worker, once a second; a context manager."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._process = psutil.Process(worker.process.pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory")
        self.samples: list[tuple[float, int]] = []  # seconds, bytes

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self.samples.append((time.monotonic(), self._process.memory_info().rss))

    def judge(self, stage: Stage, warm_at: float) -> None:
        """Notes what it came to after ``warm_at`` (monotonic seconds); a problem where it is not flat."""
        seconds, sizes = np.array([sample for sample in self.samples if sample[0] >= warm_at]).T
        warm, most = float(sizes[:3].mean()), float(sizes.max())
        more, lasted = 100 * (most / warm - 1), seconds[-1] - seconds[0]
        told = f"resident memory {warm / _MIB:.0f} MB when warm, at most {most / _MIB:.0f} ({more:+.1f} %)"
        if lasted > _LONG_S:
            slope = np.polyfit(seconds - seconds[0], sizes, 1)[0] * 3600 / _MIB
            told += f", slope {slope:+.0f} MB/h over {lasted:.0f} s"
        stage.notes.append(told)
        if most > (1 + _FLAT) * warm:
            stage.problems.append(f"resident memory grew by more than {100 * _FLAT:.0f} %: {told}")


@contextmanager
def with_short_captures(rig: Rig, delivery: Guarantee, short: bool, **more: Any) -> Iterator[Stage]:
    """A stage with a cache that gets full, and captures as short as may be."""
    pool = Pool(rig.place("pool"), _SAMPLES)
    cache = {"cache_url": "memory://", "cache_max_entries": _REMEMBERED, "max_batch": 32}
    # The rig's model has the same geometry: it answers short captures as well.
    with Stage(rig, delivery, short, pool=pool, **cache, **more) as stage:
        yield stage


def backlog(stage: Stage, thousands: int) -> None:
    """All are there before the worker starts; no two have the same bytes."""
    count = 1000 * thousands
    with Traffic(stage.settings, islice(stage.pool.records(fresh=True), count), 1e6) as traffic:
        eventually(lambda: len(traffic.sent_ms) >= count, count / 500, "the backlog")
    worker = stage.launch("one")
    now_ms = time.time_ns() // 1_000_000  # nobody could answer before
    stage.expect(dict.fromkeys(traffic.sent_ms, now_ms), frozenset(traffic.failed))
    begin = time.monotonic()
    with Memory(worker) as memory:
        eventually(lambda: len(stage.answers.seen) >= _WARM * count, 120 + count / _SLOWEST_HZ, "the warm-up")
        warm_at = time.monotonic()
        stage.wait_all(count / _SLOWEST_HZ)
    took = time.monotonic() - begin
    stage.notes.append(f"{count / took:.0f} captures a second, the worker's start included")
    memory.judge(stage, warm_at)


def soak(stage: Stage, seconds: int) -> None:
    """A steady load; once a minute a second worker comes for a while."""
    (worker,) = stage.start("steady")
    begin = time.monotonic()
    with stage.load(_RATE, fresh=True), Memory(worker) as memory:
        number = 0
        while time.monotonic() - begin < seconds - 60:
            stage.launch(f"guest{number}")
            stage.disturbances += 1
            time.sleep(20)
            stage.stop(f"guest{number}")
            number += 1
            time.sleep(40)
        time.sleep(max(0.0, begin + seconds - time.monotonic()))
    memory.judge(stage, begin + 2 * _WARM * seconds)


SCENARIOS = (
    Scenario(
        "backlog",
        "a backlog, no two captures alike, and one worker that starts",
        backlog,
        200,
        5,
        unit="thousand captures",
        stage=with_short_captures,
        deliveries=ONCE,
    ),
    Scenario(
        "soak",
        "a steady load, and once a minute a second worker for 20 s",
        soak,
        600,
        30,
        unit="s",
        stage=with_short_captures,
        deliveries=ONCE,
    ),
)
