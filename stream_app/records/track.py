"""A track: the fixes of one emitter over time, smoothed, with its course and speed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TrackState(StrEnum):
    """What a track is held for."""

    TENTATIVE = "TENTATIVE"
    CONFIRMED = "CONFIRMED"
    ENDED = "ENDED"


@dataclass(slots=True)
class Track:
    """Field meanings are those of ``schemas/track``."""

    track_id: str
    network: str
    center_frequency_hz: float
    state: TrackState
    at_us: int
    started_at_us: int
    latitude: float
    longitude: float
    velocity_east_m_s: float
    velocity_north_m_s: float
    covariance: tuple[float, ...]  # 4 x 4, row by row: east m, north m, velocity east m/s, velocity north m/s
    semi_major_m: float
    semi_minor_m: float
    orientation_deg: float  # clockwise from true north, in [0, 180)
    confidence: float  # the probability that the ellipse holds
    speed_m_s: float
    speed_sigma_m_s: float
    course_deg: float | None  # clockwise from true north, in [0, 360)
    course_sigma_deg: float | None
    fixes: int
    rejected: int
    capture_id: str
