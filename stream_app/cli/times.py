"""Times as operators type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from stream_app.errors import SettingsError

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_time(text: str, now_s: float) -> int:
    """Unix time in ms of an ISO 8601 time (UTC where it names no zone) or a span before now. Raises SettingsError."""
    span = _SPAN.fullmatch(text)
    try:
        if span is not None:
            return max(0, round((now_s - float(span[1]) * _SECONDS[span[2]]) * 1e3))
        found = datetime.fromisoformat(text)
        return max(0, round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e3))
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{text!r} is no time: give one such as 2026-05-01T03:00:00Z, or how long ago, such as 90s, 30m, 2h or 7d"
        ) from None


def iso_time(at_ms: int) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(at_ms / 1e3, UTC).isoformat(timespec="milliseconds")
