"""Keeps a worker on the newest deployment of its model, and says on model.status what became of it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from stream_app.agents.background import background_thread
from stream_app.agents.watch import Found
from stream_app.errors import DeliveryFailed, ModelError, RegistryUnavailable
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.records import Output
from stream_app.metrics import Metrics
from stream_app.models.control import settings_deployment
from stream_app.models.fleet import Fleet
from stream_app.models.loader import Loader
from stream_app.records.codec import Codecs
from stream_app.records.deployment import (
    NO_REVISION,
    SETTINGS_REVISION,
    Deployment,
    DeploymentState,
    ModelStatus,
)
from stream_app.settings import Settings

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_LEAVE_S = 3.0
_KEPT = 20  # deployments that a fresh worker may go back to


class Deployer:
    """Loads off the event loop, swaps between two batches. All its methods are called on the loop."""

    def __init__(
        self,
        settings: Settings,
        codecs: Codecs,
        publisher: Publisher,
        loader: Loader,
        metrics: Metrics,
        use: Callable[[Fleet], None],
        watched: Callable[[], Found],
    ) -> None:
        """``use`` is called with each fleet that is to answer from now on; ``watched`` tells of beacons and clocks."""
        self._settings, self._codecs, self._publisher = settings, codecs, publisher
        self._loader, self._metrics, self._use, self._watched = loader, metrics, use, watched
        self.worker = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
        self.fleet: Fleet | None = None
        self.loaded = asyncio.Event()
        self.applied_at_us = 0
        self.reason = "the model is not loaded yet"
        self._state, self._revision = DeploymentState.LOADING, SETTINGS_REVISION
        self._known: list[Deployment] = []
        self._wake, self._again = asyncio.Event(), False
        self._thread = background_thread("deployment")
        self._sending: set[asyncio.Task[None]] = set()
        self._unsent = ""  # why the last status was not taken

    def offer(self, deployment: Deployment) -> None:
        """A deployment came by the control topic; one that is not newer than those before is ignored."""
        newest = self._known[-1].revision if self._known else SETTINGS_REVISION
        if deployment.revision <= newest:
            log.warning(
                "Deployment %d of %s by %s came late and is ignored: %d is known already",
                deployment.revision, deployment.model_name, deployment.issued_by or "nobody", newest,
            )  # fmt: skip
            self._metrics.model_reload_count.labels("ignored").inc()
            return
        self._known = [*self._known, deployment][-_KEPT:]
        self._wake.set()

    def reload(self) -> None:
        """Resolves the aliases of the deployment that runs again."""
        log.info("Reloading model %s", self._settings.model_name)
        self._again = True
        self._wake.set()

    def status(self) -> ModelStatus:
        """This worker's answer."""
        fleet = self.fleet
        beacons, clocks = self._watched()
        return ModelStatus(
            worker=self.worker,
            model_name=self._settings.model_name,
            revision=self._revision,
            state=self._state,
            running_revision=NO_REVISION if fleet is None else fleet.deployment.revision,
            versions=() if fleet is None else tuple(version.running() for version in fleet.versions),
            reason=self.reason,
            at_us=time.time_ns() // 1000,
            beacons=beacons,
            clocks=clocks,
        )

    async def run(self) -> None:
        """Applies the newest deployment, again and again; what may get well by itself is tried with back-off."""
        pause = _FIRST_PAUSE_S
        while True:
            self._wake.clear()
            if await self._apply(self._desired()):
                pause = _FIRST_PAUSE_S
                await self._wake.wait()
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
            pause = _FIRST_PAUSE_S if self._wake.is_set() else min(2 * pause, _LONGEST_PAUSE_S)

    async def beat(self) -> None:
        """Repeats the status, as a sign of life."""
        while True:
            self._say()
            await asyncio.sleep(self._settings.status_every_s)

    async def leave(self) -> None:
        """Takes this worker off the status topic."""
        with suppress(TimeoutError):  # a broker that is away must not hold up a stop
            await asyncio.wait_for(self._send(None), _LEAVE_S)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _desired(self) -> Deployment:
        if self._known:
            return self._known[-1]
        return settings_deployment(self._settings.model_name, self._settings.model_ref)

    async def _apply(self, desired: Deployment) -> bool:
        """Whether nothing is left to do until something new comes."""
        again, self._again = self._again, False
        if self.fleet is not None and self.fleet.deployment == desired and not again:
            return True
        self._turn(desired, DeploymentState.LOADING, f"loading revision {desired.revision}")
        try:
            self._take(await self._load(desired))
        except RegistryUnavailable as error:
            self._metrics.model_reload_count.labels("unavailable").inc()
            self._turn(desired, DeploymentState.LOADING, f"{error}; trying again")
            log.warning("Deployment %d waits: %s", desired.revision, error)
            return False
        except Exception as error:
            reason = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
            self._metrics.model_reload_count.labels("refused").inc()
            log.warning(
                "Deployment %d is refused: %s", desired.revision, reason, exc_info=not isinstance(error, ModelError)
            )
            if self.fleet is None:
                await self._go_back(desired)
            self._turn(desired, DeploymentState.REFUSED, reason)
            # Without any model, the registry may still bring one; a revision of one's own is not tried for ever.
            return self.fleet is not None
        self._metrics.model_reload_count.labels("applied").inc()
        self._turn(desired, DeploymentState.APPLIED, "")
        log.info("Deployment %d of %s is applied", desired.revision, desired.model_name)
        return True

    async def _go_back(self, refused: Deployment) -> None:
        """A fresh worker takes the newest earlier deployment that works: the one that its neighbours run on."""
        for earlier in reversed(self._known):
            if earlier.revision >= refused.revision:
                continue
            try:
                self._take(await self._load(earlier))
                log.warning("Going on with the earlier deployment %d", earlier.revision)
                return
            except Exception as error:
                log.warning("Deployment %d does not work either: %s", earlier.revision, error)

    async def _load(self, deployment: Deployment) -> Fleet:
        loop = asyncio.get_running_loop()
        thread = None if self.fleet is None else self._thread  # no captures are delayed where there is no model
        return await loop.run_in_executor(thread, self._loader.load, deployment, self.fleet)

    def _take(self, fleet: Fleet) -> None:
        self._use(fleet)
        self.fleet, self.applied_at_us = fleet, time.time_ns() // 1000
        self._metrics.control_revision.set(fleet.deployment.revision)
        self.loaded.set()

    def _turn(self, deployment: Deployment, state: DeploymentState, reason: str) -> None:
        self._revision, self._state, self.reason = deployment.revision, state, reason
        self._say()

    def _say(self) -> None:
        task = asyncio.get_running_loop().create_task(self._send(self._codecs.encode_status(self.status())))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, value: bytes | None) -> None:
        try:
            await self._publisher.send([Output(self._settings.status_topic, self.worker.encode(), value, [])])
            self._unsent = ""
        except DeliveryFailed as error:
            if str(error) != self._unsent:
                log.warning("The status of this worker was not taken: %s", error)
            self._unsent = str(error)
