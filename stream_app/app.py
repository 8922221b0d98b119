"""The composition root: settings in, parts made and joined here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import faust
from faust.tables import TableManager
from mode import Service

from stream_app.agents.deploy import Deployer
from stream_app.agents.door import WorkerDoor
from stream_app.agents.locate import LocateRunner
from stream_app.agents.rights import RightsWatch
from stream_app.agents.shadow import ShadowRunner
from stream_app.agents.watch import Watch
from stream_app.cache.backends import TlsFiles, make_cache
from stream_app.cache.dedup import DedupCache
from stream_app.cache.seal import Seal
from stream_app.errors import BrokerUnavailable, ModelError
from stream_app.kafka.channel import CaptureChannel
from stream_app.kafka.connection import faust_credentials
from stream_app.kafka.control import ControlListener
from stream_app.kafka.delivery import Delivery
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.rights import faust_group, worker_rights
from stream_app.kafka.topics import ensure_topics
from stream_app.locate.pipeline import Locator
from stream_app.mapview.pages import add_map
from stream_app.metrics import Metrics
from stream_app.models.asking import RegistryProcess
from stream_app.models.fleet import Fleet
from stream_app.models.loader import Loader
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from stream_app.web.guard import GuardedWeb
from stream_app.web.predict import add_predict_views
from stream_app.web.views import add_views

if TYPE_CHECKING:
    from stream_app.network.file import Network

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0


class Worker(Service):  # type: ignore[misc]
    """Brings the worker up (deployment first, captures then) and drains it when it is stopped."""

    def __init__(
        self,
        settings: Settings,
        networks: Sequence[Network],
        registry: RegistryProcess,
        channel: CaptureChannel,
        metrics: Metrics,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings, self.channel, self.metrics = settings, channel, metrics
        self.codecs = Codecs(settings.schema_dir)
        self.publisher = Publisher(settings)
        self.cache = make_dedup_cache(settings, metrics)
        loader = Loader(settings, registry)
        self.watch = Watch(networks, metrics)
        self.deployer = Deployer(
            settings, self.codecs, self.publisher, loader, metrics, self._use, watched=self.watch.status
        )
        self.listener = ControlListener(settings, self.codecs, self.deployer.offer)
        self.shadow = ShadowRunner(settings, self.codecs, self.publisher, metrics)
        self.rights = RightsWatch(settings, metrics)
        self.ready = asyncio.Event()
        self.draining = False
        self.problem = ""
        self._locator: Locator | None = None
        self.delivery = Delivery(settings, channel, self.publisher, metrics, self.deployer.worker)
        self.runner = LocateRunner(
            settings, self.codecs, self.delivery, metrics, self.shadow, self.watch, locator=self._loaded
        )

    async def on_started(self) -> None:
        """Begins to look for the model; the worker answers its probes meanwhile."""
        with suppress(NotImplementedError, RuntimeError):  # no signals on this platform, or not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.deployer.reload)
        self.add_future(self._bring_up())

    async def on_stop(self) -> None:
        """Takes no more captures, finishes and commits those that are in flight."""
        self.draining = True
        try:
            if self.ready.is_set():
                await self.channel.drain(self.settings.drain_timeout_s)
            await self.listener.stop()
            await self.deployer.leave()
        finally:
            self.runner.close()
            self.watch.close()
            self.delivery.close()
            await asyncio.get_running_loop().run_in_executor(None, self.publisher.close)
            self.cache.close()

    def state(self) -> dict[str, Any]:
        """Readiness, and in words what it lacks."""
        reasons = [] if self._locator is not None else [self.problem or self.deployer.reason]
        if self.rights.problem:
            reasons.append(self.rights.problem)
        lag = self.channel.lag()
        if not self.channel.ready:
            reasons.append("no partitions are assigned yet")
        elif self._locator is not None and not lag:
            reasons.append("the consumer lag is not known yet")
        if self.delivery.problem:
            reasons.append(f"answers are not delivered: {self.delivery.problem}")
        if self.draining:
            reasons.append("the worker is draining")
        status = self.deployer.status()
        return {
            "ready": not reasons,
            "reasons": reasons,
            "lag": {str(partition): records for partition, records in lag.items()},
            "cache": f"{self.settings.cache_url.partition(':')[0]}: {self.cache.breaker.state.value}",
            "deployment": {"revision": status.revision, "state": status.state.value, "reason": status.reason},
        }

    def refresh(self) -> None:
        """Sets the gauges of the lag, and of beacons and clocks."""
        self.metrics.consumer_lag.clear()
        for partition, records in self.channel.lag().items():
            self.metrics.consumer_lag.labels(str(partition)).set(records)
        self.watch.refresh()

    def _use(self, fleet: Fleet) -> None:
        """The next batch goes to this fleet; those in flight keep theirs."""
        self.watch.use([version.model.version for version in fleet.live])
        self._locator = Locator(fleet, self.cache, self.codecs, self.settings, self.metrics, self.watch.lowered)

    def _loaded(self) -> Locator:
        if self._locator is None:
            raise ModelError("a micro-batch arrived before the model was loaded: report this")
        return self._locator

    async def _bring_up(self) -> None:
        await self._reach_broker()
        self.add_future(self.rights.run())
        self.add_future(self.deployer.run())
        self.add_future(self.deployer.beat())
        await self.deployer.loaded.wait()
        self.ready.set()
        self.channel.start(asyncio.get_running_loop())

    async def _reach_broker(self) -> None:
        """Returns when answers can be delivered and the control topic was read to its end.

        Before that, an old deployment might answer.
        """
        pause = _FIRST_PAUSE_S
        while True:
            try:
                rights = worker_rights(self.settings)
                await asyncio.get_running_loop().run_in_executor(None, ensure_topics, self.settings, rights)
                await self.delivery.open()
                await self.listener.start()
                self.problem = ""
                return
            except BrokerUnavailable as error:
                self.problem = str(error)
                self.metrics.errors.labels(error.code).inc()
                log.warning("Not ready: %s; trying again in %.0f s", error, pause)
            await self.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


class NoTables(TableManager):  # type: ignore[misc]
    """Faust pauses for tables that may come, and waits for its own group to recover them. Here there are none."""

    async def on_start(self) -> None:
        """Begins without a pause."""
        await self._update_channels()
        await self.recovery.start()

    async def wait_until_recovery_completed(self) -> bool:
        """Nothing is to be recovered: the worker comes up while Faust's own group still gathers."""
        return False


