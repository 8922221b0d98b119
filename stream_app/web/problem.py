"""Errors as an HTTP client reads them: {"error": {"code", "message", "field"?}}, whatever went wrong."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from stream_app.errors import CaptureError, FixStreamError, NoModelLoaded, Overloaded
from stream_app.metrics import Metrics
from stream_app.records.json import InvalidField

log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_RETRY_AFTER_S = {429: "1", 503: "5"}


class RequestRefused(FixStreamError):
    """A request that is answered with an error status before anything is computed."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """``value`` as a response of plain ASCII JSON."""
    return web.Response(
        body=json.dumps(value, allow_nan=False).encode(),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def error_body(error: FixStreamError) -> dict[str, Any]:
    """What an answer says of an error."""
    found: dict[str, Any] = {"code": error.code, "message": str(error).encode(errors="backslashreplace").decode()}
    if isinstance(error, InvalidField) and error.field:
        found["field"] = error.field
    return {"error": found}


def error_response(error: Exception) -> web.Response:
    """The answer to a request that raised ``error``."""
    headers: dict[str, str] = {}
    if isinstance(error, web.HTTPException):
        status = error.status
        body = {"error": {"code": _slug(status), "message": f"{error.reason}: see /openapi.json for what there is"}}
        headers = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
    elif isinstance(error, RequestRefused):
        status, body, headers = error.status, error_body(error), error.headers
    elif isinstance(error, FixStreamError) and (known := _status(error)) is not None:
        status, body = known, error_body(error)
    else:
        log.exception("A request failed", exc_info=error)
        status = 500
        body = {"error": {"code": "internal", "message": "the worker failed on this request: its log says why"}}
    if status in _RETRY_AFTER_S:
        headers = {"Retry-After": _RETRY_AFTER_S[status]} | headers
    return json_response(body, status, headers)


def json_errors(metrics: Metrics) -> Any:
    """The middleware that answers errors in JSON, and counts and times each request by its endpoint."""

    @web.middleware
    async def answer(request: web.Request, handler: _Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        endpoint = "unknown" if resource is None else resource.canonical
        started = time.perf_counter()
        status = "closed"  # the client went before its answer was made
        try:
            try:
                response = await handler(request)
            except Exception as error:
                response = error_response(error)
            status = str(response.status)
            return response
        finally:
            metrics.requests.labels(endpoint, status).inc()
            metrics.request_latency.labels(endpoint).observe(time.perf_counter() - started)

    return answer


def _status(error: FixStreamError) -> int | None:
    if isinstance(error, CaptureError):
        return 422
    return 429 if isinstance(error, Overloaded) else 503 if isinstance(error, NoModelLoaded) else None


def _slug(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "-")
