"""The map over HTTP: its page, what it is made of, and its events. The same handlers serve alone and on a worker."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from stream_app.errors import MapPageMissing
from stream_app.mapview.live import LONGEST_TRAIL_MS, LiveMap
from stream_app.mapview.people import networks_out
from stream_app.mapview.picture import compact
from stream_app.network.file import Network
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from stream_app.web.problem import RequestRefused

DIST = Path(__file__).parents[1] / "web" / "map" / "dist"
_WRITE_S = 20.0  # longest wait for a page to take what it is sent
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
          ".svg": "image/svg+xml", ".txt": "text/plain"}  # fmt: skip


class MapPages:
    """The handlers of /map and what is under it."""

    def __init__(self, settings: Settings, live: LiveMap, networks: Sequence[Network], tiles: str | None) -> None:
        """Raises MapPageMissing where the page was not built."""
        self._live, self._codecs = live, Codecs(settings.schema_dir)
        self._files = _built()
        self._config = {"networks": networks_out(networks), "tiles": tiles, "positions": settings.positions_topic}
        self._headers = {
            "Content-Security-Policy": _policy(tiles),
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
        router.add_get("/map/{name:[A-Za-z0-9._-]+}", self.file)

    async def page(self, request: web.Request) -> web.Response:
        """GET /map."""
        return self._file(request, "index.html", "no-cache")

    async def file(self, request: web.Request) -> web.Response:
        """GET /map/NAME: a part of the page, under a name that changes with its content."""
        return self._file(request, request.match_info["name"], "public, max-age=31536000, immutable")

    async def config(self, request: web.Request) -> web.Response:
        """GET /map/config: networks and the base layer."""
        return self._json(self._config)

    async def history(self, request: web.Request) -> web.Response:
        """GET /map/history?at=MS&window=S: the fixes and tracks of a moment of the last hour."""
        at_ms = _number(request, "at", 0, 1e15)
        window_ms = int(1000 * _number(request, "window", 1, LONGEST_TRAIL_MS / 1e3))
        picture = self._live.picture
        rows = picture.before(int(at_ms), window_ms)
        text = f'{{"fixes":[{",".join(rows)}],"tracks":{compact(picture.tracks(int(at_ms)))}}}'
        return self._response(text)

    async def fix(self, request: web.Request) -> web.Response:
        """GET /map/fix/NUMBER?run=RUN: all that the fix's record says."""
        picture = self._live.picture
        record = picture.record(int(request.match_info["number"])) if request.query.get("run") == picture.run else None
        if record is None:
            raise RequestRefused(404, "not-kept", "this fix is not kept here any more: take a newer one")
        return self._json(asdict(self._codecs.decode_fix(record)))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /map/events: server-sent events, without end."""
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
                async for part in found:
                    if packer is not None:
                        part = packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
                    async with asyncio.timeout(_WRITE_S):  # a page that reads nothing gives its place up
                        await response.write(part)
        return response

    def _file(self, request: web.Request, name: str, caching: str) -> web.Response:
        found = self._files.get(name)
        if found is None:
            raise RequestRefused(404, "not-found", "there is no such part of the map")
        plain, packed = found
        headers = {**self._headers, "Cache-Control": caching, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", "") and packed is not None:
            return web.Response(
                body=packed, content_type=_type(name), charset="utf-8", headers=headers | {"Content-Encoding": "gzip"}
            )
        return web.Response(body=plain, content_type=_type(name), charset="utf-8", headers=headers)

    def _json(self, value: Any) -> web.Response:
        return self._response(compact(value))

    def _response(self, text: str) -> web.Response:
        response = web.Response(
            text=text, content_type="application/json", headers={**self._headers, "Cache-Control": "no-store"}
        )
        response.enable_compression()
        return response


def _built() -> dict[str, tuple[bytes, bytes | None]]:
    """The built page's files by name: plain and gzipped."""
    try:
        names = json.loads((DIST / "files.json").read_text())
        return {name: ((DIST / name).read_bytes(), _bytes(DIST / f"{name}.gz")) for name in names}
    except (OSError, ValueError) as error:
        raise MapPageMissing(
            f"the map's page is not built ({DIST} holds none): run make map-page in the source tree, or install a "
            "wheel that was built after it"
        ) from error


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _type(name: str) -> str:
    return _TYPES[Path(name).suffix]


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
