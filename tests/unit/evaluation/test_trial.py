"""Cells of the simulated evaluation that keep their word, small enough for every run of the tests."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from stream_app.cache.dedup import DedupCache
from stream_app.evaluation.cells import Cell, populated
from stream_app.evaluation.choice import Geometry
from stream_app.evaluation.trial import ONE_SIGMA, run
from stream_app.geo.geodesy import offset_en_m
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.session import OnnxSession
from stream_app.network.simulator import Simulator
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.settings import Settings

FIXES = 200
SURE = NormalDist().inv_cdf(0.9995)  # of two sides, over a dozen shares: one run in a hundred seeds would fail


def _near(share: float, stated: float) -> bool:
    return abs(share - stated) < 0.03 + SURE * math.sqrt(stated * (1 - stated) / FIXES)


@pytest.mark.parametrize(
    "cell",
    [
        Cell(3, Geometry.INSIDE, 0.0),
        Cell(3, Geometry.OFF_CENTRE, 30.0),  # where an ellipse of decimetres is slanted across the search's cells
        Cell(5, Geometry.BORDER, 20.0),
    ],
)
def test_shares_are_as_stated_and_the_error_is_near_the_bound(cell: Cell) -> None:
    found = run(cell, FIXES, seed=7)
    assert found.fixes == FIXES
    assert _near(found.share_39, ONE_SIGMA)
    assert _near(found.share_68, 0.68)
    assert _near(found.share_95, 0.95)
    assert found.ratio is not None
    assert 0.85 < found.ratio < 1.3


@pytest.mark.parametrize("receivers", [3, 4])
def test_no_fix_of_an_emitter_outside_is_sure(receivers: int) -> None:
    found = run(Cell(receivers, Geometry.OUTSIDE, 10.0), FIXES, seed=7)
    assert found.sure == 0


def test_two_receivers_have_no_bound_but_long_ellipses_that_hold_the_whole_hyperbola() -> None:
    found = run(Cell(2, Geometry.BORDER, 20.0), FIXES, seed=7)
    assert found.crb_m is None
    assert found.ratio is None
    assert found.share_95 > 0.97
    assert found.semi_major_95_m > 15_000


def test_where_nothing_is_heard_the_ellipse_is_the_area() -> None:
    found = run(Cell(4, Geometry.INSIDE, -30.0), FIXES, seed=7)
    assert found.share_95 > 0.95
    assert found.semi_major_95_m > 15_000
    assert found.sure < 0.03


def test_the_same_seed_gives_the_same_outcome_and_another_one_another() -> None:
    cell = Cell(3, Geometry.INSIDE, 10.0)
    assert run(cell, 20, seed=3) == run(cell, 20, seed=3) != run(cell, 20, seed=4)


def test_two_receivers_of_four_are_as_honest_as_two_alone() -> None:
    where, _ = populated(Cell(4, Geometry.BORDER, 20.0), FIXES, 7)
    session = OnnxSession.from_bytes(build_tdoa(where).SerializeToString(), "ring-4", "reference", "1", 1, 32)
    settings = Settings(cache_url="none://", geojson_outline=False)
    locator = Locator(Fleet.of(session), DedupCache(None), Codecs(), settings, Metrics())
    held = []
    for capture, truth in Simulator(where, 7).captures(FIXES):
        [fix] = locator.locate([replace(capture, channels=capture.channels[:2])])
        assert isinstance(fix, Fix)
        away = np.array(offset_en_m(fix.latitude, fix.longitude, truth.latitude, truth.longitude)).ravel()
        held.append(away @ np.linalg.inv(fix.covariance) @ away < -2 * math.log(0.05))
    assert np.mean(held) > 0.85  # all of them at the tips of their hyperbolas, where an ellipse ends first
