"""The control topic and the workers' answers: read whole, written one at a time, listened to."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from confluent_kafka import Message

from stream_app.errors import BrokerUnavailable, UndecodableRecord
from stream_app.kafka.connection import connection
from stream_app.kafka.follow import TopicFollower
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.records import Output
from stream_app.kafka.rights import Rights, check_rights
from stream_app.kafka.topics import check_broker
from stream_app.records.codec import Codecs
from stream_app.records.deployment import Deployment, ModelStatus
from stream_app.settings import Settings

log = logging.getLogger(__name__)
_START_S = 15.0  # longest reading of the control topic at a worker's start
_TICK_S = 0.2
_RETRY_S = 1.0


def history(settings: Settings, codecs: Codecs, model_name: str, timeout_s: float = 10.0) -> list[Deployment]:
    """The model's deployments in topic order, each with a revision above all before it.

    Records that do not decode are logged and left out. Raises BrokerUnavailable.
    """
    found: list[Deployment] = []
    _extend(found, _read(settings, settings.control_topic, timeout_s), codecs, model_name)
    return found


def statuses(settings: Settings, codecs: Codecs, model_name: str, timeout_s: float = 10.0) -> dict[str, ModelStatus]:
    """The newest status of each worker of the model; one that left has none. Raises BrokerUnavailable."""
    board = StatusBoard(codecs, model_name)
    board.take(_read(settings, settings.status_topic, timeout_s))
    return board.newest


def publish(settings: Settings, codecs: Codecs, deployment: Deployment) -> None:
    """Returns when the broker has acknowledged the deployment. Not to be called on an event loop.

    Raises BrokerUnavailable, NotAuthorized or DeliveryFailed.
    """
    check_rights(check_broker(connection(settings)), settings, Rights(write=(settings.control_topic,)))
    key, value = deployment.model_name.encode(), codecs.encode_deployment(deployment)
    publisher = Publisher(settings)
    try:
        asyncio.run(publisher.send([Output(settings.control_topic, key, value, [])]))
    finally:
        publisher.close()


class StatusBoard:
    """The newest status of each worker, by its name; of one model's workers, or of all."""

    def __init__(self, codecs: Codecs, model_name: str | None) -> None:
        self._codecs, self._model_name = codecs, model_name
        self.newest: dict[str, ModelStatus] = {}

    def take(self, messages: list[Message]) -> None:
        """Takes records of the status topic, in order. A tombstone removes its worker."""
        for message in messages:
            if message.value() is None:
                self.newest.pop((message.key() or b"").decode(errors="replace"), None)
                continue
            try:
                status = self._codecs.decode_status(message.value())
            except UndecodableRecord as error:
                _say_skipped(message, error)
                continue
            if self._model_name in (None, status.model_name):
                self.newest[status.worker] = status
            else:  # the worker turned to another model
                self.newest.pop(status.worker, None)


class ControlReader:
    """One model's deployments and its workers' statuses; each ``read`` goes on where the last one ended."""

    def __init__(self, settings: Settings, codecs: Codecs, model_name: str) -> None:
        """Raises BrokerUnavailable."""
        self._codecs, self._model_name = codecs, model_name
        self._board = StatusBoard(codecs, model_name)
        self.deployments: list[Deployment] = []
        self._control = TopicFollower(settings, settings.control_topic)
        self._statuses = TopicFollower(settings, settings.status_topic)

    @property
    def statuses(self) -> dict[str, ModelStatus]:
        """The newest of each worker, by its name."""
        return self._board.newest

    def read(self, timeout_s: float) -> None:
        """Takes what came on both topics. Raises BrokerUnavailable, after which only ``close`` is left to do."""
        _extend(self.deployments, self._control.to_end(timeout_s), self._codecs, self._model_name)
        self._board.take(self._statuses.to_end(timeout_s))

    def close(self) -> None:
        """Leaves the broker."""
        self._control.close()
        self._statuses.close()


class ControlListener:
    """A thread that follows the control topic and hands one model's deployments to an event loop.

    Every deployment of ``settings.model_name`` that decodes is handed over, in order, also an old revision.
    """

    def __init__(self, settings: Settings, codecs: Codecs, on_deployment: Callable[[Deployment], None]) -> None:
        self._settings, self._codecs, self._on_deployment = settings, codecs, on_deployment
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    async def start(self) -> None:
        """Returns when ``on_deployment`` was called for all that the topic holds now. Raises BrokerUnavailable.

        After a failure it may be called again.
        """
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, args=(loop, ready), name="control", daemon=True)
        self._thread.start()
        await ready

    async def stop(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, _START_S)

    # The rest runs in the thread.

    def _run(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        try:
            follower = TopicFollower(self._settings, self._settings.control_topic)
        except BrokerUnavailable as error:
            loop.call_soon_threadsafe(_end, ready, error)
            return
        try:
            self._hand_over(follower.to_end(_START_S), loop)
            # The loop keeps the order of what it is called for: the deployments come before this.
            loop.call_soon_threadsafe(_end, ready, None)
            while not self._stopping.is_set():
                self._follow(follower, loop)
        except BrokerUnavailable as error:
            loop.call_soon_threadsafe(_end, ready, error)
        finally:
            follower.close()

    def _follow(self, follower: TopicFollower, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._hand_over(follower.poll(_TICK_S), loop)
        except Exception:
            log.exception("Following %s failed; it goes on", self._settings.control_topic)
            self._stopping.wait(_RETRY_S)

    def _hand_over(self, messages: list[Message], loop: asyncio.AbstractEventLoop) -> None:
        for message in messages:
            deployment = _deployment_of(message, self._codecs)
            if deployment is not None and deployment.model_name == self._settings.model_name:
                loop.call_soon_threadsafe(self._on_deployment, deployment)


def _end(ready: asyncio.Future[None], error: BrokerUnavailable | None) -> None:
    if ready.done():  # nobody waits any more
        return
    if error is None:
        ready.set_result(None)
    else:
        ready.set_exception(error)


def _read(settings: Settings, topic: str, timeout_s: float) -> list[Message]:
    follower = TopicFollower(settings, topic)
    try:
        return follower.to_end(timeout_s)
    finally:
        follower.close()


def _extend(found: list[Deployment], messages: list[Message], codecs: Codecs, model_name: str) -> None:
    """Appends the model's deployments, each with a revision above all before it."""
    for message in messages:
        deployment = _deployment_of(message, codecs)
        if deployment is None or deployment.model_name != model_name:
            continue
        if not found or deployment.revision > found[-1].revision:
            found.append(deployment)


def _deployment_of(message: Message, codecs: Codecs) -> Deployment | None:
    try:
        return codecs.decode_deployment(message.value())
    except UndecodableRecord as error:
        _say_skipped(message, error)
        return None


def _say_skipped(message: Message, error: UndecodableRecord) -> None:
    log.warning(
        "%s, partition %s, offset %s is left out: %s", message.topic(), message.partition(), message.offset(), error
    )
