"""Fixes and tracks as flat rows: one table of columns for all formats. Names carry the units."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from stream_app.geo.outline import outlines
from stream_app.records.fix import Fix
from stream_app.records.track import Track

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US = 7_258_118_400_000_000  # the year 2200

# Of each column its type; "?" where a value may be missing. "time" is microseconds since 1970, UTC.
_PLACE = {
    "latitude_deg": "double",
    "longitude_deg": "double",
    "cov_east_m2": "double",
    "cov_north_m2": "double",
    "cov_east_north_m2": "double",
    "semi_major_m": "double",
    "semi_minor_m": "double",
    "orientation_deg": "double",
    "confidence": "double",
}
FIX_COLUMNS: Mapping[str, str] = {
    "capture_id": "string",
    "network": "string?",
    "captured_at": "time",
    "center_frequency_hz": "double?",
    **_PLACE,
    "border": "boolean",
    "model_name": "string?",
    "model_version": "string?",
    "model_confidence": "double?",
    "fallback": "boolean?",
    "cache": "string?",
    "total_ms": "double?",
    "receivers": "string?",
    "distrusted": "string?",
}
TRACK_COLUMNS: Mapping[str, str] = {
    "track_id": "string",
    "network": "string",
    "at": "time",
    "started_at": "time",
    "center_frequency_hz": "double",
    "state": "string",
    **_PLACE,
    "velocity_east_m_s": "double",
    "velocity_north_m_s": "double",
    "speed_m_s": "double",
    "speed_sigma_m_s": "double",
    "course_deg": "double?",
    "course_sigma_deg": "double?",
    "fixes": "long",
    "rejected": "long",
    "capture_id": "string",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A fix or a track; ``values`` has every column of its kind, in their order."""

    kind: Literal["fix", "track"]
    values: Mapping[str, Any]
    drawn: str | None = None  # the outline, where the fix came with it

    @property
    def at_us(self) -> int:
        """The moment that it is of, microseconds since 1970."""
        found: int = self.values["captured_at" if self.kind == "fix" else "at"]
        return found

    def outline(self) -> dict[str, Any]:
        """The ellipse as a GeoJSON Polygon or MultiPolygon."""
        if self.drawn is not None:
            found: dict[str, Any] = json.loads(self.drawn)
            return found
        names = ("latitude_deg", "longitude_deg", "semi_major_m", "semi_minor_m", "orientation_deg")
        latitude, longitude, major, minor, orientation = (np.array([self.values[name]]) for name in names)
        geometry: dict[str, Any] = json.loads(outlines(latitude, longitude, major, minor, orientation)[0])
        return geometry


def columns_of(kind: Literal["fix", "track"]) -> Mapping[str, str]:
    """The columns of such rows and their types."""
    return FIX_COLUMNS if kind == "fix" else TRACK_COLUMNS


def iso_us(at_us: int) -> str:
    """As in 2026-05-01T03:00:00.123456Z."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def text_of(value: Any, kind: str) -> str:
    """A value of a column of that type, as people and CSV readers take it; "" where it is missing."""
    if value is None:
        return ""
    if kind == "time":
        return iso_us(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def fix_row(fix: Fix) -> Row:
    """The row of a fix. Raises ValueError where it says nothing that can be drawn."""
    values = {
        "captured_at": fix.captured_at_us,
        "latitude_deg": fix.latitude,
        "longitude_deg": fix.longitude,
        "cache": fix.cache.value,
        "total_ms": fix.timings.total_ms,
        "receivers": " ".join(fix.receivers),
        "distrusted": " ".join(fix.distrusted),
    }
    row = _checked("fix", {name: values[name] if name in values else getattr(fix, name) for name in FIX_COLUMNS})
    return replace(row, drawn=fix.outline_geojson)


def track_row(track: Track) -> Row:
    """The row of a track. Raises ValueError where it says nothing that can be drawn."""
    values = {
        "at": track.at_us,
        "started_at": track.started_at_us,
        "state": track.state.value,
        "latitude_deg": track.latitude,
        "longitude_deg": track.longitude,
        "cov_east_m2": track.covariance[0],
        "cov_north_m2": track.covariance[5],
        "cov_east_north_m2": track.covariance[1],
    }
    return _checked("track", {name: values[name] if name in values else getattr(track, name) for name in TRACK_COLUMNS})


def json_row(line: bytes) -> Row:
    """The row of a fix as ``watch --json`` and ``locate --json`` write it. Raises ValueError, with what is wrong."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    try:
        (ee, en), (_, nn) = found["covariance"]
        captured = datetime.fromisoformat(found["captured_at"])
        values = {
            "capture_id": str(found["capture_id"]),
            "captured_at": (captured if captured.tzinfo else captured.replace(tzinfo=UTC)) - _EPOCH,
            "latitude_deg": found["latitude"],
            "longitude_deg": found["longitude"],
            "cov_east_m2": ee,
            "cov_north_m2": nn,
            "cov_east_north_m2": en,
            "border": bool(found["border"]),
            "total_ms": found.get("latency_ms"),
            **{name: " ".join(found[name]) for name in ("receivers", "distrusted") if found.get(name) is not None},
            **{name: found[name] for name in ("semi_major_m", "semi_minor_m", "orientation_deg", "confidence")},
        }
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error
    except TypeError as error:
        raise ValueError(str(error)) from error
    values["captured_at"] //= timedelta(microseconds=1)
    return _checked("fix", {name: values[name] if name in values else found.get(name) for name in FIX_COLUMNS})


def _checked(kind: Literal["fix", "track"], values: dict[str, Any]) -> Row:
    for name, kind_of in columns_of(kind).items():
        values[name] = _fits(name, values[name], kind_of)
    if abs(values["latitude_deg"]) > 90 or abs(values["longitude_deg"]) > 180:
        raise ValueError(f"latitude {values['latitude_deg']}, longitude {values['longitude_deg']} is no place")
    if values["semi_major_m"] < 0 or values["semi_minor_m"] < 0 or not 0 < values["confidence"] < 1:
        raise ValueError("semi_major_m, semi_minor_m and confidence make no ellipse")
    return Row(kind, values)


def _fits(name: str, value: Any, kind: str) -> Any:
    if value is None:
        if kind.endswith("?"):
            return None
        raise ValueError(f"{name} is missing")
    kind = kind.removesuffix("?")
    if kind == "double":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is no number: {value!r}")
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"{name} is {number}")
        return number
    wanted: Any = {"string": str, "boolean": bool, "long": int, "time": int}[kind]
    if not isinstance(value, wanted):
        raise ValueError(f"{name} is no {kind}: {value!r}")
    if kind == "string":
        return value.encode(errors="replace").decode()  # JSON may hold half a surrogate pair, UTF-8 may not
    if kind == "time" and not 0 <= value < _LAST_US:
        raise ValueError(f"{name} is not between 1970 and 2200")
    return value
