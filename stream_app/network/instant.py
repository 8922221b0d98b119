"""Times in metadata and file names, to the nanosecond."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from stream_app.records.slots import NS

_ISO = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)[T _](\d\d):?(\d\d):?(\d\d)(?:[.,](\d+))?(?:Z|\+00:00)", re.ASCII)


def parse_instant(text: str) -> int:
    """Nanoseconds since 1970 of an ISO 8601 time in UTC, with any number of decimals; ValueError for others."""
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time such as 2026-05-01T03:00:00.123456789Z (UTC, with its Z)")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    if second > 60:
        raise ValueError(f"{text!r} has a minute of more than 60 s")
    whole = round(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) + second
    return whole * NS + int((found[7] or "0")[:9].ljust(9, "0"))


def format_instant(at_ns: int) -> str:
    """The same as SigMF's core:datetime, with nine decimals."""
    seconds, rest = divmod(at_ns, NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
