"""The OpenAPI document of the worker's pages, from the models that read and write them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter
from pydantic.json_schema import models_json_schema

from stream_app.records.json import CaptureIn
from stream_app.records.json_fix import FixOut
from stream_app.settings import Settings
from stream_app.web.door import ModelStatusInfo
from stream_app.web.example import example_capture, short_example

JSON = "application/json"
AVRO = "application/vnd.fixstream.capture+avro"
OCTETS = "application/octet-stream"
_REF = "#/components/schemas/{model}"


class ErrorDetail(BaseModel):
    """What was wrong."""

    code: str = Field(description="A stable name of the kind of error.", examples=["invalid-capture"])
    message: str = Field(description="In words: what, where, and what to do.")
    field: str | None = Field(None, description="Path of the field in the JSON body, such as channels[1].samples.")


class ErrorOut(BaseModel):
    """An error."""

    error: ErrorDetail


class FixResult(BaseModel):
    """A capture that was answered."""

    fix: FixOut


class BatchIn(BaseModel):
    """Captures to be answered one by one."""

    captures: list[CaptureIn]


class BatchOut(BaseModel):
    """The captures' results, in their order."""

    results: list[FixResult | ErrorOut]


class Live(BaseModel):
    """The process serves pages."""

    live: bool


class Applied(BaseModel):
    """What this worker made of the newest deployment."""

    revision: int
    state: Literal["LOADING", "APPLIED", "REFUSED"]
    reason: str


class Ready(BaseModel):
    """Readiness, and in words what it lacks."""

    ready: bool
    reasons: list[str]
    lag: dict[str, int] = Field(description="Records not yet committed, by partition.")
    cache: str = Field(description="The cache's kind, and the state of its circuit breaker.")
    deployment: Applied


