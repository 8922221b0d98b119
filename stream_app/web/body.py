"""Bodies of requests, within limits: so much a request, so much for all that are under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from stream_app.errors import Overloaded
from stream_app.web.problem import RequestRefused

READ_TIMEOUT_S = 30.0
_LARGEST_AT_ONCE = 8  # bodies of the largest size that may be held at once


class BodyReader:
    """Reads bodies of up to ``max_bytes``, and holds no more than eight times that at once."""

    def __init__(self, max_bytes: int, timeout_s: float = READ_TIMEOUT_S) -> None:
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._held_bytes = 0

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytearray]:
        """The request's body; it counts as held until the context ends.

        Raises RequestRefused (400 broken, 408 too slow, 413 too large) or Overloaded.
        """
        if (request.content_length or 0) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            await self._fill(body, request)
            yield body
        finally:
            self._held_bytes -= len(body)

    async def _fill(self, body: bytearray, request: web.Request) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                async for chunk in request.content.iter_any():
                    body += chunk
                    self._held_bytes += len(chunk)
                    if len(body) > self._max_bytes:
                        raise self._too_large()
                    if self._held_bytes > _LARGEST_AT_ONCE * self._max_bytes:
                        raise Overloaded("the bodies of other requests take all the room: try again in a moment")
        except TimeoutError:
            why = f"the body did not come within {self._timeout_s:g} s: send it again"
            raise RequestRefused(408, "body-too-slow", why) from None
        except (web.RequestPayloadError, HttpProcessingError, OSError) as error:
            raise RequestRefused(400, "body-broken", f"the body broke on its way: {error}") from None

    def _too_large(self) -> RequestRefused:
        return RequestRefused(
            413,
            "body-too-large",
            f"the body is above FIXSTREAM_WEB_MAX_BODY_BYTES ({self._max_bytes}): send less at once",
        )
