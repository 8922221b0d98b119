"""The HTTP door: captures in, fixes out, and which model answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import faust
from aiohttp import web
from pydantic import TypeAdapter

from stream_app.errors import CaptureError
from stream_app.metrics import Metrics
from stream_app.records.capture import IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.records.json import InvalidField, capture_from_json
from stream_app.records.json_fix import fix_out
from stream_app.records.json_text import parse_json
from stream_app.settings import Settings
from stream_app.web.body import BodyReader
from stream_app.web.door import Door, ModelStatusInfo
from stream_app.web.openapi import AVRO, JSON, OCTETS, describe
from stream_app.web.problem import RequestRefused, error_body, json_errors, json_response
from stream_app.web.token import WebToken

_DECODERS = 2  # threads that decode bodies, so that the event loop does not
_MODEL_INFO = TypeAdapter(ModelStatusInfo)
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_T = TypeVar("_T")


def add_predict_views(app: faust.App, door: Door, settings: Settings, metrics: Metrics) -> None:
    """Adds /predict, /predict/batch, /model/info, /openapi.json and /docs; errors of all pages become JSON."""
    pages = _Pages(door, settings)
    server: web.Application = app.web.web_app
    server.middlewares.append(json_errors(metrics))
    server.on_cleanup.append(pages.close)
    server.router.add_post("/predict", pages.predict)
    server.router.add_post("/predict/batch", pages.predict_batch)
    server.router.add_get("/model/info", pages.model_info)
    server.router.add_get("/openapi.json", pages.openapi)
    server.router.add_get("/docs", pages.docs)


class _Pages:
    """The handlers, and what they share."""

    def __init__(self, door: Door, settings: Settings) -> None:
        self._door = door
        self._token = WebToken(settings.web_token)
        self._max_batch = settings.web_max_batch
        self._bodies = BodyReader(settings.web_max_body_bytes)
        self._codecs = Codecs(settings.schema_dir)
        self._decoders = ThreadPoolExecutor(_DECODERS, "http-decode")
        self._document = json.dumps(describe(settings)).encode()
        self._page = Path(__file__).with_name("docs.html").read_bytes()

    async def predict(self, request: web.Request) -> web.Response:
        """POST /predict: one capture, one fix."""
        self._token.admit(request)
        kind = _content_type(request, JSON, AVRO, OCTETS)
        async with self._bodies.read(request) as body:
            capture = await self._off_loop(self._read_json if kind == JSON else self._codecs.decode_capture, body)
            [answer] = await self._door.predict([capture])
        if isinstance(answer, CaptureError):
            raise answer
        return json_response(fix_out(answer).model_dump())

    async def predict_batch(self, request: web.Request) -> web.Response:
        """POST /predict/batch: each capture its fix or its error, in order."""
        self._token.admit(request)
        _content_type(request, JSON)
        async with self._bodies.read(request) as body:
            items = await self._off_loop(self._read_batch, body)
            captures = [item for item in items if isinstance(item, IqCapture)]
            answers = iter(await self._door.predict(captures) if captures else [])
        results = [next(answers) if isinstance(item, IqCapture) else item for item in items]
        return await self._off_loop(_batch_response, results)

    async def model_info(self, request: web.Request) -> web.Response:
        """GET /model/info."""
        self._token.admit(request)
        return json_response(_MODEL_INFO.dump_python(self._door.model_info(), mode="json"))

    async def openapi(self, request: web.Request) -> web.Response:
        """GET /openapi.json."""
        return web.Response(body=self._document, content_type="application/json")

    async def docs(self, request: web.Request) -> web.Response:
        """GET /docs: a page to try the others on."""
        return web.Response(
            body=self._page,
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": _PAGE_POLICY, "X-Content-Type-Options": "nosniff"},
        )

    async def close(self, _: web.Application) -> None:
        """Lets the decoding threads end."""
        self._decoders.shutdown(wait=False)

    def _read_json(self, body: bytearray) -> IqCapture:
        return capture_from_json(_parsed(body))

    def _read_batch(self, body: bytearray) -> list[IqCapture | CaptureError]:
        value = _parsed(body)
        captures = value.get("captures") if isinstance(value, dict) else None
        if not isinstance(captures, list):
            raise InvalidField("captures", 'the body must be {"captures": [...]}, a list of captures')
        if len(value) > 1:
            raise InvalidField(next(name for name in value if name != "captures"), "only captures is known here")
        if len(captures) > self._max_batch:
            raise InvalidField(
                "captures", f"{len(captures)} captures, but FIXSTREAM_WEB_MAX_BATCH is {self._max_batch}: send fewer"
            )
        return [_read_item(item, f"captures[{number}]") for number, item in enumerate(captures)]

    async def _off_loop(self, work: Callable[[Any], _T], argument: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work, argument)


def _content_type(request: web.Request, *known: str) -> str:
    """The body's type. Raises RequestRefused (415) where it is none of ``known``, or is not stated."""
    stated: str = request.content_type
    if "Content-Type" not in request.headers or stated not in known:
        raise RequestRefused(415, "unsupported-media-type", f"set the header Content-Type to {' or '.join(known)}")
    return stated


def _parsed(body: bytearray) -> Any:
    try:
        return parse_json(body)
    except ValueError as error:
        raise RequestRefused(400, "not-json", f"the body is not JSON in UTF-8: {error}") from None


def _read_item(value: object, path: str) -> IqCapture | CaptureError:
    try:
        return capture_from_json(value, path)
    except CaptureError as error:
        return error


def _batch_response(results: Sequence[Fix | CaptureError]) -> web.Response:
    return json_response(
        {
            "results": [
                {"fix": fix_out(result).model_dump()} if isinstance(result, Fix) else error_body(result)
                for result in results
            ]
        }
    )
