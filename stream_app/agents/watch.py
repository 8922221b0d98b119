"""Watches the beacons and the receivers' clocks of the networks that the settings name, beside the live captures."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from stream_app.agents.background import background_thread
from stream_app.dsp.arrivals import ArrivalMeter
from stream_app.locate.batch import Batch
from stream_app.metrics import Metrics
from stream_app.network.beacons import BeaconWatch
from stream_app.network.clocks import REACH_SAMPLES, ClockWatch
from stream_app.network.motion import Paths
from stream_app.records.capture import IqCapture
from stream_app.records.deployment import BeaconLevel, BeaconStatus, ReceiverClock
from stream_app.records.fix import CacheOutcome, Fix

if TYPE_CHECKING:
    from stream_app.network.file import Network

log = logging.getLogger(__name__)
_FRESH = (CacheOutcome.MISS, CacheOutcome.DISABLED)  # what was remembered says nothing new
_BEACON_SHARE, _OTHER_SHARE = 0.01, 0.01  # of a core, for arrival times of beacons' captures and of others
_SAVED_S = 0.25  # of a core, which quiet times leave for busy ones
_MOST_WAITING = 64  # batches
_MOST_BYTES = 16 * 2**20  # samples that wait
_JUDGE_S = 1.0  # between two looks at what fixes and arrival times amount to
_NOTHING: Mapping[str, float] = {}

Found = tuple[tuple[BeaconStatus, ...], tuple[ReceiverClock, ...]]


class Budget:
    """A share of a core's time. Not locked."""

    def __init__(self, share: float, saved_s: float) -> None:
        self._share, self._saved_s = share, saved_s
        self._left_s, self._cost_s = saved_s, 0.001
        self._at_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Whether one more piece of work fits; it counts as what those before it took."""
        if self._at_s is not None:
            self._left_s = min(self._saved_s, self._left_s + (now_s - self._at_s) * self._share)
        self._at_s = now_s
        if self._left_s <= 0:
            return False
        self._left_s -= self._cost_s
        return True

    def took(self, seconds: float) -> None:
        """What a piece of work came to."""
        self._left_s -= seconds - self._cost_s
        self._cost_s += 0.1 * (seconds - self._cost_s)


@dataclass
class _Watched:
    """One network's parts."""

    beacons: dict[int, BeaconWatch]  # by whole hertz, as captures' keys have them
    clocks: ClockWatch
    meter: ArrivalMeter | None  # None where no receivers can be compared
    lowered: Mapping[str, float] = field(default_factory=dict)
    found: tuple[ReceiverClock, ...] = ()


@dataclass(frozen=True, slots=True)
class _Heard:
    """A capture to measure, and where its emitter is."""

    watched: _Watched
    capture: IqCapture
    fix: Fix
    beacon: BeaconWatch | None
    held: int  # bytes


