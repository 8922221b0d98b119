from __future__ import annotations

import pytest

from stream_app.cli.times import iso_time, parse_time
from stream_app.errors import SettingsError

NOW_S = 1_700_000_000.5


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("90s", 1_699_999_910_500),
        ("30m", 1_699_998_200_500),
        ("1.5h", 1_699_994_600_500),
        ("7d", 1_699_395_200_500),
        ("99999d", 0),
        ("2026-05-01T03:00:00Z", 1_777_604_400_000),
        ("2026-05-01T03:00:00", 1_777_604_400_000),
        ("2026-05-01T05:00+02:00", 1_777_604_400_000),
        ("2026-05-01", 1_777_593_600_000),
    ],
)
def test_times_and_spans(text: str, at_ms: int) -> None:
    assert parse_time(text, NOW_S) == at_ms
    if "T" in text:
        assert parse_time(iso_time(at_ms), NOW_S) == at_ms


@pytest.mark.parametrize("text", ["", "h", "2 h", "-2h", "2w", "yesterday", "2026-13-01", "9" * 400 + "d"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="is no time"):
        parse_time(text, NOW_S)
