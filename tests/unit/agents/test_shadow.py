"""Shadows are dropped and counted under pressure, and never in the way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from stream_app.agents.shadow import ShadowRunner
from stream_app.kafka.records import Output
from stream_app.metrics import Metrics
from stream_app.records.codec import Codecs
from stream_app.settings import Settings


class HeldUp:
    """A locator whose shadow answers wait for a gate, or fail."""

    def __init__(self, fails: bool = False) -> None:
        self.gate, self.fails = threading.Event(), fails

    def shadow(self, live: Any) -> Any:
        return SimpleNamespace(items=[object()] * 4)

    def features(self, batch: Any) -> None:
        self.gate.wait(30)
        if self.fails:
            raise RuntimeError("a shadow in trouble")

    def infer(self, batch: Any) -> None:
        pass

    def finish(self, batch: Any) -> list[Any]:
        return [ValueError("no fix")] * len(batch.items)


class Nowhere:
    async def send(self, outputs: Sequence[Output]) -> None:
        assert not outputs


def test_what_shadows_have_no_time_for_is_dropped_at_once_and_counted() -> None:
    metrics, locator = Metrics(), HeldUp()
    publisher: Any = Nowhere()

    async def run() -> list[str]:
        runner = ShadowRunner(Settings(_env_file=None, shadow_queue=2), Codecs(), publisher, metrics)
        found: Any = locator
        for _ in range(5):
            runner.offer(found, found)  # returns, though the first one holds the thread up
        before = [
            line for line in metrics.text().decode().splitlines() if line.startswith("fixstream_shadow_dropped_t")
        ]
        locator.gate.set()
        while runner._tasks:
            await asyncio.sleep(0.01)
        runner.close()
        return before

    assert asyncio.run(run()) == ["fixstream_shadow_dropped_total 12.0"]
    assert "fixstream_shadow_dropped_total 20.0" in metrics.text().decode()  # the others had no fix


def test_a_shadow_in_trouble_harms_nobody() -> None:
    metrics, locator = Metrics(), HeldUp(fails=True)
    publisher: Any = Nowhere()

    async def run() -> None:
        runner = ShadowRunner(Settings(_env_file=None), Codecs(), publisher, metrics)
        found: Any = locator
        locator.gate.set()
        runner.offer(found, found)
        while runner._tasks:
            await asyncio.sleep(0.01)
        runner.close()

    asyncio.run(run())
    assert "fixstream_shadow_dropped_total 4.0" in metrics.text().decode()