def make_dedup_cache(settings: Settings, metrics: Metrics) -> DedupCache:
    """The cache that the settings name, counted by the metrics. Raises FixStreamError where they make no sense."""
    tls = TlsFiles(settings.cache_ca_file, settings.cache_cert_file, settings.cache_key_file)
    secret = settings.cache_secret
    return DedupCache(
        make_cache(
            settings.cache_url, settings.cache_ttl_s, settings.cache_max_entries, settings.cache_timeout_ms, tls
        ),
        on_error=lambda why: metrics.errors.labels("cache-unavailable").inc(),
        on_corrupt=metrics.errors.labels("cache-corrupt").inc,
        seal=Seal("" if secret is None else secret.get_secret_value()),
    )


def _networks(settings: Settings) -> list[Network]:
    """Those that are watched and on the map. Raises NetworkFileError."""
    if not settings.network_file:
        return []
    from stream_app.network.file import load_networks  # a worker without one need not wait for PyYAML

    return load_networks(settings.network_file)


def create_app(settings: Settings, registry: RegistryProcess | None = None) -> faust.App:
    """The Faust app of one worker. Faust's group follows only ``worker_topic``; captures are librdkafka's.

    ``registry`` may have begun already, to be ready sooner.
    """
    brokers = ";".join(f"kafka://{host.strip()}" for host in settings.bootstrap_servers.split(","))
    app = faust.App(
        faust_group(settings),
        broker=brokers,
        broker_credentials=faust_credentials(settings),
        datadir=tempfile.mkdtemp(prefix="fixstream-"),
        store="memory://",
        TableManager=NoTables,
        topic_partitions=1,
        topic_replication_factor=settings.replication_factor,
        topic_disable_leader=True,
        broker_session_timeout=settings.session_timeout_ms / 1e3,
        broker_rebalance_timeout=settings.session_timeout_ms / 1e3,
        broker_heartbeat_interval=settings.session_timeout_ms / 10e3,
        web_host=settings.web_host,
        web_bind=settings.web_host,
        web_port=settings.web_port,
        web_in_thread=False,
    )
    app.web = GuardedWeb(app, settings.web_max_connections, settings.web_idle_s)
    metrics = Metrics()
    channel = CaptureChannel(app, settings, metrics)
    networks = _networks(settings)
    worker = Worker(settings, networks, registry or RegistryProcess(settings), channel, metrics)
    app.service(worker)
    add_views(app, metrics, worker.refresh, worker.state)
    door = WorkerDoor(settings, channel, worker.deployer, metrics, draining=lambda: worker.draining)
    add_predict_views(app, door, settings, metrics)
    add_map(app.web.web_app, settings, networks)

    @app.agent(channel, name="locate")
    async def locate(batches: faust.StreamT) -> None:  # type: ignore[type-arg,unused-ignore]
        await worker.ready.wait()
        async for batch in batches:
            await worker.runner.submit(batch)

    # The conductor needs a topic of Faust's own; what comes by it is only read.
    @app.agent(app.topic(settings.worker_topic, value_type=bytes, value_serializer="raw"), name="notes")
    async def notes(values: faust.StreamT) -> None:  # type: ignore[type-arg,unused-ignore]
        async for value in values:
            log.info("Note on %s: %r", settings.worker_topic, value)

    return app
