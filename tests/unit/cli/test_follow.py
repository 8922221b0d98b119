"""MLflow's webhooks at their door: what MLflow signs gets in, nothing else does."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature as mlflow_signature

from stream_app.errors import SettingsError
from stream_app.kafka.embedded import free_port
from stream_app.web.webhook import webhook_server, why_refused

SECRET = "s3cret"
NOW_S = 1_700_000_000.0
BODY = json.dumps({"entity": "model_version_alias", "action": "created", "data": {"alias": "Käfer"}})


def signed(body: str = BODY, secret: str = SECRET, now_s: float = NOW_S, **headers: str) -> dict[str, str]:
    """The headers that MLflow itself makes for a delivery."""
    stamp = str(int(now_s))
    made = {
        "X-MLflow-Delivery-Id": "d-1",
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": mlflow_signature(secret, "d-1", stamp, body),
    }
    return made | headers


def refused(headers: dict[str, str], body: str = BODY) -> str | None:
    return why_refused(headers, body.encode(), SECRET, NOW_S)


def test_what_mlflow_signed_is_taken() -> None:
    assert refused(signed()) is None
    assert refused(signed(now_s=NOW_S - 290)) is None


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        (signed(secret="another"), BODY, "FIXSTREAM_WEBHOOK_SECRET"),
        (signed(), BODY + " ", "does not fit"),
        (signed(**{"X-MLflow-Delivery-Id": "d-2"}), BODY, "does not fit"),
        (signed(**{"X-MLflow-Timestamp": str(int(NOW_S) + 1)}), BODY, "does not fit"),
        (signed(**{"X-MLflow-Signature": "v1,"}), BODY, "does not fit"),
        (signed(**{"X-MLflow-Signature": "\udce9é"}), BODY, "does not fit"),
        ({}, BODY, "does not fit"),
        (signed(now_s=NOW_S - 310), BODY, "a replay"),
        (signed(now_s=NOW_S + 310), BODY, "a replay"),
    ],
)
def test_what_it_did_not_sign_or_long_ago_is_refused(headers: dict[str, str], body: str, words: str) -> None:
    assert words in str(refused(headers, body))


def test_the_door_answers_and_only_a_signed_delivery_is_heard() -> None:
    heard: list[int] = []
    port = free_port()

    async def post(session: aiohttp.ClientSession, body: Any, headers: dict[str, str]) -> int:
        async with session.post(f"http://127.0.0.1:{port}/webhook", data=body, headers=headers) as answer:
            return answer.status

    async def talk() -> list[int]:
        async with (
            webhook_server("127.0.0.1", port, SECRET, lambda: heard.append(1)),
            aiohttp.ClientSession() as session,
        ):
            with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"):
                async with webhook_server("127.0.0.1", port, SECRET, lambda: None):
                    pass
            return [
                await post(session, BODY.encode(), {}),
                await post(session, BODY.encode(), signed(secret="another", now_s=time.time())),
                await post(session, b"x" * 1_000_000, {}),
                await post(session, BODY.encode(), signed(now_s=time.time())),
            ]

    assert asyncio.run(talk()) == [401, 401, 413, 204]
    assert heard == [1]
