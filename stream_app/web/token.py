"""FIXSTREAM_WEB_TOKEN: who may ask for what it guards."""

from __future__ import annotations

import hashlib
import hmac

from aiohttp import web
from pydantic import SecretStr

from stream_app.web.body import BodyReader
from stream_app.web.problem import RequestRefused

_COOKIE = "fixstream-page"
_LARGEST = 4096


class WebToken:
    """The token, or that there is none and everyone may ask."""

    def __init__(self, token: SecretStr | None) -> None:
        self._token = None if token is None else token.get_secret_value().encode()

    def admit(self, request: web.Request) -> None:
        """Raises RequestRefused (401) unless the request carries the token, where one is set."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self._token is not None and not (scheme.lower() == "bearer" and self._is_token(token)):
            raise RequestRefused(
                401,
                "unauthorized",
                "send the FIXSTREAM_WEB_TOKEN in the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="fixstream"'},
            )

    def admit_page(self, request: web.Request) -> None:
        """The same for a page, which may carry the cookie that ``give_cookie`` gave it."""
        given = request.cookies.get(_COOKIE, "").encode("utf-8", "surrogateescape")
        if self._token is None or not hmac.compare_digest(given, self._mark(self._token)):
            self.admit(request)

    async def give_cookie(self, request: web.Request) -> web.Response:
        """The answer to a POST of the token: a cookie that scripts cannot read, good until the token changes.

        Raises RequestRefused (401, 408, 413).
        """
        async with BodyReader(_LARGEST).read(request) as body:
            if self._token is None or not self._is_token(body.decode("utf-8", "replace")):
                raise RequestRefused(401, "unauthorized", "that is not this server's FIXSTREAM_WEB_TOKEN")
        answer = web.Response(status=204)
        mark = self._mark(self._token).decode()
        answer.set_cookie(_COOKIE, mark, httponly=True, samesite="Strict", secure=request.secure)
        return answer

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token or b"")

    @staticmethod
    def _mark(token: bytes) -> bytes:
        """Not the token itself: who finds the cookie cannot send captures with it."""
        return hmac.new(token, b"fixstream page", hashlib.sha256).hexdigest().encode()