class Watch:
    """One thread of low priority: what it has no time for it leaves out, for its samples need not be all."""

    def __init__(self, networks: Sequence[Network], metrics: Metrics) -> None:
        self._networks = {network.name: _watched(network) for network in networks}
        self._metrics = metrics
        self._thread = background_thread("watch")
        self._budgets = {True: Budget(_BEACON_SHARE, _SAVED_S), False: Budget(_OTHER_SHARE, _SAVED_S)}
        self._lock = Lock()  # of the budgets, and of what waits
        self._waiting = self._held = 0  # batches, bytes
        self._judged_s = -math.inf
        self._found: Found = ((), ())
        self._levels: dict[tuple[str, str], BeaconLevel] = {}

    def lowered(self, network: str) -> Mapping[str, float]:
        """The distrusted receivers of a network, and how much too late each stamps its samples, nanoseconds."""
        watched = self._networks.get(network)
        return watched.lowered if watched is not None else _NOTHING

    def use(self, versions: Iterable[str]) -> None:
        """These versions of the model answer from now on."""
        self._submit(self._keep, frozenset(versions))

    def offer(self, batch: Batch, results: Sequence[object]) -> None:
        """What became of a batch's items. Returns at once; any thread."""
        if not self._networks:
            return
        scored: list[tuple[BeaconWatch, Fix]] = []
        heard: list[_Heard] = []
        with self._lock:
            if self._waiting >= _MOST_WAITING:
                return
            for item, fix in zip(batch.items, results, strict=True):
                if not isinstance(fix, Fix) or fix.cache not in _FRESH:
                    continue
                watched = self._networks.get(fix.network)
                capture = item.original or item.capture
                if watched is None or capture is None:
                    continue
                beacon = watched.beacons.get(round(fix.center_frequency_hz))
                if beacon is not None:
                    scored.append((beacon, fix))
                if one := self._sampled(watched, capture, fix, beacon):
                    heard.append(one)
            if scored or heard:
                self._waiting += 1
        if scored or heard:
            self._submit(self._work, scored, heard)

    def status(self) -> Found:
        """The beacons that were heard, and the clocks of which something is known, as of the last look at them."""
        if self._networks:
            self._submit(self._look)  # for the next one who asks: who asks must not wait for a thread of low priority
        return self._found

    def refresh(self) -> None:
        """Sets the gauges."""
        beacons, clocks = self.status()
        metrics = self._metrics
        for gauge in (metrics.beacon_share, metrics.beacon_bias, metrics.beacon_level):
            gauge.clear()
        for gauge in (metrics.clock_offset, metrics.clock_distrusted):
            gauge.clear()
        for one in beacons:
            metrics.beacon_share.labels(one.name, "68", one.network).set(one.share_68)
            metrics.beacon_share.labels(one.name, "95", one.network).set(one.share_95)
            metrics.beacon_bias.labels(one.name, "east", one.network).set(one.bias_east_m)
            metrics.beacon_bias.labels(one.name, "north", one.network).set(one.bias_north_m)
            metrics.beacon_level.labels(one.name, one.network).set(list(BeaconLevel).index(one.level))
        for clock in clocks:
            metrics.clock_offset.labels(clock.receiver_id, clock.network).set(clock.offset_ns * 1e-9)
            metrics.clock_distrusted.labels(clock.receiver_id, clock.network).set(clock.distrusted)

    def close(self) -> None:
        """Abandons what waits."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _sampled(self, watched: _Watched, capture: IqCapture, fix: Fix, beacon: BeaconWatch | None) -> _Heard | None:
        """The capture, where there is time to measure it and it can tell something."""
        fewest = 4 if beacon is None else 2
        if watched.meter is None or len(capture.channels) < fewest or (beacon is None and fix.border):
            return None
        held = sum([len(channel.samples) for channel in capture.channels])
        if self._held and self._held + held > _MOST_BYTES:
            return None
        if not self._budgets[beacon is not None].take(time.monotonic()):
            return None
        self._held += held
        return _Heard(watched, capture, fix, beacon, held)

    def _submit(self, work: Callable[..., None], *what: object) -> None:
        with suppress(RuntimeError):  # the worker is stopping
            self._thread.submit(self._safely, work, *what)

    # The rest runs in the thread.

    def _safely(self, work: Callable[..., None], *what: object) -> None:
        try:
            work(*what)
        except Exception:  # who watches must not harm what is watched
            self._metrics.errors.labels("internal").inc()
            log.exception("A look at beacons and clocks failed; the next one is tried")

    def _keep(self, versions: frozenset[str]) -> None:
        for watched in self._networks.values():
            for beacon in watched.beacons.values():
                beacon.keep(versions)

    def _work(self, scored: list[tuple[BeaconWatch, Fix]], heard: list[_Heard]) -> None:
        with self._lock:
            self._waiting -= 1
        now_s = time.monotonic()
        for beacon, fix in scored:
            inside = beacon.add(fix, now_s)
            self._metrics.beacon_fixes.labels(beacon.name, inside, beacon.network).inc()
        for one in heard:
            self._measure(one, now_s)
        self._look()

    def _measure(self, one: _Heard, now_s: float) -> None:
        begun = time.monotonic()  # not the thread's own time: where others need the core, it is to do less
        watched, fix = one.watched, one.fix
        try:
            channels = watched.clocks.known(one.capture.channels)
            if watched.meter is None or len(channels) < 2:
                return
            arrivals = watched.meter.measure(channels)
            if arrivals is None:
                return
            channels = tuple(channels[i] for i in arrivals.who)
            place = (fix.latitude, fix.longitude) if one.beacon is None else one.beacon.place
            watched.clocks.add(channels, arrivals, fix.center_frequency_hz, place, one.beacon is not None, now_s)
        except ValueError as error:
            log.debug("Capture %s tells nothing of clocks: %s", one.capture.capture_id, error)
        finally:
            with self._lock:
                self._held -= one.held
                self._budgets[one.beacon is not None].took(time.monotonic() - begun)

    def _look(self) -> None:
        """What all of it amounts to, now and then. Says once in the log what has changed."""
        now_s = time.monotonic()
        if now_s - self._judged_s < _JUDGE_S:
            return
        self._judged_s = now_s
        beacons: list[BeaconStatus] = []
        clocks: list[ReceiverClock] = []
        for watched in self._networks.values():
            found = [beacon.judge(now_s) for beacon in watched.beacons.values()]
            for status in found:
                self._say_level(status)
            beacons += [status for status in found if status.fixes]
            before = {clock.receiver_id for clock in watched.found if clock.distrusted}
            watched.found = watched.clocks.judge(now_s)
            watched.lowered = watched.clocks.lowered()
            for clock in watched.found:
                _say_clock(clock, clock.receiver_id in before)
            clocks += watched.found
        self._found = tuple(beacons), tuple(clocks)

    def _say_level(self, status: BeaconStatus) -> None:
        before = self._levels.get((status.network, status.name), BeaconLevel.WAITING)
        self._levels[status.network, status.name] = status.level
        if status.level is before:
            return
        bad = status.level in (BeaconLevel.WATCH, BeaconLevel.ALERT)
        log.log(
            logging.WARNING if bad else logging.INFO,
            "Beacon %s of %s: %s after %s; of its %d newest fixes %.0f %% are inside their 68 %% ellipses and %.0f %% "
            "inside those of 95 %%, bias %.0f m east and %.0f m north",
            status.name, status.network, status.level.value, before.value, status.fixes, 100 * status.share_68,
            100 * status.share_95, status.bias_east_m, status.bias_north_m,
        )  # fmt: skip


def _watched(network: Network) -> _Watched:
    beacons = {round(network.beacon_frequency_hz(beacon)): BeaconWatch(network, beacon) for beacon in network.beacons}
    meter = None
    if len(network.receivers) >= (2 if beacons else 4):
        meter = ArrivalMeter(
            sample_rate_hz=network.sample_rate_hz,
            max_lag_s=Paths(network).longest_baseline_m() / network.speed_m_s + REACH_SAMPLES / network.sample_rate_hz,
            max_receivers=len(network.receivers),
            band_hz=network.features.band_hz,
            weighting=network.features.weighting,
        )
    return _Watched(beacons, ClockWatch(network), meter)


def _say_clock(clock: ReceiverClock, before: bool) -> None:
    if clock.distrusted and not before:
        log.warning(
            "Receiver %s of %s is distrusted: its clock is %.3f us %s by its residuals (sigma %.3f us, %d captures), "
            "more than it states; its weight is lowered",
            clock.receiver_id, clock.network, abs(clock.offset_ns) / 1e3, "late" if clock.offset_ns > 0 else "early",
            clock.sigma_ns / 1e3, clock.captures,
        )  # fmt: skip
    elif before and not clock.distrusted:
        log.info("Receiver %s of %s is trusted again", clock.receiver_id, clock.network)
