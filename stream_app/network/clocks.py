"""Which receiver's clock is off by more than it states, from the residuals of arrival times. Pure: no I/O, no clock.

A clock that is off by o stamps every signal's arrival o too late. Of an emitter whose place is known, arrival times
tell each receiver's offset against the others'. Of one whose place is not, two dimensions of them go into its place,
and what R receivers have left, R - 3 dimensions, is a mixture of their offsets; emitters at other places mix them
otherwise, until all are known. An offset that all receivers share moves no fix and shows in none: the receiver in the
middle counts as right.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream_app.dsp.arrivals import Arrivals
from stream_app.network.motion import Paths
from stream_app.records.capture import Channel
from stream_app.records.deployment import ReceiverClock

if TYPE_CHECKING:
    from stream_app.network.file import Network

REACH_SAMPLES = 64  # offsets up to so many sample periods are looked for
OLDEST_S = 3600.0  # what was heard before says nothing of today's clocks
_WINDOW, _FREQUENCIES = 64, 16  # captures of a frequency, frequencies
_ENOUGH = 20  # captures
_CERTAIN, _LARGE = 5.0, 4.0  # of the estimate's sigmas and of what the receiver states: the offset that is distrusted
_SMALL = 2.0  # of what it states: offset and sigma below which it is trusted again
_LEAST_STATED = 0.01  # sample periods: no arrival is measured to less
_STEPS = 2 ** (1 / 16)  # what a model is told of an offset moves in such steps: equal captures keep equal answers
_HUBER, _ROUNDS = 1.345, 15
_GRADIENT_M, _ARRIVED_M, _MOST_STEPS = 10.0, 0.1, 8
_M_PER_DEGREE = 111_200.0

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one capture says: rows @ offsets = values, in units of their sigmas."""

    rows: _Array  # [K, R]
    values: _Array  # [K]
    at_s: float
    around_s: _Array | None  # the offsets [R] that the emitter's place was looked for with, None where it was known


