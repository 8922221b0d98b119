"""The worker's pages for Prometheus and for an orchestrator's probes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faust

from stream_app.metrics import Metrics


def add_views(
    app: faust.App, metrics: Metrics, refresh: Callable[[], None], state: Callable[[], dict[str, Any]]
) -> None:
    """Adds /metrics, /health/live and /health/ready.

    ``refresh`` sets gauges just before they are read; ``state`` is {"ready": bool, "reasons": [...], ...}.
    """

    @app.page("/metrics", name="metrics")
    async def metrics_page(view: Any, request: Any) -> Any:
        refresh()
        return view.bytes(metrics.text(), content_type="text/plain")

    @app.page("/health/live", name="live")
    async def live_page(view: Any, request: Any) -> Any:
        return view.json({"live": True})

    @app.page("/health/ready", name="ready")
    async def ready_page(view: Any, request: Any) -> Any:
        found = state()
        return view.json(found, status=200 if found["ready"] else 503)
