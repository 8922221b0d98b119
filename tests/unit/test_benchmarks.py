"""The parts of the benchmark that could be wrong without anybody noticing: its work, its ratios, its cost model."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from benchmarks.growth import CostModel, Point
from benchmarks.harness import Run
from benchmarks.run import ratio
from benchmarks.workloads import BY_NAME
from stream_app.cache.backends import MemoryCache
from stream_app.cache.dedup import DedupCache
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.session import OnnxSession
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.settings import Settings

_COEFFICIENTS = (300.0, 20.0, 15.0, 40.0)


@pytest.mark.parametrize(
    ("name", "count", "missed"), [("W1", 8, 8), ("W2", 80, 16), ("repeats", 96, 64), ("W3", 8, 8), ("W4", 4, 4)]
)
def test_a_workloads_captures_are_answered_and_repeat_as_often_as_it_says(
    name: str, count: int, missed: int, tmp_path: Path
) -> None:
    workload, path = BY_NAME[name], tmp_path / "model.onnx"
    onnx.save(workload.model(), str(path))
    settings = Settings(_env_file=None, **workload.settings)
    fleet, codecs = Fleet.of(OnnxSession.load(path, name, "1")), Codecs()
    locator = Locator(fleet, DedupCache(MemoryCache(60, 1000)), codecs, settings, Metrics())
    fixes = locator.locate([codecs.decode_capture(value) for _, value in workload.records(count)])
    assert all(isinstance(fix, Fix) for fix in fixes)
    assert sum(fix.cache.value in ("MISS", "DISABLED") for fix in fixes if isinstance(fix, Fix)) == missed
    assert len({fix.capture_id for fix in fixes if isinstance(fix, Fix)}) == count


def test_a_ratio_is_the_median_of_neighbours() -> None:
    above = [Run(rate, 0.0, 0.0, 1) for rate in (10.0, 100.0, 30.0)]
    assert ratio(above, [5.0, 10.0, 10.0]) == 3.0


def _point(axis: str, receivers: int, samples: int) -> Point:
    cost = CostModel(_COEFFICIENTS, {}).cpu_us(receivers, samples)
    return Point(axis, receivers, samples, 32, 1, Run(1e6 / cost, cost, 0.0, 1))


def test_the_cost_model_finds_what_its_points_were_made_of_and_says_how_far_off_it_is() -> None:
    points = [_point("receivers", r, 4480) for r in (2, 3, 5, 8)]
    points += [_point("samples", 3, s) for s in (1024, 4480, 16384, 65536)]
    points += [_point("unseen", 5, 16384), Point("batch", 3, 4480, 1, 1, Run(1.0, 1e6, 0.0, 1))]
    model = CostModel.of(points)
    assert model.cpu_us(8, 20_000) == pytest.approx(CostModel(_COEFFICIENTS, {}).cpu_us(8, 20_000), rel=1e-6)
    assert model.errors == {"5 receivers, 16384 samples": pytest.approx(0.0, abs=1e-6)}
