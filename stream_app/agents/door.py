"""Requests meet the stream: their captures join its micro-batches, and their answers come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from stream_app.agents.deploy import Deployer
from stream_app.errors import CaptureError, FixStreamError, NoModelLoaded, Overloaded, UnanswerableCapture
from stream_app.kafka.channel import CaptureChannel
from stream_app.kafka.records import RawRecord
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.registry import VersionDetails
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.fix import Fix
from stream_app.settings import Settings
from stream_app.web.door import ModelStatusInfo, RouteInfo

_NOWHERE = -1  # partition and offset of a capture that did not come by Kafka


class WorkerDoor:
    """The Door of this worker. So many captures may wait; more are turned away."""

    def __init__(
        self,
        settings: Settings,
        channel: CaptureChannel,
        deployer: Deployer,
        metrics: Metrics,
        draining: Callable[[], bool],
    ) -> None:
        self._settings, self._channel = settings, channel
        self._deployer, self._metrics, self._draining = deployer, metrics, draining
        self._waiting = 0

    async def predict(self, captures: Sequence[IqCapture]) -> list[Fix | CaptureError]:
        """Answers in order. Raises Overloaded or NoModelLoaded."""
        self._fleet()
        if self._draining():
            raise Overloaded("the worker is stopping: ask another one")
        if self._waiting + len(captures) > self._settings.web_max_waiting:
            raise Overloaded(
                f"{self._waiting} captures wait, and no more than FIXSTREAM_WEB_MAX_WAITING "
                f"({self._settings.web_max_waiting}) may: try again in a moment"
            )
        answers = await asyncio.gather(*[self._ask(capture) for capture in captures])
        return [_answer_of(answer) for answer in answers]

    def model_info(self) -> ModelStatusInfo:
        """What runs now. Raises NoModelLoaded."""
        fleet = self._fleet()
        main = max(fleet.live, key=lambda version: version.route.weight)
        details = main.details or VersionDetails()
        seen = self._metrics.summary()
        return ModelStatusInfo(
            name=main.model.name,
            version=main.model.version,
            stage=details.stage,
            aliases=list(details.aliases),
            created_at=None if details.created_at_us is None else _iso(details.created_at_us),
            mlflow_run_id=details.run_id,
            accuracy_meters=details.accuracy_m,
            training_samples=details.training_samples,
            last_reloaded=_iso(self._deployer.applied_at_us),
            inference_count=seen.inferred,
            avg_latency_ms=seen.mean_latency_ms,
            cache_hit_rate=seen.hit_ratio,
            revision=fleet.deployment.revision,
            routes=_routes(fleet),
        )

    def _fleet(self) -> Fleet:
        if self._deployer.fleet is None:
            raise NoModelLoaded(f"no model is loaded: {self._deployer.reason}")
        return self._deployer.fleet

    def _ask(self, capture: IqCapture) -> asyncio.Future[Fix | FixStreamError]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Fix | FixStreamError] = loop.create_future()

        def settle(answer: Fix | FixStreamError) -> None:
            self._waiting -= 1
            if not future.done():  # a client that went away no longer waits
                future.set_result(answer)

        self._waiting += 1
        self._channel.offer(
            RawRecord(
                b"",
                key_of(capture),
                "http",
                _NOWHERE,
                _NOWHERE,
                time.perf_counter(),
                capture,
                reply=lambda answer: loop.call_soon_threadsafe(settle, answer),
            )
        )
        return future


def _answer_of(answer: Fix | FixStreamError) -> Fix | CaptureError:
    if isinstance(answer, Overloaded):
        raise answer
    if isinstance(answer, Fix | CaptureError):
        return answer
    return UnanswerableCapture(f"the capture could not be answered: {answer}")


def _routes(fleet: Fleet) -> list[RouteInfo]:
    total = fleet.deployment.live_weight
    return [
        RouteInfo(
            version=running.version,
            ref=running.ref,
            weight=running.weight,
            share=running.weight / total,
            mode=running.mode,
            suspended=running.suspended,
            digest=running.digest,
        )
        for running in (version.running() for version in fleet.versions)
    ]


def _iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds")
