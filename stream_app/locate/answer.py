"""What a model says of one capture, before it becomes a fix: the unit that the cache remembers."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from operator import attrgetter

_LAYOUT = struct.Struct("<7d?")


@dataclass(slots=True)
class Answer:
    """Position (WGS 84 degrees), covariance (m², east/north), the model's confidence (NaN: none), border."""

    latitude: float
    longitude: float
    cov_east_m2: float
    cov_north_m2: float
    cov_east_north_m2: float
    confidence: float
    border_mass: float  # posterior mass on the rim of the area of interest, NaN where the model does not say
    border: bool

    def to_bytes(self) -> bytes:
        """A fixed-size little-endian form for the cache: exact, so that a cached fix equals the fresh one."""
        return _LAYOUT.pack(*_values(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Answer | None:
        """The answer, or None where the cache holds something else (corrupted, another layout)."""
        if len(data) != _LAYOUT.size:
            return None
        values = _LAYOUT.unpack(data)
        return cls(*values) if all(map(math.isfinite, values[:5])) else None


_values = attrgetter(*Answer.__dataclass_fields__)
