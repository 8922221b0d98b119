"""Pages of a process without Faust: /metrics, /health/live and /health/ready."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from stream_app.errors import SettingsError


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def serve_pages(
    host: str,
    port: int,
    registry: CollectorRegistry,
    refresh: Callable[[], None],
    state: Callable[[], Mapping[str, Any]],
) -> WSGIServer:
    """Serves the pages from a thread of its own; ``shutdown`` ends it.

    ``refresh`` sets gauges just before they are read; ``state`` is {"ready": bool, ...}. Raises SettingsError where
    the address cannot be had.
    """
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            refresh()
            return metrics(environ, start_response)  # type: ignore[no-any-return]
        status, found = "404 Not Found", dict[str, Any](error="there are /metrics, /health/live and /health/ready")
        if path == "/health/live":
            status, found = "200 OK", {"live": True}
        elif path == "/health/ready":
            found = dict(state())
            status = "200 OK" if found["ready"] else "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(found).encode()]

    try:
        server = make_server(host, port, answer, _Server, _Silent)
    except OSError as error:
        raise SettingsError(f"FIXSTREAM_WEB_HOST={host} and FIXSTREAM_WEB_PORT={port}: {error.strerror}") from error
    threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return server
