"""Several versions in one batch: shares, shared features, fallback, suspension, shadows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_app.breaker import CircuitBreaker
from stream_app.cache.backends import MemoryCache
from stream_app.cache.dedup import DedupCache
from stream_app.dsp.tdoa import Tdoa
from stream_app.errors import UnanswerableCapture
from stream_app.kafka.records import RawRecord
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.contract import ModelInfo
from stream_app.models.fleet import Fleet, LoadedVersion
from stream_app.records.codec import Codecs
from stream_app.records.deployment import Deployment, Route, RouteMode
from stream_app.records.fix import CacheOutcome, Fix
from stream_app.settings import Settings
from tests.unit.locate.test_pipeline import SPEC, capture, outcomes


class Model:
    """Answers its own latitude; or raises, or gives NaN, as ``does`` says."""

    name = "model"

    def __init__(self, version: str, spec: Mapping[str, Any] = SPEC, does: str = "answer") -> None:
        self.version, self.does = version, does
        self.info = ModelInfo(version * 4, spec, "test", (), (), 3, None)
        self.calls: list[int] = []

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.floating]]:
        count = len(inputs["features"])
        self.calls.append(count)
        if self.does == "raise":
            raise RuntimeError("out of order")
        latitude = np.nan if self.does == "nan" else 40.0 + int(self.version)
        position = np.stack([np.full(count, latitude), np.full(count, 9.0)], 1)
        return {"position": position, "sigma": np.full((count, 2), 10.0)}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def locator(
    *models: tuple[Model, float], shadows: Sequence[Model] = (), clock: Clock | None = None, cache: bool = False
) -> Locator:
    routes = [Route(model.version, weight) for model, weight in models]
    routes += [Route(model.version, sum(w for _, w in models), RouteMode.SHADOW) for model in shadows]
    deployment = Deployment("model", 1, tuple(routes))
    deployment.check()
    loaded = [
        LoadedVersion(route, model, CircuitBreaker(3, 30.0, clock or Clock()))
        for route, model in zip(routes, [*(model for model, _ in models), *shadows], strict=True)
    ]
    backend = MemoryCache(60, 10_000) if cache else None
    return Locator(Fleet(deployment, loaded), DedupCache(backend), Codecs(), Settings(_env_file=None), Metrics())


def batch(count: int, first: int = 0) -> list[Any]:
    return [capture(f"capture-{n}", n) for n in range(first, first + count)]


def fixes_of(results: list[Any]) -> list[Fix]:
    assert all(isinstance(result, Fix) for result in results), results
    return results


def test_one_batch_holds_captures_of_several_versions_in_order() -> None:
    one, two = Model("1"), Model("2", {**SPEC, "oversample": 3})
    captures = batch(64)
    fixes = fixes_of(locator((one, 1), (two, 1)).locate(captures))
    assert [fix.capture_id for fix in fixes] == [each.capture_id for each in captures]
    assert all(fix.latitude == 40 + int(fix.model_version) for fix in fixes)
    counts = Counter(fix.model_version for fix in fixes)
    assert min(counts.values()) > 16
    assert (one.calls, two.calls) == ([counts["1"]], [counts["2"]])


def test_versions_with_equal_parameters_share_the_work_on_features(monkeypatch: pytest.MonkeyPatch) -> None:
    extracted: list[int] = []
    extract = Tdoa.extract
    monkeypatch.setattr(Tdoa, "extract", lambda self, rows: extracted.append(len(rows)) or extract(self, rows))
    part = locator((Model("1"), 1), (Model("2", does="raise"), 1), shadows=[Model("3")])
    results = part.locate(batch(16))
    assert len(fixes_of(results)) == 16
    assert extracted == [16]  # both versions, and the captures that the second one passed on


@pytest.mark.parametrize("does", ["raise", "nan"])
def test_what_a_version_cannot_answer_is_answered_by_the_next_and_says_so(does: str) -> None:
    bad, good = Model("1", does=does), Model("2")
    part = locator((bad, 100), (good, 0), cache=True)
    fixes = fixes_of(part.locate(batch(4)))
    assert {(fix.model_version, fix.fallback, fix.cache) for fix in fixes} == {("2", True, CacheOutcome.MISS)}
    bad.does = "answer"
    again = fixes_of(part.locate([capture("capture-0", 0)]))
    assert (again[0].model_version, again[0].fallback) == ("1", False)
    assert (again[0].latitude, again[0].cache) == (41.0, CacheOutcome.MISS)  # nothing was remembered in its name


def test_no_version_that_can_answer_is_an_error_that_names_them_all() -> None:
    part = locator((Model("1", does="raise"), 100), (Model("2", does="nan"), 0))
    results = part.locate([*batch(2), capture("as capture-0", 0), capture("many", 5, receivers=4)])
    assert [type(result) for result in results] == [UnanswerableCapture] * 4
    versions = [result.versions for result in results if isinstance(result, UnanswerableCapture)]
    assert versions == [("1", "2")] * 3 + [("1",)]
    assert "version 1 failed (RuntimeError: out of order)" in str(results[0])
    assert "version 2 gave a position" in str(results[0])


def test_a_version_that_fails_again_and_again_rests_for_a_while() -> None:
    clock, bad, good = Clock(), Model("1", does="raise"), Model("2")
    part = locator((bad, 100), (good, 0), clock=clock)
    for n in range(5):
        assert fixes_of(part.locate(batch(2, 2 * n)))[0].fallback
    assert len(bad.calls) == 3
    assert [version.running().suspended for version in part.fleet.live] == [True, False]
    clock.now = 31.0
    bad.does = "answer"
    fix = fixes_of(part.locate(batch(1, 50)))[0]
    assert (fix.model_version, fix.fallback) == ("1", False)
    assert not part.fleet.live[0].running().suspended


def test_the_last_version_is_never_taken_out() -> None:
    only = Model("1", does="raise")
    part = locator((only, 1))
    for n in range(5):
        part.locate(batch(1, n))
    only.does = "answer"
    assert fixes_of(part.locate(batch(1, 9)))[0].model_version == "1"


def test_one_capture_that_no_model_can_answer_suspends_nobody() -> None:
    model = Model("1")
    infer = model.infer

    def with_one_nan(inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.floating]]:
        found = dict(infer(inputs))
        found["position"][0] = np.nan
        return found

    model.infer = with_one_nan  # type: ignore[method-assign]
    part = locator((model, 100), (Model("2"), 0))
    for n in range(4):
        part.locate(batch(8, 8 * n))
    assert not part.fleet.live[0].running().suspended


def test_equal_captures_follow_their_leader_to_another_version() -> None:
    bad = Model("1", does="raise")
    part = locator((bad, 100), (Model("2"), 0), cache=True)
    results = fixes_of(part.locate([capture("a"), capture("b")]))
    assert [(fix.model_version, fix.fallback) for fix in results] == [("2", True)] * 2
    assert outcomes(results) == ["MISS", "BATCH"]
    bad.does = "answer"
    again = fixes_of(part.locate([capture("c")]))
    assert (again[0].latitude, again[0].cache) == (41.0, CacheOutcome.MISS)


def test_a_shadow_answers_from_the_features_that_are_there_and_counts_as_no_traffic() -> None:
    live, shadow = Model("1"), Model("2")
    part = locator((live, 1), shadows=[shadow], cache=True)
    taken = [RawRecord(b"", b"k", "iq.captures", 0, 0, 0.0, each) for each in batch(8)]
    work = part.decode(taken)
    part.features(work)
    part.infer(work)
    beside = part.shadow(work)
    assert beside is not None
    assert all(item.features is not None for item in beside.items)
    part.features(beside)
    part.infer(beside)
    answers = fixes_of(part.finish(beside))
    lives = fixes_of(part.finish(work))
    assert [fix.capture_id for fix in answers] == [fix.capture_id for fix in lives]
    assert {fix.model_version for fix in answers} == {"2"}
    assert {fix.model_version for fix in lives} == {"1"}
    text = part._metrics.text().decode()
    assert "fixstream_cache_misses_total 8.0" in text
    assert 'fixstream_version_captures_total{version="2"}' not in text