def describe(settings: Settings) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a worker with these settings."""
    answers: list[type[BaseModel]] = [FixOut, ErrorOut, BatchOut, Live, Ready]
    _, schemas = models_json_schema(
        [(CaptureIn, "validation"), *((model, "serialization") for model in answers)], ref_template=_REF
    )
    components = schemas["$defs"]
    info = TypeAdapter(ModelStatusInfo).json_schema(mode="serialization", ref_template=_REF)
    components |= info.pop("$defs") | {"ModelStatusInfo": info}
    batch = BatchIn.model_json_schema(ref_template=_REF)
    batch.pop("$defs")
    # Items are checked one by one: a wrong one does not make the batch wrong.
    batch["properties"]["captures"] |= {"maxItems": settings.web_max_batch}
    components["BatchIn"] = batch | {"additionalProperties": False}
    guarded: dict[str, Any] = {} if settings.web_token is None else {"security": [{"bearer": []}]}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "FixStream",
            "version": version("fixstream"),
            "description": "IQ captures of receiver networks in, position fixes with error ellipses out: the same "
            "pipeline as the stream's.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "predict", "description": "Captures in, fixes out."},
            {"name": "model", "description": "What answers."},
            {"name": "worker", "description": "The worker's state."},
        ],
        "paths": {
            "/predict": {"post": _predict(settings) | guarded},
            "/predict/batch": {"post": _predict_batch(settings) | guarded},
            "/model/info": {"get": _model_info(settings) | guarded},
            "/health/live": {
                "get": _get("live", "Whether the process serves pages", "Live"),
            },
            "/health/ready": {
                "get": _get("ready", "Whether captures are taken", "Ready")
                | {"responses": {"200": _json("It is ready.", "Ready"), "503": _json("It is not.", "Ready")}},
            },
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "tags": ["worker"],
                    "summary": "What Prometheus reads",
                    "responses": {
                        "200": {"description": "Metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}
                    },
                }
            },
        },
        "components": {"schemas": components},
    }
    if settings.web_token is not None:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return document


def _predict(settings: Settings) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": "predict",
        "tags": ["predict"],
        "summary": "One capture, one fix",
        "description": "The capture as JSON, or as the Avro single-object record that the stream takes "
        "(schemas/iq_capture). The uncertainty is the 1-sigma ellipse in metres and radians; the ellipse is the one "
        "that holds the emitter with the stated probability.",
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {"$ref": _REF.format(model="CaptureIn")},
                    "examples": {
                        "base64": {"summary": "Samples as base64, for the demo network", "value": example_capture()},
                        "pairs": {"summary": "Samples as [I, Q] pairs, too few for a fix", "value": short_example()},
                    },
                },
                AVRO: binary,
                OCTETS: binary,
            },
        },
        "responses": {"200": _json("The fix.", "FixOut", _FIX)} | _refusals(settings),
    }


def _predict_batch(settings: Settings) -> dict[str, Any]:
    wrong = {
        "error": {"code": "invalid-capture", "message": "captures[1].channels: ...", "field": "captures[1].channels"}
    }
    return {
        "operationId": "predictBatch",
        "tags": ["predict"],
        "summary": "Several captures, each its fix or its error, in order",
        "description": f"Up to {settings.web_max_batch} captures. A capture that cannot be answered does not harm its "
        "neighbours: its place in the results holds its error.",
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {"$ref": _REF.format(model="BatchIn")},
                    "examples": {
                        "two": {
                            "summary": "One for the demo network, and one that is too short",
                            "value": {"captures": [example_capture(), short_example()]},
                        }
                    },
                }
            },
        },
        "responses": {"200": _json("The results.", "BatchOut", {"results": [{"fix": _FIX}, wrong]})}
        | _refusals(settings),
    }


def _model_info(settings: Settings) -> dict[str, Any]:
    found = _get("modelInfo", "The model that answers, and all routes", "ModelStatusInfo") | {"tags": ["model"]}
    found["responses"] |= {"503": _retry("No model is loaded.")}
    if settings.web_token is not None:
        found["responses"] |= {"401": _unauthorized()}
    return found


def _refusals(settings: Settings) -> dict[str, Any]:
    found = {
        "400": _json("The body is not JSON, or broken on its way.", "ErrorOut"),
        "408": _json("The body came too slowly.", "ErrorOut"),
        "413": _json(f"The body is above {settings.web_max_body_bytes} bytes.", "ErrorOut"),
        "415": _json("The body is of another content type.", "ErrorOut"),
        "422": _json("The body does not hold what it must, or it cannot be answered. `field` names it.", "ErrorOut"),
        "429": _retry("Too many captures wait."),
        "503": _retry("No model is loaded."),
    }
    return found if settings.web_token is None else found | {"401": _unauthorized()}


def _get(name: str, summary: str, model: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "tags": ["worker"],
        "summary": summary,
        "responses": {"200": _json(summary + ".", model)},
    }


def _json(description: str, model: str, example: Any = None) -> dict[str, Any]:
    content = {"schema": {"$ref": _REF.format(model=model)}}
    return {
        "description": description,
        "content": {JSON: content if example is None else content | {"example": example}},
    }


def _retry(description: str) -> dict[str, Any]:
    header = {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
    return _json(description, "ErrorOut") | {"headers": {"Retry-After": header}}


def _unauthorized() -> dict[str, Any]:
    header = {"description": "Bearer.", "schema": {"type": "string"}}
    return _json("The bearer token is missing or wrong.", "ErrorOut") | {"headers": {"WWW-Authenticate": header}}


_FIX: dict[str, Any] = {
    "capture_id": "example-1",
    "position": {"lat": 50.0152, "lon": 9.0112},
    "uncertainty": {"sigma_x": 8.0, "sigma_y": 4.0, "theta": 0.5236},
    "covariance": {"east_m2": 52.0, "north_m2": 28.0, "east_north_m2": 20.78},
    "confidence": None,
    "ellipse": {
        "semi_major_m": 19.58,
        "semi_minor_m": 9.79,
        "orientation_deg": 60.0,
        "confidence": 0.95,
        "outline": None,
    },
    "model_name": "fixstream-tdoa",
    "model_version": "3",
    "fallback": False,
    "border": False,
    "receivers": ["north", "east", "south", "west"],
    "distrusted": [],
    "inference_time_ms": 4.1,
    "total_time_ms": 17.8,
    "cache": "MISS",
}
