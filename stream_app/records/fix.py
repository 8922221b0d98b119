"""A fix: one estimate of where an emitter is, with its error ellipse and how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CacheOutcome(StrEnum):
    """Where the answer came from."""

    MISS = "MISS"
    EXACT = "EXACT"  # same bytes seen before: no features, no inference
    FEATURES = "FEATURES"  # same features seen before: no inference
    BATCH = "BATCH"  # equal to another capture of the same micro-batch
    DISABLED = "DISABLED"


@dataclass(slots=True)
class Timings:
    """Milliseconds. The stages are those of the capture's micro-batch; total is captured queue entry to fix made."""

    queue_ms: float
    features_ms: float
    inference_ms: float
    total_ms: float


@dataclass(slots=True)
class Fix:
    """Field meanings are those of ``schemas/fix``."""

    capture_id: str
    network: str
    captured_at_us: int
    center_frequency_hz: float
    latitude: float
    longitude: float
    cov_east_m2: float
    cov_north_m2: float
    cov_east_north_m2: float
    sigma_x_m: float  # 1-sigma along the ellipse's major axis
    sigma_y_m: float  # 1-sigma along its minor axis
    theta_rad: float  # the major axis, counter-clockwise from east, in [0, pi)
    semi_major_m: float
    semi_minor_m: float
    orientation_deg: float  # clockwise from true north, in [0, 180)
    confidence: float  # the probability that the ellipse holds
    outline_geojson: str | None
    model_name: str
    model_version: str
    fallback: bool
    model_confidence: float | None
    border: bool
    cache: CacheOutcome
    timings: Timings
    receivers: tuple[str, ...] = ()  # whose samples were used
    distrusted: tuple[str, ...] = ()  # left out for their clocks, or with less weight

    @property
    def covariance(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Of the position, east and north, m²."""
        cross = self.cov_east_north_m2
        return (self.cov_east_m2, cross), (cross, self.cov_north_m2)
