"""The OpenAPI document against the pages that it describes, and the page that is made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from stream_app.cache.dedup import DedupCache
from stream_app.errors import NoModelLoaded, Overloaded
from stream_app.geo.geodesy import distance_m
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.session import OnnxSession
from stream_app.network.file import load_network
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.records.json import capture_from_json
from stream_app.records.schemas import shipped_dir
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.unit.web.serving import INFO, JSON, TOKEN, Served, serve

OPERATIONS = [
    ("/predict", "POST", GenerationMode.POSITIVE),
    ("/predict", "POST", GenerationMode.NEGATIVE),
    ("/predict/batch", "POST", GenerationMode.POSITIVE),
    ("/predict/batch", "POST", GenerationMode.NEGATIVE),
    ("/model/info", "GET", GenerationMode.POSITIVE),
    ("/health/live", "GET", GenerationMode.POSITIVE),
    ("/health/ready", "GET", GenerationMode.POSITIVE),
    ("/metrics", "GET", GenerationMode.POSITIVE),
]
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(web_max_batch=4, web_max_body_bytes=256 * 1024) as found:
        yield found


@pytest.fixture(scope="module")
def document(served: Served) -> dict[str, Any]:
    found: dict[str, Any] = served.ask("GET", "/openapi.json").json
    return found


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_whatever_is_sent_the_answer_is_one_that_the_document_states(
    served: Served, path: str, method: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_url(f"http://127.0.0.1:{served.port}/openapi.json")[path][method]
    # A wrong capture does not make its batch wrong: the batch's answer holds the error.
    found = CHECKS if path == "/predict/batch" else [*CHECKS, checks.negative_data_rejection]
    seen: set[int] = set()

    @settings(
        max_examples=100 if method == "POST" else 3,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        answer = case.call()
        seen.add(answer.status_code)
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, checks=found)

    send()
    if mode is GenerationMode.POSITIVE:
        assert 200 in seen


@pytest.mark.parametrize(("refusal", "status"), [(Overloaded("full"), 429), (NoModelLoaded("none"), 503)])
def test_refusals_are_those_of_the_document(
    served: Served, document: dict[str, Any], refusal: Overloaded | NoModelLoaded, status: int
) -> None:
    operation = schemathesis.openapi.from_dict(document)["/predict"]["POST"]
    served.door.refusal = refusal
    try:
        case = operation.Case(body=examples(document, "/predict")[0], media_type=JSON)
        answer = case.call(base_url=f"http://127.0.0.1:{served.port}")
    finally:
        served.door.refusal = None
    assert answer.status_code == status
    case.validate_response(answer, checks=CHECKS)


def examples(document: dict[str, Any], path: str) -> list[Any]:
    content = document["paths"][path]["post"]["requestBody"]["content"][JSON]
    return [example["value"] for example in content["examples"].values()]


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_the_documents_examples_are_answered(served: Served, document: dict[str, Any], path: str) -> None:
    for example in examples(document, path):
        answer = served.post(path, example)
        assert answer.status == 200
        assert b"error" not in answer.body


def test_the_first_example_is_located_by_the_demo_networks_model(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(build_tdoa(load_network(example_network("demo"))), str(path))
    fleet = Fleet.of(OnnxSession.load(path, "demo", "1", 1))
    capture = capture_from_json(examples(document, "/predict")[0])
    [fix] = Locator(fleet, DedupCache(None), Codecs(), Settings(), Metrics()).locate([capture])
    assert isinstance(fix, Fix)
    assert distance_m(fix.latitude, fix.longitude, 47.76, 9.06) < fix.semi_major_m < 50


def test_every_field_of_the_capture_schema_is_a_field_of_its_json_form(document: dict[str, Any]) -> None:
    schema = json.loads((shipped_dir() / "iq_capture" / "1.avsc").read_text())
    channel = next(field for field in schema["fields"] if field["name"] == "channels")["type"]["items"]
    forms = document["components"]["schemas"]
    assert set(forms["CaptureIn"]["properties"]) == {field["name"] for field in schema["fields"]}
    assert set(forms["ChannelIn"]["properties"]) == {field["name"] for field in channel["fields"]}
    for form in ("CaptureIn", "ChannelIn", "FixOut", "ModelStatusInfo"):
        for name, field in forms[form]["properties"].items():
            assert field.get("description") or "$ref" in field, f"{form}.{name} is not described"


def test_every_reference_leads_somewhere_and_every_status_is_stated(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))) <= known
    for path in ("/predict", "/predict/batch"):
        stated = set(document["paths"][path]["post"]["responses"])
        assert stated == {"200", "400", "408", "413", "415", "422", "429", "503"}
    assert document["components"]["schemas"]["BatchIn"]["properties"]["captures"]["maxItems"] == 4
    assert set(document["components"]["schemas"]["ModelStatusInfo"]["properties"]) == set(INFO.__slots__)


def test_the_token_is_asked_for_where_the_document_says_so() -> None:
    with serve(web_token=TOKEN) as guarded:
        document = guarded.ask("GET", "/openapi.json").json
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                answer = guarded.ask(method.upper(), path)
                assert (answer.status == 401) == ("security" in operation) == ("401" in operation["responses"])


def test_the_page_holds_all_it_needs(served: Served) -> None:
    answer = served.ask("GET", "/docs")
    assert answer.headers.get_content_type() == "text/html"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    text = answer.body.decode()
    assert not re.findall(r'(?:src|href)="(?!openapi\.json)', text)
    assert "http://" not in text
    assert "https://" not in text
