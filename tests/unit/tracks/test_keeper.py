"""Which track takes which fix, and how tracks begin and end."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.geo.geodesy import moved
from stream_app.records.fix import Fix
from stream_app.records.track import Track, TrackState
from stream_app.settings import Settings
from stream_app.tracks.keeper import Change, Outcome, PartitionTracks
from stream_app.tracks.life import Event
from tests.unit.tracks.fixes import START_US, Covariance, a_fix, heard_ms, honest_fixes

_LATITUDE, _LONGITUDE = 47.7, 9.0


def _at(name: str, elapsed_s: float, east_m: float = 0.0, north_m: float = 0.0, **more: object) -> Fix:
    latitude, longitude, _ = moved(_LATITUDE, _LONGITUDE, east_m, north_m)
    return a_fix(name, elapsed_s, latitude, longitude, **more)  # type: ignore[arg-type]


def _take(keeper: PartitionTracks, *fixes: Fix) -> tuple[Outcome, list[Change]]:
    outcome, changes = Outcome.UNUSABLE, list[Change]()
    for fix in fixes:
        outcome, changes = keeper.take(fix, heard_ms(fix))
    return outcome, changes


def _confirmed(settings: Settings | None = None) -> PartitionTracks:
    """A track confirmed by fixes a to c, the last at 2 s."""
    keeper = PartitionTracks(settings or Settings())
    _take(keeper, _at("a", 0), _at("b", 1), _at("c", 2))
    return keeper


def test_the_third_fix_confirms_a_track() -> None:
    keeper = PartitionTracks(Settings())
    outcome, changes = _take(keeper, _at("a", 0))
    assert outcome is Outcome.STARTED
    assert [(c.event, c.track and c.track.state) for c in changes] == [(Event.STARTED, TrackState.TENTATIVE)]
    assert _take(keeper, _at("b", 1))[0] is Outcome.TAKEN
    outcome, changes = _take(keeper, _at("c", 2))
    (track,) = keeper.tracks()
    assert changes == [Change(track.track_id, track, Event.CONFIRMED, heard_ms(_at("c", 2)))]
    assert (track.state, track.fixes, track.capture_id) == (TrackState.CONFIRMED, 3, "c")
    assert (track.started_at_us, track.at_us) == (START_US, START_US + 2_000_000)


def test_a_tentative_track_that_misses_three_of_its_five_is_dropped() -> None:
    keeper = PartitionTracks(Settings())
    _take(keeper, _at("a", 0))
    far = [_at(f"far{n}", 1 + n, 20_000.0 * (n + 1)) for n in range(3)]
    _take(keeper, *far[:2])
    assert {track.capture_id: track.rejected for track in keeper.tracks()} == {"a": 2, "far0": 1, "far1": 0}
    _, changes = _take(keeper, far[2])
    ended = [change for change in changes if change.event is Event.DOUBTED]
    assert [change.track and change.track.capture_id for change in ended] == ["a"]
    after = changes[changes.index(ended[0]) + 1]
    assert (after.track_id, after.track) == (ended[0].track_id, None)


def test_the_misses_of_a_tentative_track_count_since_it_began() -> None:
    keeper = PartitionTracks(Settings())
    far = [_at(f"far{n}", 1 + n, 20_000.0 * (n + 1)) for n in range(3)]
    _take(keeper, _at("a", 0), far[0], _at("b", 1.5), far[1])
    assert next(track.rejected for track in keeper.tracks() if track.capture_id == "b") == 2
    assert Event.DOUBTED in [change.event for change in _take(keeper, far[2])[1]]


def test_a_fix_that_two_tracks_could_take_goes_to_the_likelier_one() -> None:
    keeper = PartitionTracks(Settings())
    sharp: Covariance = ((1.0, 0.0), (0.0, 1.0))
    for number in range(10):
        _take(keeper, _at(f"a{number}", number, 0.0, covariance=sharp))
        _take(keeper, _at(f"b{number}", number + 0.3, 80.0, covariance=sharp))
    names = {track.capture_id: track.track_id for track in keeper.tracks()}
    for east, owner in ((60.0, "b9"), (20.0, "a9")):
        blurred = _at(f"near {owner}", 10.0, east, covariance=((400.0, 0.0), (0.0, 400.0)))
        outcome, [change] = _take(keeper, blurred)
        assert (outcome, change.track_id) == (Outcome.TAKEN, names[owner])


def test_an_outlier_moves_nothing_and_is_counted() -> None:
    keeper = _confirmed()
    before = keeper.tracks()[0]
    assert _take(keeper, _at("far", 3, 5000.0))[0] is Outcome.STARTED
    kept = next(track for track in keeper.tracks() if track.track_id == before.track_id)
    assert kept == replace(before, rejected=1)
    _take(keeper, _at("d", 4))
    kept = next(track for track in keeper.tracks() if track.track_id == before.track_id)
    assert (kept.fixes, kept.rejected, kept.capture_id) == (4, 0, "d")


def test_the_gate_takes_as_many_of_an_emitters_own_fixes_as_it_says() -> None:
    taken = 0
    for seed in range(40):
        keeper = PartitionTracks(Settings(track_gate=0.9, track_confirm_fixes=2))
        fixes = honest_fixes(lambda _: (_LATITUDE, _LONGITUDE), 12, 1.0, np.random.default_rng(seed), (30.0, 10.0))
        first = [keeper.take(fix, heard_ms(fix))[0] for fix, _ in fixes][1]
        taken += first is Outcome.TAKEN
    assert 30 <= taken <= 40  # of 40 second fixes, 36 +- 2


@pytest.mark.parametrize("what", ["border", "vague", "flat", "nan", "outside", "negative"])
def test_fixes_that_say_nothing_of_the_emitter_break_nothing(what: str) -> None:
    keeper = _confirmed()
    bad: dict[str, tuple[Fix, Outcome]] = {
        "border": (_at("x", 3, 10.0, border=True), Outcome.BORDER),
        "vague": (_at("x", 3, covariance=((1e12, 0.0), (0.0, 1e9))), Outcome.VAGUE),
        "flat": (_at("x", 3, covariance=((100.0, 100.0), (100.0, 100.0))), Outcome.UNUSABLE),
        "nan": (replace(_at("x", 3), latitude=math.nan), Outcome.UNUSABLE),
        "outside": (replace(_at("x", 3), latitude=90.5), Outcome.UNUSABLE),
        "negative": (_at("x", 3, covariance=((-4.0, 0.0), (0.0, 4.0))), Outcome.UNUSABLE),
    }
    before = keeper.tracks()
    fix, outcome = bad[what]
    assert _take(keeper, fix) == (outcome, [])
    assert keeper.tracks() == before


def test_a_huge_ellipse_below_the_limit_hardly_moves_a_track() -> None:
    keeper = _confirmed()
    before = keeper.tracks()[0]
    wide: Covariance = ((1e9, 0.0), (0.0, 1e9))
    assert _take(keeper, _at("x", 3, 20_000.0, covariance=wide))[0] is Outcome.TAKEN
    (track,) = keeper.tracks()
    assert abs(track.latitude - before.latitude) < 1e-4
    assert abs(track.longitude - before.longitude) < 1e-4
    assert track.fixes == 4


def test_a_capture_counts_once_and_late_ones_are_left_out() -> None:
    keeper = _confirmed()
    before = keeper.tracks()
    for fix, outcome in (
        (_at("c", 2), Outcome.REPEATED),
        (_at("a", 0), Outcome.LATE),  # a repeat of an older one: late, whatever its name
        (_at("late", 1.5), Outcome.LATE),
        (_at("same moment", 2), Outcome.LATE),
        (_at("of yesterday", -86_400, 9000.0), Outcome.LATE),
    ):
        assert _take(keeper, fix) == (outcome, []), fix.capture_id
    assert keeper.tracks() == before


def test_a_receiver_network_whose_clock_jumps_ahead_ends_no_track() -> None:
    keeper = _confirmed()
    jumped = _at("2199", 5e9)
    keeper.take(jumped, heard_ms(_at("c", 3)))
    _take(keeper, _at("d", 3))
    track = next(track for track in keeper.tracks() if track.state is TrackState.CONFIRMED)
    assert (track.fixes, track.capture_id) == (4, "d")


def test_a_silent_track_ends_with_a_last_record_and_a_tombstone() -> None:
    keeper = _confirmed()
    (track,) = keeper.tracks()
    now_ms = heard_ms(_at("c", 2))
    assert keeper.quiet(now_ms + 60_000) == []
    changes = keeper.quiet(now_ms + 60_001)
    assert [(c.track_id, c.event) for c in changes] == [(track.track_id, Event.SILENT), (track.track_id, None)]
    assert changes[0].track == replace(track, state=TrackState.ENDED)
    assert changes[1].track is None
    assert len(keeper) == 0
    assert keeper.quiet(now_ms + 600_000) == []


def test_fixes_of_others_end_a_silent_track_too() -> None:
    keeper = _confirmed()
    _, changes = _take(keeper, _at("other", 62.1, network="elsewhere"))
    assert [change.event for change in changes] == [Event.SILENT, None, Event.STARTED]


def test_two_emitters_of_one_frequency_have_a_track_each() -> None:
    keeper = PartitionTracks(Settings())
    rng = np.random.default_rng(2)
    for number in range(40):
        north = 1500.0 * (number % 2)
        east, more = rng.normal(0, 5.0, 2).tolist()
        _take(keeper, _at(f"f{number}", number * 0.5, east, north + more))
    counts = sorted((track.state, track.fixes) for track in keeper.tracks())
    assert counts == [(TrackState.CONFIRMED, 20), (TrackState.CONFIRMED, 20)]


def test_tracks_are_bounded_and_old_tentative_ones_give_way() -> None:
    keeper = _confirmed(Settings(track_max_per_key=3, track_max_per_partition=4, track_confirm_of=100))
    events = []
    for number in range(12):
        _, changes = _take(keeper, _at(f"far{number}", 3 + number, 20_000.0 * (number + 1)))
        events += [(c.event, c.track.capture_id) for c in changes if c.track and c.event is Event.CROWDED]
        assert len(keeper) <= 3
    assert events == [(Event.CROWDED, f"far{number}") for number in range(10)]
    for number in range(5):
        _take(keeper, _at(f"else{number}", 20 + number, network=f"n{number}"))
        assert len(keeper) <= 4
    assert [track.capture_id for track in keeper.tracks() if track.state is TrackState.CONFIRMED] == ["c"]


@pytest.mark.parametrize("cut", [1, 17, 37, 60, 83, 119])
def test_who_takes_over_from_the_records_goes_on_as_if_nothing_had_been(cut: int) -> None:
    fixes = _lively(random.Random(8), 120)
    whole, first = PartitionTracks(Settings(track_silence_s=20)), PartitionTracks(Settings(track_silence_s=20))
    records: dict[str, tuple[Track, int]] = {}
    written = [whole.take(fix, heard_ms(fix)) for fix in fixes]
    for fix in fixes[:cut]:
        for change in first.take(fix, heard_ms(fix))[1]:
            if change.track is None:
                del records[change.track_id]
            else:
                records[change.track_id] = change.track, change.heard_ms
    second = PartitionTracks(Settings(track_silence_s=20), records.values())
    assert [second.take(fix, heard_ms(fix)) for fix in fixes[cut:]] == written[cut:]
    assert sorted(second.tracks(), key=lambda t: t.track_id) == sorted(whole.tracks(), key=lambda t: t.track_id)


def _lively(rng: random.Random, count: int) -> list[Fix]:
    """Three emitters on two frequencies, one in five an outlier, some late, some twice, some silent for long."""
    fixes: list[Fix] = []
    for number in range(count):
        emitter = rng.randrange(3)
        away = (30_000 * rng.random(), 30_000 * rng.random()) if rng.random() < 0.2 else (0.0, 4000.0 * emitter)
        late = rng.choice([0, 0, 0, 3.0])
        east, north = (rng.gauss(mean, 4.0) for mean in away)
        fixes.append(_at(f"f{number}", number * 0.7 - late, east, north, center_frequency_hz=433e6 + emitter // 2))
        if rng.random() < 0.1:
            fixes.append(rng.choice(fixes[-5:]))
    return fixes


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_comes_each_fix_is_in_one_track_once(seed: int) -> None:
    rng = random.Random(seed)
    limits = Settings(track_silence_s=15, track_max_per_key=4, track_max_per_partition=6)
    keeper, alive, taken = PartitionTracks(limits), dict[str, Track](), 0
    for fix in _lively(rng, 60):
        outcome, changes = keeper.take(fix, heard_ms(fix))
        before = {name: track.fixes for name, track in alive.items()}
        for change in changes:
            if change.track is None:
                assert alive.pop(change.track_id).state is TrackState.ENDED
            else:
                alive[change.track_id] = change.track
        gained = sum(track.fixes - before.get(name, 0) for name, track in alive.items())
        assert gained == (outcome in (Outcome.TAKEN, Outcome.STARTED))
        taken += gained
        assert sorted(alive) == sorted(track.track_id for track in keeper.tracks())
        assert len(keeper) <= 6
    assert taken > 0
