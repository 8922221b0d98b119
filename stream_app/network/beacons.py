"""Whether fixes of an emitter whose place is known are where their ellipses say. Pure: no I/O, no clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

from stream_app.geo.geodesy import offset_en_m
from stream_app.records.deployment import BeaconLevel, BeaconStatus
from stream_app.records.fix import Fix

if TYPE_CHECKING:
    from stream_app.network.file import Beacon, Network

WINDOW = 400  # fixes
OLDEST_S = 3600.0  # a fix from before says nothing of the model, the receivers and the air of now
ENOUGH = 20  # fixes
WATCH, ALERT = 1e-3, 1e-6  # chances, below which a level is reached
_STATED = (0.68, 0.95)
_TOLERANCE = 0.03  # of a share: what a model may be off and still be called honest
_BIAS_TOLERANCE = 0.4  # sigmas: the bias that costs the 68 % ellipse those 3 points of its share
_EASE = 10.0  # a level is left when chance is so many times likelier than where it is reached
_ORDER = (BeaconLevel.WAITING, BeaconLevel.OK, BeaconLevel.WATCH, BeaconLevel.ALERT)

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Scored:
    east_m: float  # of the fix as seen from the beacon
    north_m: float
    u: float  # the same in the fix's own sigmas, along two axes
    v: float
    at_s: float

    @property
    def square(self) -> float:
        """Squared distance in sigmas: chi-square of 2 degrees where the ellipse is honest."""
        return self.u**2 + self.v**2


class BeaconWatch:
    """The newest fixes of one beacon, by the version of the model that made them: honesty is a version's own."""

    def __init__(self, network: Network, beacon: Beacon) -> None:
        self.network, self.name = network.name, beacon.name
        self.place = beacon.latitude, beacon.longitude  # degrees
        self._windows: dict[str, deque[_Scored]] = {}
        self._levels: dict[str, BeaconLevel] = {}
        self._versions: frozenset[str] | None = None  # None: any

    def add(self, fix: Fix, now_s: float) -> str:
        """Takes a fix of the beacon; the smallest of its ellipses that holds the beacon: "68", "95" or "none"."""
        east, north = (float(x) for x in offset_en_m(*self.place, fix.latitude, fix.longitude))
        # Cholesky's factor of the covariance: sums of whitened errors keep their direction.
        root = math.sqrt(fix.cov_east_m2)
        lower = fix.cov_east_north_m2 / root
        rest = math.sqrt(fix.cov_north_m2 - lower**2)
        u = east / root
        scored = _Scored(east, north, u, (north - lower * u) / rest, now_s)
        if self._versions is None or fix.model_version in self._versions:
            self._windows.setdefault(fix.model_version, deque(maxlen=WINDOW)).append(scored)
        inside = [f"{stated:.0%}".rstrip("%") for stated in _STATED if scored.square <= _limit(stated)]
        return inside[0] if inside else "none"

    def keep(self, versions: Iterable[str]) -> None:
        """These versions answer from now on: the fixes of others are forgotten, and those yet to come left out."""
        self._versions = frozenset(versions)
        for version in self._windows.keys() - self._versions:
            del self._windows[version]
            self._levels.pop(version, None)

    def judge(self, now_s: float) -> BeaconStatus:
        """The version that is worst off, as of now. Levels change here and nowhere else."""
        found = [BeaconStatus(self.network, self.name, 0, 0.0, 0.0, 0.0, 0.0, 0.0, BeaconLevel.WAITING)]
        for version, window in self._windows.items():
            while window and now_s - window[0].at_s > OLDEST_S:
                window.popleft()
            if window:
                found.append(self._status(version, list(window)))
        return max(found, key=lambda status: (_ORDER.index(status.level), status.fixes))

    def _status(self, version: str, scored: list[_Scored]) -> BeaconStatus:
        errors = np.array([(each.east_m, each.north_m) for each in scored])
        whitened = np.array([(each.u, each.v) for each in scored])
        squares = (whitened**2).sum(axis=1)
        inside = [squares <= _limit(stated) for stated in _STATED]
        level = self._levels[version] = _level(whitened, inside, self._levels.get(version, BeaconLevel.WAITING))
        east, north = errors.mean(axis=0).tolist()
        rms = math.sqrt(float((errors**2).sum(axis=1).mean()))
        share_68, share_95 = (float(each.mean()) for each in inside)
        return BeaconStatus(self.network, self.name, len(scored), share_68, share_95, east, north, rms, level)


def chance_of_so_few(inside: NDArray[np.bool_], stated: float) -> float:
    """The chance that no more than these lie inside where a share of ``stated`` less the tolerance does: binomial.

    Fixes that follow each other are alike, so they count as n (1 - r) / (1 + r) independent ones, r the correlation of
    neighbours (Bayley and Hammersley 1946, The "effective" number of independent observations in an autocorrelated
    time series). The incomplete beta function is the binomial's sum, and takes numbers that are not whole.
    """
    count = _effective(inside.astype(np.float64))
    hits = count * float(inside.mean())
    return 1.0 if hits >= count else float(special.betainc(count - hits, hits + 1, 1 - (stated - _TOLERANCE)))


def chance_of_such_bias(whitened: _Array) -> float:
    """The chance of a mean error this far beyond the tolerance, of errors [N, 2] in sigmas.

    The mean of n honest ones has a variance of 1 / n on each axis, so its square times n is chi-square of 2 degrees;
    with the tolerance taken off first, exp(-x / 2) is an upper bound.
    """
    count = min(_effective(column) for column in whitened.T)
    beyond = max(0.0, float(np.hypot(*whitened.mean(axis=0))) - _BIAS_TOLERANCE)
    return math.exp(-count * beyond**2 / 2)


def _level(whitened: _Array, inside: list[NDArray[np.bool_]], before: BeaconLevel) -> BeaconLevel:
    if len(whitened) < ENOUGH:
        return BeaconLevel.WAITING
    chances = [chance_of_so_few(each, stated) for each, stated in zip(inside, _STATED, strict=True)]
    chance = min(*chances, chance_of_such_bias(whitened))
    reached, eased = _by_chance(chance), _by_chance(chance / _EASE)
    return max(reached, min(before, eased, key=_ORDER.index), key=_ORDER.index)


def _by_chance(chance: float) -> BeaconLevel:
    if chance < ALERT:
        return BeaconLevel.ALERT
    return BeaconLevel.WATCH if chance < WATCH else BeaconLevel.OK


def _effective(values: _Array) -> float:
    """How many independent values these are worth."""
    off = values - values.mean()
    power = float(off @ off)
    alike = float(off[1:] @ off[:-1]) / power if power > 0 else 0.0
    alike = min(max(alike, 0.0), 0.9)
    return len(values) * (1 - alike) / (1 + alike)


def _limit(stated: float) -> float:
    """Squared sigmas of the ellipse that holds ``stated``."""
    return -2 * math.log1p(-stated)
