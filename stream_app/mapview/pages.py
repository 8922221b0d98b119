"""The map over HTTP: its page, what it is made of, and its events. The same handlers serve alone and on a worker."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from stream_app.errors import MapPageMissing
from stream_app.mapview.live import LONGEST_TRAIL_MS, LiveMap
from stream_app.mapview.people import network_out
from stream_app.mapview.picture import compact
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from stream_app.web.problem import RequestRefused
from stream_app.web.token import WebToken

if TYPE_CHECKING:
    from stream_app.network.file import Network

DIST = Path(__file__).parents[1] / "web" / "map" / "dist"
_WRITE_S = 20.0  # longest wait for a page to take what it is sent
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
          ".svg": "image/svg+xml", ".txt": "text/plain"}  # fmt: skip


class MapPages:
    """The handlers of /map and what is under it."""

    def __init__(self, settings: Settings, live: LiveMap, networks: Sequence[Network]) -> None:
        """Raises MapPageMissing where the page was not built."""
        self._live, self._codecs = live, Codecs(settings.schema_dir)
        self._token = WebToken(settings.web_token)
        self._files = _built()
        self._config = {
            "networks": [network_out(network) for network in networks],
            "tiles": settings.map_tiles,
            "credit": settings.map_credit,
        }
        self._headers = {
            "Content-Security-Policy": _policy(settings.map_tiles),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    def add_to(self, app: web.Application) -> None:
        """Adds the routes."""
        router = app.router
        router.add_get("/map", self.page)
        router.add_get("/map/config", self.config)
        router.add_get("/map/events", self.events)
        router.add_get("/map/history", self.history)
        router.add_get("/map/fix/{number:[0-9]{1,15}}", self.fix)
        router.add_post("/map/token", self._token.give_cookie)
        router.add_get("/map/{name:[A-Za-z0-9._-]+}", self.file)

    async def page(self, request: web.Request) -> web.Response:
        """GET /map."""
        return self._file(request, "index.html", "no-cache")

    async def file(self, request: web.Request) -> web.Response:
        """GET /map/NAME: a part of the page, under a name that changes with its content."""
        return self._file(request, request.match_info["name"], "public, max-age=31536000, immutable")

    async def config(self, request: web.Request) -> web.Response:
        """GET /map/config: networks and the base layer."""
        self._token.admit_page(request)
        return self._json(self._config)

    async def history(self, request: web.Request) -> web.Response:
        """GET /map/history?at=MS&window=S: the fixes and tracks of a moment of the last hour."""
        self._token.admit_page(request)
        at_ms = _number(request, "at", 0, 1e15)
        window_ms = int(1000 * _number(request, "window", 1, LONGEST_TRAIL_MS / 1e3))
        picture = self._live.picture
        rows = picture.before(int(at_ms), window_ms)
        text = f'{{"fixes":[{",".join(rows)}],"tracks":{compact(picture.tracks(int(at_ms)))}}}'
        return self._response(text)

    async def fix(self, request: web.Request) -> web.Response:
        """GET /map/fix/NUMBER?run=RUN: all that the fix's record says."""
        self._token.admit_page(request)
        picture = self._live.picture
        record = picture.record(int(request.match_info["number"])) if request.query.get("run") == picture.run else None
        if record is None:
            raise RequestRefused(404, "not-kept", "this fix is not kept here any more: take a newer one")
        return self._json(asdict(self._codecs.decode_fix(record)))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /map/events: server-sent events, without end."""
        self._token.admit_page(request)
        headers = {**self._headers, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        packer = None
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        async with self._live.client():
            response = web.StreamResponse(headers=headers)
            response.content_type = "text/event-stream"
            await response.prepare(request)
            async with aclosing(self._live.events(request.headers.get("Last-Event-ID", ""))) as found:
                try:
                    async for part in found:
                        if packer is not None:
                            part = packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
                        async with asyncio.timeout(_WRITE_S):
                            await response.write(part)
                except (ConnectionError, TimeoutError):  # the page has gone, or reads nothing and gives its place up
                    if request.transport is not None:
                        request.transport.abort()
        return response

    def _file(self, request: web.Request, name: str, caching: str) -> web.Response:
        if name not in self._files:
            raise RequestRefused(404, "not-found", "there is no such part of the map")
        headers = {**self._headers, "Cache-Control": caching, "Vary": "Accept-Encoding"}
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        if packed:
            headers["Content-Encoding"] = "gzip"
        body = (DIST / (f"{name}.gz" if packed else name)).read_bytes()
        return web.Response(body=body, content_type=_TYPES[Path(name).suffix], charset="utf-8", headers=headers)

    def _json(self, value: Any) -> web.Response:
        return self._response(compact(value))

    def _response(self, text: str) -> web.Response:
        response = web.Response(
            text=text, content_type="application/json", headers={**self._headers, "Cache-Control": "no-store"}
        )
        response.enable_compression()
        return response


def add_map(app: web.Application, settings: Settings, networks: Sequence[Network]) -> None:
    """Adds the map to a worker's pages. It reads the topics only while a page looks."""
    live = LiveMap(settings)
    try:
        MapPages(settings, live, networks).add_to(app)
    except MapPageMissing as error:
        why = str(error)

        async def missing(request: web.Request) -> web.Response:
            raise RequestRefused(503, MapPageMissing.code, why)

        app.router.add_get("/map", missing)
        return

    async def stop(_: web.Application) -> None:
        await live.stop()

    app.on_shutdown.append(stop)


def _built() -> frozenset[str]:
    """The names of the built page's files; each is there gzipped, too."""
    try:
        return frozenset(json.loads((DIST / "files.json").read_text()))
    except (OSError, ValueError) as error:
        raise MapPageMissing(
            f"the map's page is not built ({DIST} holds none): run make map-page in the source tree, or install a "
            "wheel that was built after it"
        ) from error


def _policy(tiles: str | None) -> str:
    """Nothing from elsewhere, but for the tile server that was asked for."""
    others = "" if tiles is None else " {0.scheme}://{0.netloc}".format(urlsplit(tiles))
    return (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
        f"img-src 'self' data: blob:{others}; connect-src 'self'{others}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _number(request: web.Request, name: str, least: float, most: float) -> float:
    text = request.query.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise RequestRefused(400, "bad-query", f"{name}={text!r}: give a number from {least:g} to {most:g}")
    return value
