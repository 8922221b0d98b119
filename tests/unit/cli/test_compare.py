"""Shadow versions beside live ones: pairs by capture, figures by hand, and memory that has an end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream_app.cli.compare import Pairing
from stream_app.geo.geodesy import destination
from stream_app.records.fix import Fix
from tests.golden.make import FIX

HERE = (47.75, 9.05)


def fix(name: str, east_m: float, version: str = "7", major_m: float = 10.0, total_ms: float = 5.0) -> Fix:
    latitude, longitude = destination(*HERE, 90.0, east_m)
    return replace(
        FIX,
        capture_id=name,
        latitude=float(latitude),
        longitude=float(longitude),
        model_version=version,
        semi_major_m=major_m,
        timings=replace(FIX.timings, total_ms=total_ms),
    )


def test_figures_are_those_of_the_pairs() -> None:
    pairing = Pairing()
    for number, (live_m, shadow_m) in enumerate([(10, 4), (20, 2), (30, 33)]):
        pairing.add_live(fix(str(number), live_m, total_ms=6))
        pairing.add_shadow(fix(str(number), shadow_m, "9", major_m=15.0, total_ms=8))
    found = pairing.figures("9", dict.fromkeys("012", HERE))
    assert (found.pairs, found.with_truth) == (3, 3)
    assert found.distance_median_m == pytest.approx(6, abs=1e-3)  # 6, 18 and 3 m apart
    assert found.distance_p95_m == pytest.approx(16.8, abs=1e-3)
    assert found.semi_major_ratio_median == pytest.approx(1.5)
    assert (found.latency_median_ms, found.live_latency_median_ms) == (8, 6)
    assert found.nearer_share == pytest.approx(2 / 3)
    assert (found.error_median_m, found.live_error_median_m) == pytest.approx((4, 20), abs=1e-3)
    assert pairing.figures("9", {}, HERE) == found  # one place for all is the same truth


def test_only_captures_whose_truth_is_known_say_who_is_nearer() -> None:
    pairing = Pairing()
    for name, live_m, shadow_m in (("a", 10, 20), ("b", 20, 10)):
        pairing.add_live(fix(name, live_m))
        pairing.add_shadow(fix(name, shadow_m, "9"))
    found = pairing.figures("9", {"b": HERE, "z": HERE})
    assert (found.pairs, found.with_truth, found.nearer_share) == (2, 1, 1.0)
    assert found.error_median_m == pytest.approx(10, abs=1e-3)
    assert pairing.figures("9", {}).nearer_share is None


def test_partners_may_come_in_any_order_and_twice_and_from_several_versions() -> None:
    pairing = Pairing()
    pairing.add_shadow(fix("a", 1, "9"))
    pairing.add_shadow(fix("a", 500, "9"))  # a repeat: the first counts
    pairing.add_shadow(fix("a", 2, "10"))
    pairing.add_live(fix("a", 0))
    pairing.add_live(fix("a", 900))
    pairing.add_shadow(fix("a", 700, "9"))
    pairing.add_shadow(fix("b", 1, "9"))
    assert pairing.versions == ["9", "10"]
    assert [pairing.figures(v, {}).pairs for v in pairing.versions] == [1, 1]
    assert pairing.figures("9", {}).distance_median_m == pytest.approx(1, abs=1e-3)
    assert pairing.counts() == {
        "live_fixes": 1,
        "shadow_fixes": 3,
        "shadow_waiting": 1,
        "live_dropped": 0,
        "shadow_dropped": 0,
    }


def test_what_finds_no_partner_is_dropped_and_counted_and_old_pairs_leave() -> None:
    pairing = Pairing(waiting=3, pairs=2)
    for number in range(10):
        pairing.add_shadow(fix(f"alone-{number}", 0, "9"))
        pairing.add_live(fix(f"plain-{number}", 0))
    assert (pairing.counts()["live_dropped"], pairing.counts()["shadow_dropped"]) == (7, 7)
    assert pairing.counts()["shadow_waiting"] == 3
    for number in range(10):
        pairing.add_live(fix(f"both-{number}", 0))
        pairing.add_shadow(fix(f"both-{number}", number, "9"))
    assert pairing.counts()["live_dropped"] == 10  # the last three that had no partner; those with one are no loss
    found = pairing.figures("9", {})
    assert (found.pairs, found.distance_median_m) == (10, pytest.approx(8.5, abs=1e-3))
