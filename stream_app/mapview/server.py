"""The map's own server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from aiohttp import web

from stream_app.errors import SettingsError
from stream_app.hosts import is_loopback
from stream_app.mapview.live import LiveMap
from stream_app.mapview.pages import MapPages
from stream_app.network.file import Network
from stream_app.settings import Settings
from stream_app.web.guard import Guard
from stream_app.web.problem import RequestRefused, error_response

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_END_S = 2.0


async def serve(
    settings: Settings,
    networks: Sequence[Network],
    host: str,
    port: int,
    on_ready: Callable[[str], None],
) -> None:
    """Serves until SIGINT or SIGTERM; ``on_ready`` gets the page's address.

    Raises MapPageMissing, or SettingsError where the port cannot be had.
    """
    live = LiveMap(settings, always=True)
    app = web.Application(middlewares=[problems, *([local_names] if is_loopback(host) else [])])
    MapPages(settings, live, networks).add_to(app)
    app.router.add_get("/", _to_map)
    guard = Guard(app, settings.web_max_connections, settings.web_idle_s)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_END_S)
    await runner.setup()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        try:
            bound = await guard.listen(runner.server, host, port)
        except OSError as error:
            raise SettingsError(
                f"the map cannot be served at {host}:{port}: {error.strerror or error}; give another --port"
            ) from error
        live.start()
        on_ready(f"http://{f'[{host}]' if ':' in host else host}:{bound}/map")
        await ended.wait()
    finally:
        guard.close()
        await live.stop()
        await runner.cleanup()


async def _to_map(request: web.Request) -> web.Response:
    raise web.HTTPFound("/map")


@web.middleware
async def problems(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Errors become JSON."""
    try:
        return await handler(request)
    except Exception as error:
        return error_response(error)


@web.middleware
async def local_names(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Another site's name that was made to point here (DNS rebinding) gets nothing."""
    name = urlsplit(f"//{request.host}").hostname or ""
    if not is_loopback(name):
        raise RequestRefused(421, "misdirected", "this map is served to its own machine: ask for localhost")
    return await handler(request)