class ClockWatch:
    """The newest captures of one network, and what they say of its receivers' clocks."""

    def __init__(self, network: Network) -> None:
        self._network, self._paths = network, Paths(network)
        self._index = {receiver.receiver_id: i for i, receiver in enumerate(network.receivers)}
        self._count = len(network.receivers)
        self._seen: OrderedDict[float, deque[_Seen]] = OrderedDict()
        self._stated_s = np.zeros(self._count)
        self._curved_s = self._paths.longest_baseline_m() / 4 / network.speed_m_s
        self._paths_s = network.timing_sigma_us * 1e-6
        self._floor_s = _LEAST_STATED / network.sample_rate_hz
        self._offsets_s = np.zeros(self._count)
        self._distrusted: frozenset[int] = frozenset()

    def known(self, channels: Sequence[Channel]) -> tuple[Channel, ...]:
        """The channels whose receivers the network's file has, each once."""
        return tuple({c.receiver_id: c for c in channels if c.receiver_id in self._index}.values())

    def add(
        self,
        channels: Sequence[Channel],
        arrivals: Arrivals,
        frequency_hz: float,
        place: tuple[float, float],
        surely: bool,
        now_s: float,
    ) -> None:
        """One capture: ``channels`` as ``known`` gives them, the emitter's ``place`` in degrees, sure or a first guess.

        ``frequency_hz`` tells emitters apart, so that a busy one does not crowd out the others.
        """
        who = np.array([self._index[channel.receiver_id] for channel in channels])
        stated = np.array([(channel.start_sigma_ns or 0.0) * 1e-9 for channel in channels])
        stated = np.maximum(stated, self._floor_s)
        self._stated_s[who] = stated
        # Differences to the first receiver: the time that all share is gone.
        contrast = np.hstack([-np.ones((len(who) - 1, 1)), np.eye(len(who) - 1)])
        noise = contrast @ np.linalg.pinv(arrivals.information, hermitian=True) @ contrast.T
        each = stated**2 + self._paths_s**2
        whiten = np.linalg.inv(np.linalg.cholesky(noise + (contrast * each) @ contrast.T)) @ contrast
        if surely:
            late = arrivals.seconds - self._paths.lengths_m(*place, None)[who] / self._network.speed_m_s
        else:
            found = self._placed(whiten, arrivals.seconds, who, place)
            if found is None:
                return
            whiten, late = found
        rows = np.zeros((len(whiten), self._count))
        rows[:, who] = whiten
        window = self._seen.setdefault(frequency_hz, deque(maxlen=_WINDOW))
        window.append(_Seen(rows, whiten @ late, now_s, None if surely else self._offsets_s.copy()))
        self._seen.move_to_end(frequency_hz)
        if len(self._seen) > _FREQUENCIES:
            self._seen.popitem(last=False)

    def judge(self, now_s: float) -> tuple[ReceiverClock, ...]:
        """Each receiver that was heard, as of now. Who is distrusted changes here and nowhere else."""
        self._keep(lambda each: now_s - each.at_s < OLDEST_S)
        windows = [list(window) for window in self._seen.values() if window]
        seen = [each for window in windows for each in window]
        if not seen:
            self._offsets_s[:], self._distrusted = 0.0, frozenset()
            return ()
        rows, values = np.concatenate([s.rows for s in seen]), np.concatenate([s.values for s in seen])
        captures = np.sum([np.any(s.rows, axis=0) for s in seen], axis=0)
        ends = np.cumsum([sum(len(each.rows) for each in window) for window in windows])
        self._offsets_s, chance, lasting = _estimate(
            rows, values, ends, REACH_SAMPLES / self._network.sample_rate_hz, self._paths_s
        )
        heard = np.flatnonzero(captures)
        against = _references(self._offsets_s, heard)
        self._offsets_s[heard] = against @ self._offsets_s
        by_chance, by_paths = (np.sqrt(np.einsum("ij,jk,ik->i", against, one, against)) for one in (chance, lasting))
        astray = self._keep(self._still_straight)
        found, distrusted = [], set()
        for i, sigma, paths in zip(heard.tolist(), by_chance.tolist(), by_paths.tolist(), strict=True):
            before = i in self._distrusted
            distrusts = before if astray else self._distrusts(i, sigma, paths, captures[i] >= _ENOUGH)
            if distrusts:
                distrusted.add(i)
            name, offset_ns = self._network.receivers[i].receiver_id, float(self._offsets_s[i]) * 1e9
            sigma_ns = math.hypot(sigma, paths) * 1e9
            found.append(ReceiverClock(self._network.name, name, offset_ns, sigma_ns, int(captures[i]), distrusts))
        self._distrusted = frozenset(distrusted)
        return tuple(found)

    def lowered(self) -> Mapping[str, float]:
        """The distrusted receivers, and how much too late each one stamps its samples, nanoseconds, to 2 %."""
        return {self._network.receivers[i].receiver_id: _stepped(self._offsets_s[i] * 1e9) for i in self._distrusted}

    def _keep(self, good: Callable[[_Seen], bool]) -> bool:
        """Forgets the captures that are not ``good``; whether there were any."""
        lost = False
        for frequency_hz, window in list(self._seen.items()):
            kept = [each for each in window if good(each)]
            lost |= len(kept) < len(window)
            self._seen[frequency_hz] = deque(kept, maxlen=_WINDOW)
        return lost

    def _still_straight(self, each: _Seen) -> bool:
        """Whether a place that was looked for with other offsets than today's was near enough.

        Distances bend: a place that is x off in a network of radius d is worth arrivals that are x² / 2 d off.
        """
        if each.around_s is None:
            return True
        off_s = float(np.abs(each.around_s - self._offsets_s).max())
        return off_s**2 / (2 * self._curved_s) < float(self._stated_s.max())

    def _distrusts(self, i: int, by_chance_s: float, by_paths_s: float, enough: bool) -> bool:
        offset, expected = abs(self._offsets_s[i]), math.hypot(self._stated_s[i], by_paths_s)
        if i in self._distrusted:
            return bool(offset + by_chance_s > _SMALL * expected)
        return bool(enough and offset > max(_CERTAIN * by_chance_s, _LARGE * expected))

    def _placed(
        self, whiten: _Array, seconds: _Array, who: NDArray[np.int64], place: tuple[float, float]
    ) -> tuple[_Array, _Array] | None:
        """Rows [R - 3, R] that no place of the emitter can explain, and how late each arrival is at the likeliest one.

        None where there is no such row, or no likeliest place near the guess (Gauss and Newton's steps go astray).
        """
        if len(who) < 4:
            return None
        latitude, longitude = place
        per_degree = np.array([_M_PER_DEGREE, _M_PER_DEGREE * math.cos(math.radians(latitude))])
        right = seconds - self._offsets_s[who]
        for _ in range(_MOST_STEPS):
            here, *moved = (
                self._paths.lengths_m(latitude + north_m / per_degree[0], longitude + east_m / per_degree[1], None)[who]
                / self._network.speed_m_s
                for north_m, east_m in ((0, 0), (_GRADIENT_M, 0), (0, _GRADIENT_M))
            )
            slope = whiten @ (np.stack(moved, 1) - here[:, None]) / _GRADIENT_M
            step = np.linalg.lstsq(slope, whiten @ (right - here), rcond=None)[0]
            if float(np.hypot(*step)) < _ARRIVED_M:
                rest = np.linalg.qr(slope, mode="complete").Q[:, 2:].T
                return rest @ whiten, seconds - here
            latitude += float(step[0] / per_degree[0])
            longitude += float(step[1] / per_degree[1])
            if not (abs(latitude) < 90 and abs(longitude) <= 180):
                break
        return None


