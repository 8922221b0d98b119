"""How soon a worker on real Kafka gives its first fix, what memory it takes with a backlog, how soon --help is there.

python -m benchmarks.start; beside the figures, what this machine needs for a bare Python and for the libraries alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import onnx
from confluent_kafka import Consumer, TopicPartition

from benchmarks.harness import processes
from benchmarks.network import BENCH_NETWORK
from benchmarks.workloads import W1
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.settings import Settings
from tests.support.brokers import KraftBroker
from tests.support.worker import WorkerProcess, send_all, settings_for

_MODEL = "start"
_FIX_S, _BACKLOG_S = 120.0, 900.0
_PYTHON = [sys.executable, "-c"]
_COMMANDS = {
    "python": [*_PYTHON, "pass"],
    "libraries": [*_PYTHON, "import faust, onnxruntime, confluent_kafka, numpy"],
    "help": [sys.executable, "-m", "stream_app.cli.main", "--help"],
}


def measure(rounds: int = 5, backlog: int = 3000) -> dict[str, float]:
    """Medians of ``rounds``, s; CPU seconds and resident MB of the worker and its children at the first fix.

    ``rss_mb`` and ``rss_peak_mb`` are of the worker alone when it has worked off a backlog.
    """
    found: dict[str, list[float]] = {}
    records = list(W1.records(backlog))
    with tempfile.TemporaryDirectory() as place, KraftBroker(Path(place)) as bootstrap:
        folder = Path(place)
        model = folder / "model.onnx"
        onnx.save(build_tdoa(BENCH_NETWORK), str(model))
        registry = f"sqlite:///{folder}/registry.db"
        Registry(registry, folder / "models").register(_MODEL, model, alias="champion")
        for number in range(rounds + 1):
            for name, command in _COMMANDS.items():
                found.setdefault(f"{name}_s", []).append(_seconds(command))
            settings = _settings(bootstrap, f"start{number}", registry, folder)
            send_all(settings, records[:1])
            with _worker(settings, folder, 1, _FIX_S) as (worker, start_s):
                found.setdefault("start_s", []).append(start_s)
                found.setdefault("start_cpu_s", []).append(_cpu_s(worker))
                family_mb = sum(_memory_mb(process.pid, "VmRSS") for process in processes([worker]))
                found.setdefault("start_rss_mb", []).append(family_mb)
            if not number:  # fills the caches
                found.clear()
        settings = _settings(bootstrap, "backlog", registry, folder)
        send_all(settings, records)
        with _worker(settings, folder, backlog, _BACKLOG_S) as (worker, _):
            found["rss_mb"] = [_memory_mb(worker.process.pid, "VmRSS")]
            found["rss_peak_mb"] = [_memory_mb(worker.process.pid, "VmHWM")]
    return {name: round(median(values), 3) for name, values in found.items()}


def _settings(bootstrap: str, name: str, registry: str, folder: Path) -> Settings:
    """A worker's own defaults, but for where things are."""
    default = {field: Settings.model_fields[field].default for field in ("session_timeout_ms", "max_poll_interval_ms")}
    where = {"registry_uri": registry, "model_name": _MODEL, "model_cache_dir": str(folder / "models")}
    return settings_for(bootstrap, name, **where).model_copy(update=default)


@contextmanager
def _worker(settings: Settings, folder: Path, fixes: int, timeout_s: float) -> Iterator[tuple[WorkerProcess, float]]:
    """A worker, and the seconds from its start to the last of so many fixes at a consumer."""
    reader = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": "unused", "fetch.wait.max.ms": 10})
    reader.assign([TopicPartition(settings.positions_topic, number, 0) for number in range(settings.partitions)])
    begin = time.monotonic()
    worker = WorkerProcess(settings, folder, settings.group_id)
    try:
        while fixes:
            left_s = begin + timeout_s - time.monotonic()
            message = reader.poll(max(0.0, left_s))
            if message is None:
                raise TimeoutError(f"{fixes} fixes did not come within {timeout_s:.0f} s: {worker.log()[-2000:]}")
            fixes -= message.error() is None
        yield worker, time.monotonic() - begin
    finally:
        worker.stop()
        reader.close()


def _seconds(command: list[str]) -> float:
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def _cpu_s(worker: WorkerProcess) -> float:
    """Of a worker and its children, those that ended, too."""
    return sum(sum(process.cpu_times()[:4]) for process in processes([worker]))


def _memory_mb(pid: int, field: str) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backlog", type=int, default=3000, help="captures that wait when memory is looked at")
    given = parser.parse_args()
    print(json.dumps(measure(given.rounds, given.backlog)))


if __name__ == "__main__":
    main()
