"""A recording: what one receiver heard without a gap, from whatever kind of file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from stream_app.records.slots import sample_time_ns


@dataclass(frozen=True, slots=True)
class Place:
    """Where a receiver stood: WGS 84 degrees, metres above the ellipsoid (None: not stated)."""

    latitude: float
    longitude: float
    altitude_m: float | None


@dataclass(frozen=True, slots=True)
class Recording:
    """One receiver's samples of a stretch of time. A file with gaps or with several channels gives several."""

    receiver_id: str
    center_frequency_hz: float | None  # None: the file does not say
    start_time_ns: int  # of samples[0], since 1970
    sample_rate_hz: float
    samples: NDArray[Any]  # [n, 2], I and Q, as they are stored
    datatype: str = "ci16_le"
    residual_s: float = 0.0  # largest distance of a time stamp from the clock that was fitted to all
    place: Place | None = None  # None: the network file says
    start_sigma_ns: float | None = None
    time_sync: str | None = None
    marks: tuple[tuple[int, int], ...] = ()  # annotated stretches: first sample and count
    source: str = ""  # file, and channel where it has several

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    @property
    def end_time_ns(self) -> int:
        """When the sample after the last one would have been taken."""
        return sample_time_ns(self.start_time_ns, len(self.samples), self.sample_rate_hz)
