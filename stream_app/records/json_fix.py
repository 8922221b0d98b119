"""The JSON form of a fix. No I/O."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, Field

from stream_app.records.fix import Fix


class PositionOut(BaseModel):
    """Where the emitter is, WGS 84."""

    lat: float = Field(description="Latitude, degrees.")
    lon: float = Field(description="Longitude, degrees.")


class UncertaintyOut(BaseModel):
    """The 1-sigma error ellipse, which holds the emitter with a probability of 0.3935."""

    sigma_x: float = Field(description="1-sigma along the major axis, metres.")
    sigma_y: float = Field(description="1-sigma along the minor axis, metres.")
    theta: float = Field(description="The major axis, counter-clockwise from east, radians, in [0, pi).")


class CovarianceOut(BaseModel):
    """Covariance of the position, square metres."""

    east_m2: float = Field(description="Variance towards east, square metres.")
    north_m2: float = Field(description="Variance towards north, square metres.")
    east_north_m2: float = Field(description="Covariance between east and north, square metres.")


class EllipseOut(BaseModel):
    """The ellipse that holds the emitter with the stated probability."""

    semi_major_m: float = Field(description="Semi-major axis, metres.")
    semi_minor_m: float = Field(description="Semi-minor axis, metres.")
    orientation_deg: float = Field(description="The major axis, clockwise from true north, degrees, in [0, 180).")
    confidence: float = Field(description="Probability that the ellipse holds the emitter.")
    outline: dict[str, Any] | None = Field(description="GeoJSON Polygon or MultiPolygon. Null: switched off.")


class FixOut(BaseModel):
    """One estimate of where an emitter is, its error ellipse, and how it was made."""

    capture_id: str = Field(description="The capture that this answers.")
    position: PositionOut
    uncertainty: UncertaintyOut
    covariance: CovarianceOut
    confidence: float | None = Field(description="The model's own confidence, 0 to 1. Null: it states none.")
    ellipse: EllipseOut
    model_name: str = Field(description="Registered name of the model.")
    model_version: str = Field(description="Version of the model that answered.")
    fallback: bool = Field(description="Whether another version than the drawn one answered.")
    border: bool = Field(description="Whether the fix leans on the border of the model's area.")
    receivers: list[str] = Field(description="Receivers whose samples were used.")
    distrusted: list[str] = Field(description="Receivers whose clocks are off and whose weight was lowered, for all.")
    inference_time_ms: float = Field(description="Inference of the micro-batch, milliseconds.")
    total_time_ms: float = Field(description="From the worker's queue to the finished fix, milliseconds.")
    cache: Literal["MISS", "EXACT", "FEATURES", "BATCH", "DISABLED"] = Field(description="Where the answer came from.")


def fix_out(fix: Fix) -> FixOut:
    """The JSON form of a fix."""
    return FixOut(
        capture_id=fix.capture_id,
        position=PositionOut(lat=fix.latitude, lon=fix.longitude),
        uncertainty=UncertaintyOut(sigma_x=fix.sigma_x_m, sigma_y=fix.sigma_y_m, theta=fix.theta_rad),
        covariance=CovarianceOut(
            east_m2=fix.cov_east_m2, north_m2=fix.cov_north_m2, east_north_m2=fix.cov_east_north_m2
        ),
        confidence=fix.model_confidence,
        ellipse=EllipseOut(
            semi_major_m=fix.semi_major_m,
            semi_minor_m=fix.semi_minor_m,
            orientation_deg=fix.orientation_deg,
            confidence=fix.confidence,
            outline=None if fix.outline_geojson is None else json.loads(fix.outline_geojson),
        ),
        model_name=fix.model_name,
        model_version=fix.model_version,
        fallback=fix.fallback,
        border=fix.border,
        receivers=list(fix.receivers),
        distrusted=list(fix.distrusted),
        inference_time_ms=fix.timings.inference_ms,
        total_time_ms=fix.timings.total_ms,
        cache=fix.cache.value,
    )
