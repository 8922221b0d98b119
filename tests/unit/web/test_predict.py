"""The HTTP door as its clients meet it: forms of a capture, answers, and every way to be refused."""

from __future__ import annotations

import base64
import gzip
import json
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from stream_app.errors import NoModelLoaded, Overloaded
from stream_app.records.capture import Channel, IqCapture
from stream_app.records.codec import Codecs
from tests.unit.web.serving import AVRO, INFO, JSON, TOKEN, Served, serve

LIMIT = 64 * 1024
OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serve(web_max_body_bytes=LIMIT, web_max_batch=5) as found:
        yield found


@pytest.fixture
def served(server: Served) -> Served:
    server.door.refusal = server.door.failure = None
    server.door.seen.clear()
    return server


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with serve(web_token=TOKEN) as found:
        yield found


def capture(name: str = "one", receivers: int = 3) -> IqCapture:
    rng = np.random.default_rng(4)
    return IqCapture(
        capture_id=name,
        network="alps",
        captured_at_us=1_746_100_800_000_001,
        center_frequency_hz=433.92e6,
        channels=tuple(
            Channel(
                receiver_id=f"r{number}",
                latitude=50.0 + number,
                longitude=9.0,
                altitude_m=150.0,
                start_time_ns=1_746_100_800_000_000_123 + number,
                sample_rate_hz=1e6,
                datatype="cf32_le",
                sample_count=64,
                samples=rng.normal(size=128).astype("<f4").tobytes(),
                start_sigma_ns=15.0,
                time_sync="GPS",
            )
            for number in range(receivers)
        ),
        metadata={"operator": "ß"},
    )


def as_json(found: IqCapture, *, pairs: bool = False) -> dict[str, Any]:
    value = asdict(found)
    value["captured_at"] = value.pop("captured_at_us")
    value["channels"] = list(value["channels"])
    for channel in value["channels"]:
        samples = channel["samples"]
        channel["samples"] = base64.b64encode(samples).decode()
        if pairs:
            channel["samples"] = np.frombuffer(samples, "<f4").astype(float).reshape(-1, 2).tolist()
            del channel["datatype"], channel["sample_count"]
    return value


def changed(change: dict[str, Any], channel: dict[str, Any] | None = None) -> dict[str, Any]:
    """A capture's JSON with some fields of its own and of its second channel set; None leaves a field out."""
    value = as_json(capture())
    value["channels"][1].update(channel or {})
    value |= change
    for part in (value, *value["channels"]):
        for name in [name for name, held in part.items() if held is None]:
            del part[name]
    return value


def test_every_form_of_a_capture_is_the_same_capture(served: Served) -> None:
    original = capture()
    record = Codecs().encode_capture(original)
    answers = [
        served.post("/predict", as_json(original)),
        served.post("/predict", as_json(original, pairs=True)),
        served.ask("POST", "/predict", record, AVRO),
        served.ask("POST", "/predict", record, OCTETS),
        served.ask("POST", "/predict", iter([record[:100], record[100:]]), AVRO),
        served.ask(
            "POST", "/predict", gzip.compress(json.dumps(as_json(original)).encode()), JSON, Content_Encoding="gzip"
        ),
        served.post("/predict/batch", {"captures": [as_json(original)]}),
    ]
    assert [answer.status for answer in answers] == [200] * 7
    assert served.door.seen == [original] * 7


