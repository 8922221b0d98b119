"""The pages' listening socket: so many connections, and none that waits for ever.

aiohttp bounds neither. A client that sends a byte a second, or never reads its answer, holds no more than its socket,
and loses that to the next client when all are taken.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import faust
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from faust.web.drivers.aiohttp import Web

log = logging.getLogger(__name__)
_OTHER_FILES = 256  # descriptors that Kafka, Redis, the registry and models need
_BACKLOG = 1024
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """At most ``max_connections`` at once, none idle for longer than ``idle_s``.

    Idle is one without a request under way: still sending its headers, kept alive, or not reading its answer. Where all
    are taken, the oldest that has not sent a whole request gives way to a new one.
    """

    def __init__(self, app: web.Application, max_connections: int, idle_s: float) -> None:
        self._max_connections, self._idle_s = max_connections, idle_s
        self._lines: dict[RequestHandler, _Line] = {}  # the oldest first
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        app.middlewares.insert(0, self._watch())

    async def listen(self, server: web.Server, host: str, port: int) -> int:
        """Serves at host and port; returns the port."""
        self._max_connections = _room_for(self._max_connections)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Line(self, server()), host, port, backlog=_BACKLOG)
        self._sweeper = loop.create_task(self._sweep())
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def close(self) -> None:
        """Takes no more connections; those that are open are aiohttp's to close."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listener is not None:
            self._listener.close()

    def admit(self, line: _Line) -> bool:
        """Whether there is room for a new connection, or was made."""
        if len(self._lines) >= self._max_connections:
            oldest = next((other for other in self._lines.values() if not other.asks()), None)
            if oldest is None:
                return False
            self._end(oldest)
        self._lines[line.handler] = line
        return True

    def gone(self, line: _Line) -> None:
        """The connection has ended."""
        self._lines.pop(line.handler, None)

    def _end(self, line: _Line) -> None:
        self.gone(line)
        line.transport.abort()  # close() would wait for a client that does not read

    def _watch(self) -> Any:
        @web.middleware
        async def watch(request: web.Request, handler: _Handler) -> web.StreamResponse:
            line = self._lines.get(request.protocol)
            if line is None:  # it had to give way meanwhile
                raise web.HTTPServiceUnavailable
            line.request = request
            try:
                return await handler(request)
            finally:
                line.request, line.idle_since = None, asyncio.get_running_loop().time()

        return watch

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._idle_s / 8)
            latest = asyncio.get_running_loop().time() - self._idle_s
            for line in [line for line in self._lines.values() if line.request is None and line.idle_since < latest]:
                self._end(line)


class _Line(asyncio.Protocol):
    """One connection, as aiohttp's handler and the guard see it."""

    transport: asyncio.Transport

    def __init__(self, guard: Guard, handler: RequestHandler) -> None:
        self.handler, self._guard, self._admitted = handler, guard, False
        self.request: web.Request | None = None
        self.idle_since = asyncio.get_running_loop().time()

    def asks(self) -> bool:
        """Whether a whole request is being answered."""
        return self.request is not None and self.request.content.is_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._admitted = self._guard.admit(self)
        if self._admitted:
            self.handler.connection_made(transport)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.gone(self)
        if self._admitted:
            self.handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.handler.data_received(data)

    def eof_received(self) -> bool | None:
        return cast("bool | None", self.handler.eof_received())

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()


class GuardedWeb(Web):  # type: ignore[misc]
    """Faust's web server behind a Guard."""

    def __init__(self, app: faust.App, max_connections: int, idle_s: float) -> None:
        super().__init__(app)
        self._guard = Guard(self.web_app, max_connections, idle_s)

    async def start_server(self) -> None:
        """Called by Faust."""
        await self._runner.setup()
        await self._guard.listen(self._runner.server, self.app.conf.web_bind, self.app.conf.web_port)

    async def stop_server(self) -> None:
        """Called by Faust."""
        self._guard.close()
        await super().stop_server()


def _room_for(connections: int) -> int:
    """So many connections as the process may have descriptors for; raises its own limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = max(1, min(connections, soft - _OTHER_FILES))
    if room < connections:
        log.warning("Of FIXSTREAM_WEB_MAX_CONNECTIONS=%d only %d fit: raise the limit of open files", connections, room)
    return room
