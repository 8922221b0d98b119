"""200 fixes a second on the map for a minute, with pages that look: ``make map-load``.

Writes build/map.json: of plain clients and of the page in Chromium the age of the newest fix they have (ms, from the
broker's time of it), how many fixes they were not sent, and what the server took. Ends with 1 where a client missed
fixes, 95 % of the ages are above a second, or the page fell more than five seconds behind.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil

from stream_app.resources import example_network
from tests.support import brokers
from tests.support.chromium import chromium, executable
from tests.support.map_server import MapServer
from tests.support.map_traffic import EMITTERS, MapTraffic
from tests.support.worker import settings_for

RATE_HZ, SECONDS, CLIENTS = 200, 60, 8
LATEST_MS, LATEST_PAGE_MS = 1000, 5000
OUT = brokers.ROOT / "build" / "map.json"
SAMPLE = (
    "() => { const {fixes, missed, clockOff} = fixstream.store;"
    " return [Date.now() + clockOff - (fixes.at(-1)?.[1] ?? 0),"
    " fixes.at(-1)?.[0] - Number(document.body.dataset.newest), missed, window.draws ?? 0]; }"
)


def main() -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory() as name, brokers.broker(brokers.choose(), Path(name)) as broker:
        print(f"on {broker.name}")
        traffic = MapTraffic(settings_for(broker.bootstrap, "mapload"))
        server = MapServer(traffic.settings, Path(name), [example_network("demo")])
        server.start()
        stop = threading.Event()
        sender = threading.Thread(target=_send, args=(traffic, stop))
        sender.start()
        try:
            looking = threading.Thread(target=lambda: plain.extend(asyncio.run(_clients(server.address))))
            plain: list[dict[str, Any]] = []
            process = psutil.Process(server.process.pid)
            process.cpu_percent()
            looking.start()
            page = _page(server.address) if executable() else None
            looking.join()
            cpu, memory = process.cpu_percent(), process.memory_info().rss
        finally:
            stop.set()
            sender.join()
            server.stop()
    found = {
        "rate": round(traffic.sent / (SECONDS + 1)),
        "clients": plain,
        "page": page,
        "server": {"cpu_percent": round(cpu, 1), "rss_mb": round(memory / 1e6)},
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    late = any(one["missed"] or one["age_ms"]["p95"] > LATEST_MS for one in plain)
    return int(late or (page is not None and page["age_ms"]["p95"] > LATEST_PAGE_MS))


def _send(traffic: MapTraffic, stop: threading.Event) -> None:
    begin = time.monotonic()
    # Their geodesics are computed before, so that sending takes little of the machine that is measured.
    ready = [traffic.fix_of(EMITTERS[n % len(EMITTERS)], n / 20, 0) for n in range(2000)]
    begin, number = time.monotonic(), 0
    while not stop.wait(max(0.0, begin + number / RATE_HZ - time.monotonic())):
        fix = ready[number % len(ready)]
        fix.capture_id, fix.captured_at_us = f"load-{number}", time.time_ns() // 1000
        traffic.send_fix(fix)
        number += 1
    traffic.flush()


async def _clients(address: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(*(_client(session, address) for _ in range(CLIENTS)))


async def _client(session: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    """Reads events for a minute."""
    ages: list[float] = []
    fixes = missed = size = 0
    end = time.monotonic() + SECONDS
    async with session.get(f"{address}/events", headers={"Accept": "text/event-stream"}, read_bufsize=2**22) as answer:
        async for line in answer.content:
            size += len(line)
            if line.startswith(b"data: "):
                news = json.loads(line[6:])
                rows = news.get("fixes", [])
                missed = news.get("missed", missed)
                if rows and fixes:  # not of the snapshot
                    ages.append(time.time() * 1e3 - rows[-1][1])
                fixes += len(rows)
            if time.monotonic() > end:
                break
    return {"age_ms": _quantiles(ages), "fixes": fixes, "missed": missed, "kb_s": round(size / SECONDS / 1e3, 1)}


def _page(address: str) -> dict[str, Any]:
    """Chromium, with its graphics in software."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.goto(address)
        page.wait_for_function("() => Number(document.body.dataset.newest) > 0", timeout=60_000)
        page.evaluate(
            "() => { window.draws = 0; new MutationObserver(() => window.draws++)"
            ".observe(document.body, {attributes: true, attributeFilter: ['data-newest']}); }"
        )
        begin, samples = time.monotonic(), []
        while time.monotonic() - begin < SECONDS - 10:
            samples.append(page.evaluate(SAMPLE))
            time.sleep(0.25)
        took = time.monotonic() - begin
    ages, behind, missed, draws = zip(*samples, strict=True)
    return {
        "age_ms": _quantiles(ages),
        "not_drawn_yet": _quantiles(behind),
        "missed": missed[-1],
        "draws_s": round(draws[-1] / took, 1),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    found = np.percentile(np.asarray(values, float), (50, 95, 100))
    return dict(zip(("p50", "p95", "max"), (round(float(value), 1) for value in found), strict=True))


if __name__ == "__main__":
    sys.exit(main())
