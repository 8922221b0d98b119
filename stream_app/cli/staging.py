"""A process that is one stage on Kafka: its log, its pages, its end."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from stream_app.kafka.stage import Stage
from stream_app.settings import Settings
from stream_app.web.pages import serve_pages


def run_stage(
    settings: Settings, stage: Stage, registry: CollectorRegistry, lag: Gauge, refresh: Callable[[], None]
) -> None:
    """Runs until SIGTERM or SIGINT. ``refresh`` sets gauges before they are read, ``lag`` is set by partition.

    Raises BrokerUnavailable, NotAuthorized or SettingsError at the start.
    """
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stage.open()

    def look() -> None:
        refresh()
        lag.clear()
        for (_, partition), records in stage.lag().items():
            lag.labels(str(partition)).set(records)

    def state() -> dict[str, object]:
        reasons = [stage.problem] if stage.problem else []
        reasons += [] if stage.assigned else ["no partitions are assigned"]
        records = {str(partition): count for (_, partition), count in stage.lag().items()}
        partitions = sorted(partition for _, partition in stage.assigned)
        return {"ready": not reasons, "reasons": reasons, "partitions": partitions, "lag": records}

    pages = serve_pages(settings.web_host, settings.web_port, registry, look, state)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stage.stop())
    gc.freeze()  # what there is now stays
    stage.run()
    pages.shutdown()