def test_a_fix_is_answered_with_all_that_is_known_of_it(served: Served) -> None:
    answer = served.post("/predict", as_json(capture()))
    assert answer.headers.get_content_type() == JSON
    assert answer.json == {
        "capture_id": "one",
        "position": {"lat": 50.0, "lon": 9.0},
        "uncertainty": {"sigma_x": 8.0, "sigma_y": 4.0, "theta": 0.52},
        "covariance": {"east_m2": 52.0, "north_m2": 28.0, "east_north_m2": 20.8},
        "confidence": None,
        "ellipse": {
            "semi_major_m": 19.6,
            "semi_minor_m": 9.8,
            "orientation_deg": 60.0,
            "confidence": 0.95,
            "outline": {"type": "Polygon", "coordinates": [[[9.0, 50.0], [9.1, 50.0], [9.0, 50.1], [9.0, 50.0]]]},
        },
        "model_name": "fixstream-tdoa",
        "model_version": "3",
        "fallback": False,
        "border": False,
        "receivers": [],
        "distrusted": [],
        "inference_time_ms": 3.0,
        "total_time_ms": 6.0,
        "cache": "MISS",
    }


def test_a_batch_keeps_its_order_and_gives_each_item_its_own_answer(served: Served) -> None:
    wrong = changed({}, {"latitude": 91})
    items = [as_json(capture("a")), wrong, as_json(capture("unanswerable")), "no capture", as_json(capture("b"))]
    answer = served.post("/predict/batch", {"captures": items})
    assert answer.status == 200
    first, second, third, fourth, fifth = answer.json["results"]
    assert [first["fix"]["capture_id"], fifth["fix"]["capture_id"]] == ["a", "b"]
    assert second["error"]["field"] == "captures[1].channels[1].latitude"
    assert second["error"]["code"] == "invalid-capture"
    assert third["error"] == {"code": "unanswerable", "message": "capture 'unanswerable' has no fix"}
    assert fourth["error"]["field"] == "captures[3]"
    assert served.post("/predict/batch", {"captures": []}).json == {"results": []}


@pytest.mark.parametrize(
    ("change", "channel", "field", "why"),
    [
        ({"center_frequency_hz": None}, {}, "center_frequency_hz", "required"),
        ({"center_frequency_hz": "1e8"}, {}, "center_frequency_hz", "number"),
        ({"center_frequency_hz": 1e13}, {}, "center_frequency_hz", "1e+12|1000000000000"),
        ({"capture_id": ""}, {}, "capture_id", "at least 1"),
        ({"capture_id": "\ud800"}, {}, "capture_id", "unicode"),
        ({"metadata": {"\ud800": ""}}, {}, "metadata.\ufffd\ufffd\ufffd", "surrogate"),
        ({"captured_at": "2025-05-01T12:00:00"}, {}, "captured_at", "offset from UTC"),
        ({"captured_at": "yesterday"}, {}, "captured_at", "ISO 8601"),
        ({"captured_at": -1}, {}, "captured_at", "greater than or equal to 0"),
        ({"unheard_of": 1}, {}, "unheard_of", "not permitted"),
        ({"channels": []}, {}, "channels", "at least 1"),
        ({}, {"receiver_id": "r0"}, "channels", "'r0' is there twice"),
        ({}, {"longitude": -181}, "channels[1].longitude", "-180"),
        ({}, {"start_time_ns": 1.5}, "channels[1].start_time_ns", "integer"),
        ({}, {"time_sync": "SUNDIAL"}, "channels[1].time_sync", "GPSDO"),
        ({}, {"overload": "no"}, "channels[1].overload", "boolean"),
        ({}, {"samples": "AAA"}, "channels[1].samples", "base64"),
        ({}, {"samples": "AA==AAAA"}, "channels[1].samples", "padding"),
        ({}, {"samples": 5}, "channels[1].samples", "[I, Q] pairs"),
        ({}, {"samples": [[1, 2], [3]], "datatype": None}, "channels[1].samples", "item 1"),
        ({}, {"samples": [[1, True], [3, 4]], "datatype": None}, "channels[1].samples", "item 0"),
        ({}, {"samples": [[1, 1e39], [3, 4]], "datatype": None}, "channels[1].samples", "beyond the range"),
        ({}, {"samples": [[1, 2], [3, 4]], "datatype": "ci8"}, "channels[1].datatype", "leave datatype out"),
        ({}, {"datatype": None}, "channels[1].datatype", "ci16_le"),
        ({}, {"datatype": "cf64_le"}, "channels[1].datatype", "ci16_le"),
        ({}, {"sample_count": 63}, "channels[1].sample_count", "samples hold 64"),
        ({}, {"samples": "AAAAAAAAAAA=", "sample_count": None}, "channels[1].sample_count", "at least 2"),
        ({}, {"samples": "AAAA", "sample_count": None}, "channels[1].sample_count", "3 bytes"),
    ],
)
def test_a_wrong_field_is_named_with_the_reason(
    served: Served, change: dict[str, Any], channel: dict[str, Any], field: str, why: str
) -> None:
    answer = served.post("/predict", changed(change, channel))
    assert answer.status == 422
    assert answer.error["field"] == field
    assert any(part in answer.error["message"] for part in why.split("|")), answer.error["message"]
    assert not served.door.seen


