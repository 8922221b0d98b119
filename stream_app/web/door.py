"""What the HTTP pages ask of the worker behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from stream_app.errors import CaptureError
from stream_app.records.capture import IqCapture
from stream_app.records.deployment import RouteMode
from stream_app.records.fix import Fix


@dataclass(frozen=True, slots=True)
class RouteInfo:
    """One version of the model that runs, and its share."""

    version: Annotated[str, Field(description="Version number in the registry.")]
    ref: Annotated[str, Field(description="What the deployment asked for: a number, an @alias or a stage.")]
    weight: Annotated[float, Field(description="Weight, as deployed.")]
    share: Annotated[float, Field(description="Share of the traffic, 0 to 1.")]
    mode: RouteMode
    suspended: Annotated[bool, Field(description="Whether failures took it out of rotation for a while.")]
    digest: Annotated[str, Field(description="SHA-256 of the model file, hexadecimal.")]


@dataclass(frozen=True, slots=True)
class ModelStatusInfo:
    """The model that answers: its LIVE version with the largest weight, and all routes."""

    name: Annotated[str, Field(description="Registered name of the model.")]
    version: Annotated[str, Field(description="The LIVE version with the largest weight.")]
    stage: Annotated[str | None, Field(description="Its stage, where the registry has stages.")]
    aliases: Annotated[list[str], Field(description="Its aliases in the registry.")]
    created_at: Annotated[str | None, Field(description="When it was registered, ISO 8601.")]
    mlflow_run_id: Annotated[str | None, Field(description="The MLflow run that made it.")]
    accuracy_meters: Annotated[float | None, Field(description="Its accuracy, metres, where the registry has it.")]
    training_samples: Annotated[int | None, Field(description="Its training samples, where the registry has them.")]
    last_reloaded: Annotated[str | None, Field(description="When this worker loaded it last, ISO 8601.")]
    inference_count: Annotated[int, Field(description="Captures that this worker inferred.")]
    avg_latency_ms: Annotated[float | None, Field(description="Mean time from queue to fix, milliseconds.")]
    cache_hit_rate: Annotated[float | None, Field(description="Share of answers from the cache, 0 to 1.")]
    revision: Annotated[int, Field(description="Revision of the deployment; 0: the settings' own.")]
    routes: Annotated[list[RouteInfo], Field(description="All versions that are loaded.")]


class Door(Protocol):
    """The worker's pipeline, as requests meet it."""

    async def predict(self, captures: Sequence[IqCapture]) -> list[Fix | CaptureError]:
        """Answers in order, from the same micro-batcher and pipeline as the stream.

        Raises Overloaded or NoModelLoaded for the whole call, nothing else.
        """

    def model_info(self) -> ModelStatusInfo:
        """What runs now. Raises NoModelLoaded."""