def _estimate(
    rows: _Array, values: _Array, ends: NDArray[np.int64], reach_s: float, paths_s: float
) -> tuple[_Array, _Array, _Array]:
    """Offsets [R] by Huber's estimate, so that a part of the captures may be wrong, and two covariances [R, R] of them.

    The first is what chance leaves. Offsets of ``reach_s`` are expected at first: what captures do not tell keeps that
    sigma; where residuals are larger than their sigmas say, so is the covariance. The second is what lasting errors of
    the paths leave, ``paths_s`` for each arrival of an emitter: captures of one emitter, which end at ``ends`` in
    ``rows``, do not average them out.
    """
    prior = np.eye(rows.shape[1]) / reach_s**2
    weights = np.ones(len(values))
    offsets: _Array = np.zeros(rows.shape[1])
    scale = 1.0
    for _ in range(_ROUNDS):
        weighted = rows.T * (weights / scale**2)
        offsets = np.asarray(np.linalg.solve(weighted @ rows + prior, weighted @ values), np.float64)
        off = np.abs(values - rows @ offsets)
        scale = max(1.0, 1.4826 * float(np.median(off)))
        weights = np.minimum(1.0, _HUBER * scale / np.maximum(off, 1e-12))
    weighted = rows.T * (weights / scale**2)
    chance = np.asarray(np.linalg.inv(weighted @ rows + prior), np.float64)
    lasting: _Array = np.zeros_like(chance)
    for part in np.split(np.arange(len(values)), ends[:-1]) if paths_s else ():
        answer = chance @ weighted[:, part] @ rows[part]
        lasting += paths_s**2 * answer @ answer.T
    return offsets, chance, lasting


def _references(offsets: _Array, heard: NDArray[np.int64]) -> _Array:
    """Contrasts [H, R] of each receiver against the one in the middle, or the mean of the two in the middle."""
    middle = np.zeros(len(offsets))
    order = heard[np.argsort(offsets[heard])]
    middle[order[(len(order) - 1) // 2]] += 0.5
    middle[order[len(order) // 2]] += 0.5
    return np.eye(len(offsets))[heard] - middle


def _stepped(offset_ns: float) -> float:
    return math.copysign(_STEPS ** round(math.log(max(abs(offset_ns), 1.0), _STEPS)), offset_ns)
