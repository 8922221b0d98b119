"""A beacon's level says whether ellipses keep their word, and stays quiet while they do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.geo.geodesy import destination
from stream_app.network.beacons import ENOUGH, OLDEST_S, WINDOW, BeaconWatch, chance_of_so_few
from stream_app.network.file import Beacon
from stream_app.records.deployment import BeaconLevel, BeaconStatus
from stream_app.records.fix import CacheOutcome, Fix, Timings
from tests.unit.network.networks import network

_AT = (47.75, 9.05)
_COVARIANCE = np.array([[900.0, 300.0], [300.0, 400.0]])  # m², east and north


def watch() -> BeaconWatch:
    return BeaconWatch(network(), Beacon(name="mast", latitude=_AT[0], longitude=_AT[1]))


def fix(east_m: float, north_m: float, version: str = "1") -> Fix:
    """A fix that is so far off the beacon and states _COVARIANCE."""
    lat, lon = destination(*_AT, math.degrees(math.atan2(east_m, north_m)), math.hypot(east_m, north_m))
    (east, cross), (_, north) = _COVARIANCE.tolist()
    return Fix(
        "id", "test", 0, 433.92e6, float(lat), float(lon), east, north, cross, 1, 1, 0, 1, 1, 0, 0.95, None, "m",
        version, False, None, False, CacheOutcome.MISS, Timings(0, 0, 0, 0),
    )  # fmt: skip


def feed(
    to: BeaconWatch, count: int, seed: int, wider: float = 1.0, bias_m: tuple[float, float] = (0, 0), version: str = "1"
) -> BeaconStatus:
    """Errors ``wider`` times what the fixes state, about a bias; the status after them."""
    rng = np.random.default_rng(seed)
    for east, north in rng.multivariate_normal(bias_m, wider**2 * _COVARIANCE, count):
        to.add(fix(float(east), float(north), version), 0.0)
    return to.judge(0.0)


def test_shares_bias_and_rms_are_those_of_the_fixes() -> None:
    to = watch()
    major = math.sqrt(_COVARIANCE[0, 0])
    inside = [to.add(fix(scale * major, scale * 10.0), 0.0) for scale in (0.5, 2.0, 4.0, 0.0)]  # 10 = 300 / 30
    assert inside == ["68", "95", "none", "68"]
    status = to.judge(0.0)
    assert (status.network, status.name, status.fixes) == ("test", "mast", 4)
    assert (status.share_68, status.share_95) == (0.5, 0.75)
    assert status.bias_east_m == pytest.approx(6.5 / 4 * major, rel=1e-4)
    assert status.bias_north_m == pytest.approx(6.5 / 4 * 10, rel=1e-4)
    assert status.rms_m == pytest.approx(math.sqrt(20.25 / 4 * (900 + 100)), rel=1e-4)
    assert status.level is BeaconLevel.WAITING


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_honest_fixes_never_leave_ok(seed: int) -> None:
    to, levels = watch(), set()
    for part in range(20):
        levels.add(feed(to, 50, seed + 100_000 * part).level)
    assert levels == {BeaconLevel.OK}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), wider=st.floats(1.45, 20))
def test_a_model_that_is_too_sure_of_itself_raises_the_alert(seed: int, wider: float) -> None:
    assert feed(watch(), WINDOW, seed, wider).level is BeaconLevel.ALERT


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), angle=st.floats(0, 2 * math.pi))
def test_so_does_a_bias_that_the_shares_alone_would_hide(seed: int, angle: float) -> None:
    bias = np.linalg.cholesky(_COVARIANCE) @ [math.cos(angle), math.sin(angle)]  # one sigma
    status = feed(watch(), WINDOW, seed, wider=0.9, bias_m=(float(bias[0]), float(bias[1])))
    assert status.level is BeaconLevel.ALERT


def test_a_few_fixes_are_too_few() -> None:
    to = watch()
    assert feed(to, ENOUGH - 1, 1, wider=10).level is BeaconLevel.WAITING
    assert feed(to, 1, 2, wider=10).level is BeaconLevel.ALERT


def test_wide_ellipses_are_no_alarm() -> None:
    assert feed(watch(), WINDOW, 3, wider=0.1).level is BeaconLevel.OK


def test_fixes_that_repeat_each_other_are_no_more_evidence_than_one() -> None:
    once = np.array([True] * 14 + [False] * 26)  # 35 % of 40
    tenfold = np.repeat(np.random.default_rng(1).permutation(once), 10)
    assert (
        chance_of_so_few(tenfold, 0.68) > 1e-6 > chance_of_so_few(np.random.default_rng(1).permutation(tenfold), 0.68)
    )


def test_the_chance_is_the_binomial_s() -> None:
    inside = np.array([True, False] * 10)  # neighbours differ: nothing is alike
    exact = sum(math.comb(20, k) * 0.65**k * 0.35 ** (20 - k) for k in range(11))
    assert chance_of_so_few(inside, 0.68) == pytest.approx(exact)


def test_honesty_is_a_version_s_own() -> None:
    to = watch()
    feed(to, WINDOW, 4, wider=3, version="1")
    both = feed(to, WINDOW, 5, version="2")
    assert (both.level, both.fixes) == (BeaconLevel.ALERT, WINDOW)
    to.keep(["2"])
    assert to.judge(0.0).level is BeaconLevel.OK
    to.keep(["3"])
    assert to.judge(0.0).fixes == 0


def test_the_level_falls_when_newer_fixes_are_honest_and_old_ones_are_forgotten() -> None:
    to = watch()
    assert feed(to, WINDOW, 6, wider=3).level is BeaconLevel.ALERT
    assert feed(to, WINDOW, 7).level is BeaconLevel.OK
    assert to.judge(OLDEST_S + 1).level is BeaconLevel.WAITING
