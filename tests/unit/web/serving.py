"""A worker's web server on a free port, with a pipeline behind its door that answers as a test tells it to."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import faust
from aiohttp import web

from stream_app.errors import CaptureError, FixStreamError, UnanswerableCapture
from stream_app.metrics import Metrics
from stream_app.records.capture import IqCapture
from stream_app.records.deployment import RouteMode
from stream_app.records.fix import CacheOutcome, Fix, Timings
from stream_app.settings import Settings
from stream_app.web.door import ModelStatusInfo, RouteInfo
from stream_app.web.guard import Guard
from stream_app.web.predict import add_predict_views
from stream_app.web.views import add_views

JSON = "application/json"
AVRO = "application/vnd.fixstream.capture+avro"
TOKEN = "correct horse"
INFO = ModelStatusInfo(
    name="fixstream-tdoa",
    version="3",
    stage=None,
    aliases=["champion"],
    created_at="2025-05-01T12:00:00+00:00",
    mlflow_run_id="abc",
    accuracy_meters=8.5,
    training_samples=None,
    last_reloaded="2025-05-02T12:00:00+00:00",
    inference_count=12,
    avg_latency_ms=7.5,
    cache_hit_rate=0.25,
    revision=4,
    routes=[RouteInfo("3", "@champion", 90.0, 0.9, RouteMode.LIVE, suspended=False, digest="00" * 32)],
)

READY = {
    "ready": True,
    "reasons": [],
    "lag": {"0": 0},
    "cache": "memory: closed",
    "deployment": {"revision": 4, "state": "APPLIED", "reason": ""},
}


def fix_of(capture: IqCapture) -> Fix:
    """A fix that is easy to recognise: at the first receiver."""
    return Fix(
        capture_id=capture.capture_id,
        network=capture.network,
        captured_at_us=capture.captured_at_us,
        center_frequency_hz=capture.center_frequency_hz,
        latitude=capture.channels[0].latitude,
        longitude=capture.channels[0].longitude,
        cov_east_m2=52.0,
        cov_north_m2=28.0,
        cov_east_north_m2=20.8,
        sigma_x_m=8.0,
        sigma_y_m=4.0,
        theta_rad=0.52,
        semi_major_m=19.6,
        semi_minor_m=9.8,
        orientation_deg=60.0,
        confidence=0.95,
        outline_geojson='{"type": "Polygon", "coordinates": [[[9.0, 50.0], [9.1, 50.0], [9.0, 50.1], [9.0, 50.0]]]}',
        model_name="fixstream-tdoa",
        model_version="3",
        fallback=False,
        model_confidence=None,
        border=False,
        cache=CacheOutcome.MISS,
        timings=Timings(1.0, 2.0, 3.0, 6.0),
    )


@dataclass
class FakeDoor:
    """Answers each capture with ``fix_of`` it, and those named "unanswerable" with that."""

    refusal: FixStreamError | None = None
    failure: Exception | None = None
    seen: list[IqCapture] = field(default_factory=list)

    async def predict(self, captures: Sequence[IqCapture]) -> list[Fix | CaptureError]:
        if self.failure is not None:
            raise self.failure
        if self.refusal is not None:
            raise self.refusal
        self.seen += captures
        return [
            UnanswerableCapture(f"capture {capture.capture_id!r} has no fix")
            if capture.capture_id == "unanswerable"
            else fix_of(capture)
            for capture in captures
        ]

    def model_info(self) -> ModelStatusInfo:
        if self.refusal is not None:
            raise self.refusal
        return INFO


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        """The error that every answer above 399 carries."""
        assert self.headers.get_content_type() == JSON
        found: dict[str, str] = self.json["error"]
        assert found["code"]
        assert found["message"]
        return found


@dataclass
class Served:
    """A server that runs."""

    port: int
    door: FakeDoor
    metrics: Metrics

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        kind: str | None = None,
        **headers: str,
    ) -> Answer:
        """One request; an iterable body is sent in chunks, without its length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if kind is not None:
            sent["Content-Type"] = kind
        chunked = body is not None and not isinstance(body, bytes)
        if chunked:
            sent["Transfer-Encoding"] = "chunked"
        try:
            connection.request(method, path, body, sent, encode_chunked=chunked)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def post(self, path: str, value: Any, **headers: str) -> Answer:
        """POSTs JSON."""
        return self.ask("POST", path, json.dumps(value).encode(), JSON, **headers)


@contextmanager
def serve(**options: Any) -> Iterator[Served]:
    """The pages of a worker with these settings, in a thread of their own."""
    app = faust.App("web-test", broker="kafka://127.0.0.1:1", store="memory://")
    door, metrics = FakeDoor(), Metrics()
    add_views(app, metrics, lambda: None, lambda: READY)
    settings = Settings(**options)
    guard = Guard(app.web.web_app, settings.web_max_connections, settings.web_idle_s)
    add_predict_views(app, door, settings, metrics)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app.web.web_app, access_log=None)

    async def start() -> int:
        await runner.setup()
        return await guard.listen(runner.server, "127.0.0.1", 0)

    async def stop() -> None:
        guard.close()
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield Served(asyncio.run_coroutine_threadsafe(start(), loop).result(30), door, metrics)
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
