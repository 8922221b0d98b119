"""MLflow's webhooks: their signature is checked, then somebody is told to look at the registry.

A delivery is signed as Standard Webhooks are, under MLflow's own header names: HMAC-SHA256 over
``delivery id.timestamp.body``, base64, behind "v1,".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from stream_app.errors import SettingsError

_SIGNATURE, _TIMESTAMP, _DELIVERY = "X-MLflow-Signature", "X-MLflow-Timestamp", "X-MLflow-Delivery-Id"
_FRESH_S = 300  # as Standard Webhooks advise; MLflow's own retries end well before
_MAX_BODY_BYTES = 256 * 1024


def why_refused(headers: Mapping[str, str], body: bytes, secret: str, now_s: float) -> str | None:
    """What is wrong with a delivery's signature or age, in words; None where it is MLflow's."""
    # Bytes: a header may hold what is no text, and compare_digest takes none beyond ASCII.
    signature, timestamp, delivery = (
        headers.get(name, "").encode(errors="surrogateescape") for name in (_SIGNATURE, _TIMESTAMP, _DELIVERY)
    )
    mac = hmac.new(secret.encode(), b".".join((delivery, timestamp, body)), hashlib.sha256).digest()
    if not hmac.compare_digest(signature, b"v1," + base64.b64encode(mac)):
        return f"{_SIGNATURE} does not fit: is FIXSTREAM_WEBHOOK_SECRET the secret of the webhook in MLflow?"
    if not timestamp.isdigit() or abs(now_s - int(timestamp)) > _FRESH_S:
        return f"{_TIMESTAMP} is more than {_FRESH_S} s off: is it a replay, or are the clocks apart?"
    return None


@asynccontextmanager
async def webhook_server(host: str, port: int, secret: str, on_event: Callable[[], None]) -> AsyncIterator[None]:
    """Serves POST /webhook; ``on_event`` is called for each delivery that MLflow signed, whatever it tells.

    Raises SettingsError where the port cannot be had.
    """

    async def take(request: web.Request) -> web.Response:
        problem = why_refused(request.headers, await request.read(), secret, time.time())
        if problem is not None:
            return web.json_response({"error": problem}, status=401)
        on_event()
        return web.Response(status=204)

    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/webhook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(f"webhooks cannot be taken at {host}:{port}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()
