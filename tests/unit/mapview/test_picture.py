from __future__ import annotations

import json
from typing import Any

import pytest

from stream_app.mapview.picture import Picture
from stream_app.records.fix import CacheOutcome
from stream_app.records.track import Track, TrackState
from tests.support.map_traffic import fix_at

START_MS = 1_800_000_000_000


def take(picture: Picture, at_ms: int, now_ms: int | None = None, **more: Any) -> int:
    picture.take_fix(fix_at(47.0, 9.0, **more), b"record", at_ms, now_ms)
    return picture.newest


def numbers(rows: list[str]) -> list[int]:
    return [json.loads(row)[0] for row in rows]


def track(track_id: str = "t", state: TrackState = TrackState.CONFIRMED, capture_id: str = "") -> Track:
    return Track(
        track_id, "demo", 4e8, state, 0, 0, 47.0, 9.0, 1.0, 1.0, (0.0,) * 16, 50.0, 40.0, 20.0, 0.95, 1.4, 0.1, 45.0,
        3.0, 5, 0, capture_id,
    )  # fmt: skip


def test_a_row_holds_the_95_percent_ellipse_whatever_the_record_states() -> None:
    picture = Picture()
    fix = fix_at(47.5, 9.25, sigma_m=(100, 50), leans_deg=30, hz=401e6, cache=CacheOutcome.EXACT, distrusted=["north"])
    fix.confidence, fix.semi_major_m, fix.semi_minor_m, fix.border = 0.5, 117.7, 58.9, True
    picture.take_fix(fix, b"", START_MS, START_MS)
    [row] = [json.loads(text) for text in picture.since(0, 10)[0]]
    assert row == [1, START_MS, 401e6, 47.5, 9.25, 244.77, 122.39, 30.0, 0, 0, 1, 5]


def test_a_page_that_lags_gets_the_newest_and_the_count_of_the_rest() -> None:
    picture = Picture()
    for number in range(100):
        take(picture, START_MS + number)
    rows, left_out = picture.since(40, 10)
    assert numbers(rows) == list(range(91, 101))
    assert left_out == 50
    assert picture.since(100, 10) == ([], 0)
    assert numbers(picture.since(98, 10)[0]) == [99, 100]


def test_memory_is_bounded_and_still_covers_the_hour() -> None:
    picture, fix = Picture(), fix_at(47.0, 9.0)
    times = [START_MS + 50 * number for number in range(75_000)]  # 20 a second for more than an hour
    newest_ms = times[-1] + 60_000
    times += [times[-1] + 3 * number for number in range(1, 20_001)]  # 333 a second for a minute
    for at_ms in times:
        picture.take_fix(fix, b"", at_ms, None)
    assert 12_000 < len(picture._by_number) <= 12_000 + 36_000
    for back_s in (1, 90, 1800, 3500):
        at_ms = newest_ms - 1000 * back_s
        found = [json.loads(row)[1] for row in picture.before(at_ms, 10_000)]
        assert at_ms - 1000 < found[-1] <= at_ms
        assert found[0] > at_ms - 10_000
        assert len(found) >= 95
    assert picture.before(newest_ms - 3_700_000, 10_000) == []
    hour = sum(at_ms > newest_ms - 3_600_000 for at_ms in times)
    assert sum(picture.timeline(newest_ms)["counts"]) == pytest.approx(hour, rel=0.01)


def test_records_are_found_by_number_until_they_are_dropped() -> None:
    picture = Picture()
    first = take(picture, START_MS)
    assert picture.record(first) == b"record"
    take(picture, START_MS + 3_600_001 + 60_000)
    take(picture, START_MS + 3_600_001 + 130_000)
    assert picture.record(first) is None


def test_figures_are_of_the_last_minute() -> None:
    picture = Picture()
    take(picture, START_MS - 120_000, START_MS, cache=CacheOutcome.EXACT, version="old")
    for number in range(20):
        at_ms = START_MS + 500 * number
        cache = CacheOutcome.EXACT if number % 4 == 0 else CacheOutcome.MISS
        version = "2" if number % 2 else "1"
        take(picture, at_ms, at_ms, captured_at_us=(at_ms - 40 - number) * 1000, cache=cache, version=version)
    stats = picture.stats(START_MS + 9_500)
    assert stats["rate"] == 2.0
    assert stats["latency"] == [50.0, 59.0]
    assert stats["cache"] == 0.25
    assert stats["shares"] == [0.0, 0.5, 0.5]
    assert stats["replay"] is False


def test_captures_of_long_ago_are_said_to_be_replayed() -> None:
    picture = Picture()
    take(picture, START_MS, START_MS, captured_at_us=1_700_000_000_000_000)
    assert picture.stats(START_MS)["replay"] is True


def test_tracks_move_end_and_are_dropped() -> None:
    picture = Picture()
    take(picture, START_MS, capture_id="of-2", version="1")
    take(picture, START_MS, capture_id="of-2", version="2")
    picture.take_track(track("a", capture_id="of-2"), START_MS)
    picture.take_track(track("b"), START_MS + 2000)
    picture.take_track(track("a", capture_id="other"), START_MS + 3000)
    found = {one["id"]: one for one in picture.tracks()}
    assert found["a"]["version"] == 1
    assert len(found["a"]["points"]) == 2
    assert found["b"]["version"] is None
    assert [one["id"] for one in picture.tracks(START_MS + 1000)] == ["a"]
    picture.take_track(track("a", TrackState.ENDED), START_MS + 4000)
    picture.drop_track("b")
    assert picture.tracks() == []