def test_what_may_be_left_out_gets_its_default(served: Served) -> None:
    names = ("capture_id", "network", "captured_at", "metadata")
    value = changed(
        dict.fromkeys(names), {"sample_count": None, "start_sigma_ns": None, "start_time_ns": "1746100800000000124"}
    )
    assert served.post("/predict", value).status == 200
    assert (
        served.post("/predict", value | {"network": "", "captured_at": "2025-05-01T14:00:00.000001+02:00"}).status
        == 200
    )
    first, second = served.door.seen
    assert first.capture_id != second.capture_id
    assert first.network == second.network == "http"
    assert second.captured_at_us == capture().captured_at_us
    assert first.captured_at_us > second.captured_at_us
    assert first.channels[1] == replace(capture().channels[1], start_sigma_ns=None)


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "code"),
    [
        ("/predict", b"{", JSON, 400, "not-json"),
        ("/predict", b'{"a": NaN}', JSON, 400, "not-json"),
        ("/predict", b"\xff", JSON, 400, "not-json"),
        ("/predict", b"[" * 60_000, JSON, 400, "not-json"),
        ("/predict", b"1" * 60_000, JSON, 400, "not-json"),
        ("/predict", b"[1]", JSON, 422, "invalid-capture"),
        ("/predict", b"", JSON, 400, "not-json"),
        ("/predict", b"nonsense", AVRO, 422, "undecodable"),
        ("/predict", b"\xc3\x01" + b"notknown" + b"rest", OCTETS, 422, "unknown-schema"),
        ("/predict", b"a=b", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        ("/predict", b"{}", None, 415, "unsupported-media-type"),
        ("/predict/batch", b"\xc3\x01", AVRO, 415, "unsupported-media-type"),
        ("/predict/batch", b"[]", JSON, 422, "invalid-capture"),
        ("/predict/batch", b'{"captures": {}}', JSON, 422, "invalid-capture"),
        ("/predict/batch", b'{"captures": [], "more": 1}', JSON, 422, "invalid-capture"),
        ("/predict/batch", b'{"captures": [1, 2, 3, 4, 5, 6]}', JSON, 422, "invalid-capture"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    served: Served, path: str, body: bytes, kind: str | None, status: int, code: str
) -> None:
    answer = served.ask("POST", path, body, kind)
    assert answer.status == status
    assert answer.error["code"] == code


def test_a_body_that_breaks_on_its_way_is_refused(served: Served) -> None:
    answer = served.ask("POST", "/predict", b"no gzip", JSON, Content_Encoding="gzip")
    assert (answer.status, answer.error["code"]) == (400, "body-broken")


def test_a_capture_without_an_answer_says_why(served: Served) -> None:
    answer = served.post("/predict", as_json(capture("unanswerable")))
    assert answer.status == 422
    assert answer.error == {"code": "unanswerable", "message": "capture 'unanswerable' has no fix"}


def test_bodies_above_the_limit_are_refused_and_those_at_it_are_not(served: Served) -> None:
    value = json.dumps(as_json(capture())).encode()
    full = value + b" " * (LIMIT - len(value))
    assert served.ask("POST", "/predict", full, JSON).status == 200
    assert served.ask("POST", "/predict", iter([full]), JSON).status == 200
    above = full + b" "
    zeros = gzip.compress(bytes(2**20))
    for answer in (
        served.ask("POST", "/predict", above, JSON),
        served.ask("POST", "/predict", iter([above[:1000], above[1000:]]), JSON),
        served.ask("POST", "/predict/batch", above, JSON),
        served.ask("POST", "/predict", zeros, JSON, Content_Encoding="gzip"),
    ):
        assert answer.status == 413
        assert "FIXSTREAM_WEB_MAX_BODY_BYTES" in answer.error["message"]


def test_a_body_without_end_is_refused_while_it_is_sent(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 30) as line:
        line.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
        for _ in range(LIMIT // 0x1000 + 1):
            line.sendall(chunk)
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [(Overloaded("full"), 429, "overloaded"), (NoModelLoaded("none"), 503, "no-model")],
)
def test_who_cannot_be_served_now_is_told_when_to_come_again(
    served: Served, refusal: Overloaded | NoModelLoaded, status: int, code: str
) -> None:
    served.door.refusal = refusal
    value = as_json(capture())
    for answer in (
        served.post("/predict", value),
        served.post("/predict/batch", {"captures": [value]}),
        *([served.ask("GET", "/model/info")] if status == 503 else []),
    ):
        assert answer.status == status
        assert answer.error["code"] == code
        assert int(answer.headers["Retry-After"]) > 0


def test_a_failure_of_the_worker_is_500_in_json_and_tells_no_secrets(served: Served) -> None:
    served.door.failure = RuntimeError("secret")
    answer = served.post("/predict", as_json(capture()))
    assert answer.status == 500
    assert answer.error["code"] == "internal"
    assert b"secret" not in answer.body


def test_model_info_shows_the_model_and_its_routes(served: Served) -> None:
    answer = served.ask("GET", "/model/info")
    assert answer.status == 200
    assert answer.json == asdict(INFO)


def test_other_methods_and_paths_are_refused_in_json(served: Served) -> None:
    wrong = served.ask("GET", "/predict")
    assert (wrong.status, wrong.error["code"], wrong.headers["Allow"]) == (405, "method-not-allowed", "POST")
    assert served.ask("DELETE", "/model/info").status == 405
    assert served.ask("HEAD", "/predict").status == 405
    missing = served.ask("GET", "/no/such/page")
    assert (missing.status, missing.error["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "header", [None, TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", "Bearer \xff"]
)
def test_without_the_token_the_door_is_shut(guarded: Served, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for answer in (
        guarded.ask("POST", "/predict", b"{", JSON, **headers),
        guarded.ask("POST", "/predict/batch", b"{", JSON, **headers),
        guarded.ask("GET", "/model/info", **headers),
    ):
        assert answer.status == 401
        assert answer.error["code"] == "unauthorized"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_with_the_token_the_door_opens_and_some_pages_need_none(guarded: Served) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.post("/predict", as_json(capture()), **bearer).status == 200
    assert guarded.ask("GET", "/model/info", **bearer).status == 200
    assert guarded.ask("GET", "/model/info", Authorization=f"bearer {TOKEN}").status == 200
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"):
        assert guarded.ask("GET", path).status == 200


def test_requests_are_counted_and_timed_by_endpoint_and_status() -> None:
    with serve() as served:
        served.post("/predict", as_json(capture()))
        served.post("/predict", {})
        served.ask("GET", "/no/such/page")
        text = served.ask("GET", "/metrics").body.decode()
    assert 'fixstream_requests_total{endpoint="/predict",status="200"} 1.0' in text
    assert 'fixstream_requests_total{endpoint="/predict",status="422"} 1.0' in text
    assert 'fixstream_requests_total{endpoint="unknown",status="404"} 1.0' in text
    assert 'fixstream_request_seconds_count{endpoint="/predict"} 2.0' in text
