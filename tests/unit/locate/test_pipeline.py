"""The pipeline with a small model of its own: what each capture gets, whatever its neighbours are."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_app.cache.backends import MemoryCache
from stream_app.cache.dedup import DedupCache
from stream_app.errors import CaptureError, UnanswerableCapture, UndecodableRecord
from stream_app.locate.batch import Batch, Item
from stream_app.locate.outputs import covariances
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.contract import ModelInfo
from stream_app.models.fleet import Fleet
from stream_app.records.capture import Channel, IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome, Fix, Timings
from stream_app.settings import Settings

SPEC = {"extractor": "tdoa", "max_receivers": 3, "sample_rate_hz": 1e6, "max_lag_s": 2e-5}
AREA = {"south": 50.0, "west": 10.0, "north": 52.0, "east": 12.0}


class ListeningModel:
    """Answers 0.1 degree north-east of the first receiver, NaN or a rim where its latitude asks for it."""

    name = "listening"

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.info = ModelInfo("00", SPEC, "test", (), (), 3, AREA)
        self.seen: list[int] = []

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.floating]]:
        first = np.asarray(inputs["receiver_positions"], np.float64)[:, 0, :2]
        self.seen.append(len(first))
        peak = np.abs(np.asarray(inputs["features"], np.float64)).reshape(len(first), -1).max(1)
        position = first + 0.1
        position[first[:, 0] == 51.5] = np.nan
        position[first[:, 0] == 51.25] = 123.0
        sigma = np.stack([20 + peak, 10 + peak, np.full(len(first), 0.3)], 1)
        return {"position": position, "sigma": sigma}


@dataclass
class Taken:
    value: bytes
    received_at: float
    key: bytes | None = None
    capture: IqCapture | None = None
    refusal: CaptureError | None = None


def capture(name: str, seed: int = 1, latitude: float = 51.0, receivers: int = 3, kind: str = "ci16_le") -> IqCapture:
    # Whole steps of 2**-15 are the same numbers in both datatypes.
    values = np.random.default_rng(seed).integers(-9000, 9000, (receivers, 512)).astype("<i2")
    rows = values if kind == "ci16_le" else (values / np.float32(2**15)).astype("<f4")
    return IqCapture(
        name,
        "test",
        1_700_000_000_000_000,
        1e8,
        tuple(
            Channel(f"r{n}", latitude, 11.0 + n / 100, 0.0, 10**18, 1e6, kind, 256, rows[n].tobytes())
            for n in range(receivers)
        ),
    )


def locator(model: ListeningModel | None = None, cache: MemoryCache | None = None, **options: object) -> Locator:
    settings = Settings(_env_file=None, **options)
    return Locator(Fleet.of(model or ListeningModel()), DedupCache(cache), Codecs(), settings, Metrics())


def same(fix: Fix | Exception) -> Fix:
    """The fix without what may differ between a fresh and a remembered one."""
    assert isinstance(fix, Fix), fix
    return replace(fix, capture_id="", cache=CacheOutcome.MISS, timings=Timings(0, 0, 0, 0))


def outcomes(fixes: list[Fix | Exception]) -> list[str]:
    return [fix.cache.value if isinstance(fix, Fix) else type(fix).__name__ for fix in fixes]


def test_equal_captures_of_a_batch_are_computed_once() -> None:
    model = ListeningModel()
    fixes = locator(model, MemoryCache(60, 100)).locate([capture("a"), capture("b", 2), capture("c"), capture("d")])
    assert outcomes(fixes) == ["MISS", "MISS", "BATCH", "BATCH"]
    assert [fix.capture_id for fix in fixes if isinstance(fix, Fix)] == ["a", "b", "c", "d"]
    assert same(fixes[0]) == same(fixes[2]) != same(fixes[1])
    assert model.seen == [2]


def test_a_distrusted_receiver_is_named_and_no_answer_of_before_is_served() -> None:
    model, distrusted = ListeningModel(), {}
    part = Locator(
        Fleet.of(model),
        DedupCache(MemoryCache(60, 100)),
        Codecs(),
        Settings(_env_file=None),
        Metrics(),
        lambda network: distrusted if network == "test" else {},
    )
    trusting = part.locate([capture("a")])
    distrusted["r1"] = 500.0
    lowered, again = part.locate([capture("b")]), part.locate([capture("c")])
    distrusted.clear()
    after = part.locate([capture("d")])
    assert outcomes([*trusting, *lowered, *again, *after]) == ["MISS", "MISS", "EXACT", "EXACT"]
    assert [same(fix).receivers for fix in (*trusting, *lowered, *again)] == [("r0", "r1", "r2")] * 3
    assert [same(fix).distrusted for fix in (*trusting, *lowered, *again, *after)] == [(), ("r1",), ("r1",), ()]


def test_a_repeat_is_answered_from_its_bytes_and_equals_the_fresh_fix() -> None:
    model = ListeningModel()
    part = locator(model, MemoryCache(60, 100))
    fresh, again = part.locate([capture("a")]), part.locate([capture("b")])
    assert outcomes(again) == ["EXACT"]
    assert same(fresh[0]) == same(again[0])
    assert model.seen == [1]


def test_the_same_signal_in_other_bytes_is_answered_from_its_features() -> None:
    model = ListeningModel()
    part = locator(model, MemoryCache(60, 100))
    fresh, copy = part.locate([capture("a")]), part.locate([capture("b", kind="cf32_le")])
    assert outcomes(copy) == ["FEATURES"]
    assert same(fresh[0]) == same(copy[0])
    assert outcomes(part.locate([capture("c", kind="cf32_le")])) == ["EXACT"]
    assert model.seen == [1]


def test_other_bytes_in_one_batch_are_inferred_once() -> None:
    model = ListeningModel()
    fixes = locator(model).locate([capture("a"), capture("b", kind="cf32_le"), capture("c", kind="cf32_le")])
    assert outcomes(fixes) == ["MISS", "BATCH", "BATCH"]
    assert same(fixes[0]) == same(fixes[1]) == same(fixes[2])
    assert model.seen == [1]


@pytest.mark.parametrize(
    "change",
    [
        {"start_sigma_ns": 20.0},
        {"gain_db": 3.0},
        {"latitude": 51.01},
        {"start_time_ns": 10**18 + 1000},
    ],
)
def test_whatever_the_answer_depends_on_is_no_repeat_by_bytes(change: dict[str, float]) -> None:
    part = locator(cache=MemoryCache(60, 100))
    part.locate([capture("a")])
    other = capture("b")
    first, second, third = other.channels
    changed = replace(other, channels=(first, replace(second, **change), third))
    assert outcomes(part.locate([changed])) != ["EXACT"]


def test_a_new_version_never_serves_an_old_answer() -> None:
    cache = MemoryCache(60, 100)
    locator(ListeningModel("1"), cache).locate([capture("a")])
    assert outcomes(locator(ListeningModel("2"), cache).locate([capture("a")])) == ["MISS"]


def test_bad_neighbours_change_nothing_and_are_named() -> None:
    lonely = capture("lonely", 4, receivers=1)
    batch = [
        capture("good", 3),
        lonely,
        capture("nan", 6, latitude=51.5),
        capture("far", 7, latitude=51.25),
        capture("many", 8, receivers=4),
        capture("nan again", 6, latitude=51.5),
        capture("last", 9),
    ]
    fixes = locator(cache=MemoryCache(60, 100)).locate(batch)
    assert outcomes(fixes) == ["MISS", *["UnanswerableCapture"] * 5, "MISS"]
    for given, result in zip(batch[1:6], fixes[1:6], strict=True):
        assert isinstance(result, UnanswerableCapture)
        assert repr(given.capture_id) in str(result)
    assert "4 channels" in str(fixes[4])
    alone = locator().locate([capture("good", 3)]) + locator().locate([capture("last", 9)])
    assert [same(fix) for fix in alone] == [same(fixes[0]), same(fixes[6])]


def test_an_unanswerable_capture_is_not_remembered() -> None:
    model = ListeningModel()
    part = locator(model, MemoryCache(60, 100))
    for _ in range(2):
        assert outcomes(part.locate([capture("nan", latitude=51.5)])) == ["UnanswerableCapture"]
    assert model.seen == [1, 1]


def test_records_that_do_not_decode_keep_their_place() -> None:
    part, codecs = locator(), Codecs()
    values = [b"", codecs.encode_capture(capture("a")), b"\x00poison", codecs.encode_capture(capture("b", 2))]
    work = part.decode([Taken(value, time.perf_counter()) for value in values])
    part.features(work)
    part.infer(work)
    fixes = part.finish(work)
    assert [isinstance(fix, Fix) for fix in fixes] == [False, True, False, True]
    assert isinstance(fixes[0], UndecodableRecord)
    assert isinstance(fixes[2], UndecodableRecord)


def test_without_a_cache_the_fix_says_so() -> None:
    assert outcomes(locator(cache_url="none://").locate([capture("a")])) == ["DISABLED"]


def test_a_position_on_the_rim_is_flagged() -> None:
    fixes = locator().locate([capture("in"), capture("rim", latitude=51.9)])
    assert [fix.border for fix in fixes if isinstance(fix, Fix)] == [False, True]


def test_an_empty_batch_gives_nothing() -> None:
    assert locator().locate([]) == []


def test_sigma_with_an_angle_turns_counter_clockwise_from_east() -> None:
    cov = covariances({"sigma": np.array([[3.0, 1.0, np.pi / 4]])})[0]
    values, vectors = np.linalg.eigh(cov)
    assert values == pytest.approx([1, 9])
    assert np.abs(vectors[:, 1] @ [1, 1]) / np.sqrt(2) == pytest.approx(1)


def _begun(part: Locator, *captures: IqCapture) -> Batch:
    work = Batch([Item(time.perf_counter(), capture=each) for each in captures], time.perf_counter())
    part.features(work)
    return work


def _ended(part: Locator, work: Batch) -> list[Fix | CaptureError]:
    part.infer(work)
    return part.finish(work)


def test_a_repeat_of_a_batch_that_is_under_way_waits_for_its_answer() -> None:
    model = ListeningModel()
    part = locator(model, MemoryCache(60, 100))
    first, second = _begun(part, capture("a")), _begun(part, capture("b"), capture("c", 2))
    fresh, repeat = _ended(part, first), _ended(part, second)
    assert outcomes(repeat) == ["BATCH", "MISS"]
    assert same(repeat[0]) == same(fresh[0])
    assert model.seen == [1, 1]


def test_a_repeat_of_a_batch_that_failed_is_computed_after_all() -> None:
    model = ListeningModel()
    part = locator(model, MemoryCache(60, 100))
    failed, second = _begun(part, capture("a")), _begun(part, capture("b"))
    failed.items[0].lane = object()  # type: ignore[assignment]  # nothing of a version: the stage raises
    with pytest.raises(AttributeError):
        part.infer(failed)
    assert outcomes(_ended(part, second)) == ["MISS"]
    del failed
    assert outcomes(_ended(part, _begun(part, capture("c", 3)))) == ["MISS"]
    assert model.seen == [1, 1]


class MeetingModel(ListeningModel):
    """Its first call waits until a second one is there, or for a second."""

    def __init__(self) -> None:
        super().__init__()
        self.second = threading.Event()
        self.met: list[bool] = []

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.floating]]:
        found = super().infer(inputs)
        if len(self.seen) > 1:
            self.second.set()
        self.met.append(self.second.wait(1.0))
        return found


def test_a_repeat_waits_for_a_batch_that_another_thread_infers() -> None:
    model = MeetingModel()
    part = locator(model, MemoryCache(60, 100))
    batches = [_begun(part, capture("a")), _begun(part, capture("b"))]
    with ThreadPoolExecutor(2) as threads:
        fresh, repeat = threads.map(lambda batch: _ended(part, batch), batches)
    assert (outcomes(fresh), outcomes(repeat)) == (["MISS"], ["BATCH"])
    assert same(repeat[0]) == same(fresh[0])
    assert model.seen == [1]


def test_batches_are_inferred_side_by_side() -> None:
    model = MeetingModel()
    part = locator(model)
    batches = [_begun(part, capture("a")), _begun(part, capture("b", 2))]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda batch: _ended(part, batch), batches))
    assert [outcomes(fixes) for fixes in found] == [["MISS"], ["MISS"]]
    assert model.met == [True, True]


def test_nothing_waits_for_a_batch_whose_features_failed() -> None:
    part = locator(cache=MemoryCache(60, 100))
    broken = Batch([Item(0.0, capture=object())], 0.0)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        part.features(broken)
    assert broken.inferred.is_set()
