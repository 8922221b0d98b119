"""Looks again and again at whether the brokers still let this worker do its work."""

from __future__ import annotations

import asyncio
import logging

from stream_app.errors import AuthenticationFailed, BrokerUnavailable, NotAuthorized
from stream_app.kafka.connection import connection
from stream_app.kafka.rights import check_rights, worker_rights
from stream_app.kafka.topics import check_broker
from stream_app.metrics import Metrics
from stream_app.settings import Settings

log = logging.getLogger(__name__)


class RightsWatch:
    """``problem`` is what is refused, in words; empty while all is well, or while no broker answers.

    Asked for, rather than learned from failures: those name one topic at a time, and an idle worker has none.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.problem = ""

    async def run(self) -> None:
        """Looks as often as the worker gives a sign of life."""
        while True:
            await asyncio.sleep(self._settings.status_every_s)
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._look)
            except (AuthenticationFailed, NotAuthorized) as error:
                self._metrics.errors.labels(error.code).inc()
                self._say(str(error))
            except BrokerUnavailable:
                pass  # whoever sends or reads tells of that
            else:
                self._say("")

    def _look(self) -> None:
        check_rights(check_broker(connection(self._settings)), self._settings, worker_rights(self._settings))

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem or "Kafka lets this worker do its work again")
        self.problem = problem
