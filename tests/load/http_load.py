"""Many clients at a real worker's POST /predict while the stream runs beside: ``make http-load``.

Writes build/http.json: {concurrency, sent, ok, rejected, failed, mean_ms, p95_ms, p99_ms} of 100 clients, and under
``overload`` the same of 1,000; the times are those of the fixes. Ends with 1 where a request got no clean answer, one
of the 100 clients was turned away or 95 % of theirs took over 500 ms, the stream lost a capture, or the worker is not
ready afterwards.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

import aiohttp
import numpy as np
import onnx

from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network, load_network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.load.traffic import Fixes, Traffic, account, simulated
from tests.support import brokers
from tests.support.worker import WorkerProcess, eventually, settings_for

RUNS = ((100, 20), (1000, 1))  # clients at once, requests each
STREAM_HZ = 20
TIMEOUT_S = 120
P95_MS = 500
OUT = brokers.ROOT / "build" / "http.json"


@dataclass
class Run:
    """What became of the requests of one run."""

    concurrency: int
    sent: int = 0
    ok: int = 0
    rejected: int = 0
    problems: list[str] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float | int]:
        """The entry in build/http.json."""
        times = np.asarray(self.took_ms or [np.nan])
        return {
            "concurrency": self.concurrency,
            "sent": self.sent,
            "ok": self.ok,
            "rejected": self.rejected,
            "failed": len(self.problems),
            "mean_ms": round(float(times.mean()), 1),
            "p95_ms": round(float(np.percentile(times, 95)), 1),
            "p99_ms": round(float(np.percentile(times, 99)), 1),
        }


def main() -> int:
    """Both runs; the exit code."""
    network = load_network(example_network("demo"))
    with tempfile.TemporaryDirectory() as name, brokers.broker(brokers.choose(), Path(name)) as broker:
        folder = Path(name)
        print(f"on {broker.name}")
        settings = _settings(broker.bootstrap, network, folder)
        worker = WorkerProcess(settings, folder)
        try:
            worker.wait_ready()
            with Fixes(settings, settings.positions_topic) as fixes:
                with Traffic(settings, simulated(network), STREAM_HZ) as traffic:
                    runs = [
                        asyncio.run(_run(f"http://127.0.0.1:{worker.port}/predict", network, clients, each))
                        for clients, each in RUNS
                    ]
                problems = [problem for run in runs for problem in run.problems[:5]]
                problems += _problems_of(runs[0]) + _unanswered(fixes, traffic)
            ready, why = worker.get("/health/ready")
            if ready != 200:
                problems.append(f"the worker is not ready afterwards: {ready} {why}")
            worker.stop()
        finally:
            worker.kill()
    figures = runs[0].figures() | {"overload": runs[1].figures()}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    print(f"beside them {len(traffic.sent_ms)} captures of the stream, {STREAM_HZ} a second")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _problems_of(run: Run) -> list[str]:
    found = run.figures()
    problems = [f"{run.rejected} of {run.concurrency} clients' requests were turned away"] if run.rejected else []
    return problems if found["p95_ms"] < P95_MS else [*problems, f"p95 is {found['p95_ms']} ms, not under {P95_MS}"]


def _unanswered(fixes: Fixes, traffic: Traffic) -> list[str]:
    """A problem where the stream's captures have not all come back, once each."""
    with suppress(AssertionError):
        eventually(lambda: len(fixes.of(traffic.sent_ms)) >= len(traffic.sent_ms), 60)
    found = account(traffic.sent_ms, fixes.of(traffic.sent_ms))
    return [f"the stream beside: {found}"] if found["lost"] or found["twice"] else []


def _settings(bootstrap: str, network: Network, folder: Path) -> Settings:
    """A worker's settings, and its model in a registry of its own."""
    name, uri, cache = f"load{uuid4().hex[:8]}", f"sqlite:///{folder / 'registry.db'}", folder / "models"
    model = folder / "model.onnx"
    onnx.save(build_tdoa(network), str(model))
    Registry(uri, cache).register(name, model, alias="champion")
    return settings_for(bootstrap, name, registry_uri=uri, model_cache_dir=str(cache), model_name=name)


async def _run(url: str, network: Network, clients: int, each: int) -> Run:
    """So many clients at once, each one request after the other, every capture another one."""
    run = Run(clients)
    simulated = Simulator(network, seed=clients).captures(clients * each)
    bodies = [_body(capture) for capture, _ in simulated]
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        await asyncio.gather(*[_client(session, url, bodies[n * each : (n + 1) * each], run) for n in range(clients)])
    return run


async def _client(session: aiohttp.ClientSession, url: str, bodies: Sequence[bytes], run: Run) -> None:
    for body in bodies:
        run.sent += 1
        started = time.perf_counter()
        try:
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            run.problems.append(f"no answer: {type(error).__name__}: {error}")
            continue
        if answer.status == 200:
            run.ok += 1
            run.took_ms.append((time.perf_counter() - started) * 1e3)
        elif answer.status in (429, 503) and "Retry-After" in answer.headers:
            run.rejected += 1
        else:
            run.problems.append(f"{answer.status}: {text[:200]}")


def _body(capture: IqCapture) -> bytes:
    value = asdict(capture)
    value["captured_at"] = value.pop("captured_at_us")
    for channel in value["channels"]:
        channel["samples"] = base64.b64encode(channel["samples"]).decode()
    return json.dumps(value).encode()


if __name__ == "__main__":
    sys.exit(main())
