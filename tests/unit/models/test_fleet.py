"""Which version answers: near the weights, always the same, and moving no more than it must."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.models.fleet import Fleet, LoadedVersion
from stream_app.records.deployment import Deployment, Route, RouteMode, Split


def fleet(*routes: Route, split: Split = Split.CAPTURE, revision: int = 1) -> Fleet:
    deployment = Deployment("model", revision, routes, split)
    deployment.check()
    models: list[Any] = [SimpleNamespace(version=route.version) for route in routes]
    return Fleet(deployment, [LoadedVersion(r, m) for r, m in zip(routes, models, strict=True)])


def answered_by(found: Fleet, capture_id: str, key: bytes = b"demo/433920000") -> str:
    return found.order(capture_id, key)[0].model.version


NAMES = [f"capture-{n}" for n in range(10_000)]


@pytest.mark.parametrize("weights", [(90, 10), (1, 1, 2), (0.5, 99.5), (100, 0)])
def test_shares_are_within_a_point_of_the_weights(weights: tuple[float, ...]) -> None:
    found = fleet(*(Route(str(n), weight) for n, weight in enumerate(weights)))
    counts = Counter(answered_by(found, name) for name in NAMES)
    for n, weight in enumerate(weights):
        assert abs(counts[str(n)] / len(NAMES) - weight / sum(weights)) < 0.01


def test_a_replay_and_a_reload_give_each_capture_the_same_version() -> None:
    routes = (Route("1", 90), Route("2", 10))
    first, again = fleet(*routes), fleet(*routes, revision=7)
    assert [answered_by(first, name) for name in NAMES] == [answered_by(again, name) for name in NAMES]


def test_a_changed_weight_moves_only_what_it_must() -> None:
    before, after = fleet(Route("1", 90), Route("2", 10)), fleet(Route("1", 80), Route("2", 20))
    moved = [name for name in NAMES if answered_by(before, name) != answered_by(after, name)]
    assert abs(len(moved) / len(NAMES) - 0.10) < 0.01
    assert {answered_by(after, name) for name in moved} == {"2"}


def test_a_sticky_split_keeps_each_key_on_one_version() -> None:
    found = fleet(Route("1", 50), Route("2", 50), split=Split.KEY)
    keys = [f"network/{n}".encode() for n in range(200)]
    by_key = {key: {answered_by(found, name, key) for name in NAMES[:50]} for key in keys}
    assert all(len(versions) == 1 for versions in by_key.values())
    assert 60 < sum(versions == {"1"} for versions in by_key.values()) < 140


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8).filter(lambda w: sum(w) > 0), st.text())
def test_everyone_is_in_the_order_once_and_no_weight_answers_nothing(weights: list[float], name: str) -> None:
    found = fleet(*(Route(str(n), weight) for n, weight in enumerate(weights)))
    order = [version.model.version for version in found.order(name, b"")]
    assert sorted(order) == sorted(str(n) for n in range(len(weights)))
    assert weights[int(order[0])] > 0


def test_shadows_see_their_share_beside_the_live_draw() -> None:
    found = fleet(Route("1", 50), Route("2", 50), Route("3", 20, RouteMode.SHADOW), Route("4", 100, RouteMode.SHADOW))
    seen: Counter[str] = Counter()
    with_first = 0
    for name in NAMES:
        shadows = {version.model.version for version in found.shadowed_by(name, b"")}
        seen.update(shadows)
        with_first += "3" in shadows and answered_by(found, name) == "1"
    assert abs(seen["3"] / len(NAMES) - 0.2) < 0.01
    assert seen["4"] == len(NAMES)
    assert abs(with_first / seen["3"] - 0.5) < 0.05
