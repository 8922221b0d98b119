"""What the workers say of themselves, of beacons and of receivers' clocks, as pages read it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stream_app.models.control import silence_us
from stream_app.records.deployment import BeaconLevel, BeaconStatus, ModelStatus, ReceiverClock

if TYPE_CHECKING:
    from stream_app.network.file import Network

_WORST_FIRST = (BeaconLevel.ALERT, BeaconLevel.WATCH, BeaconLevel.OK, BeaconLevel.WAITING)


def workers_out(statuses: Iterable[ModelStatus], now_ms: int, every_s: float) -> list[dict[str, Any]]:
    """Each worker: what it runs, and for how long it has been silent."""
    return [
        {
            "name": one.worker,
            "model": one.model_name,
            "revision": one.running_revision,
            "state": one.state.value,
            "reason": one.reason,
            "silent_s": round(max(0, now_ms - one.at_us // 1000) / 1e3, 1),
            "gone": now_ms * 1000 - one.at_us > silence_us(every_s),
            "versions": [
                {"version": v.version, "weight": v.weight, "mode": v.mode.value, "suspended": v.suspended}
                for v in one.versions
            ],
        }
        for one in sorted(statuses, key=lambda one: one.worker)
    ]


def beacons_out(statuses: Iterable[ModelStatus]) -> list[dict[str, Any]]:
    """Each beacon as the worker with the worst to say of it, among those with most fixes, sees it."""
    found: dict[tuple[str, str], BeaconStatus] = {}
    for beacon in (beacon for one in statuses for beacon in one.beacons):
        known = found.get((beacon.network, beacon.name))
        if known is None or _badness(beacon) < _badness(known):
            found[beacon.network, beacon.name] = beacon
    return [asdict(found[place]) | {"level": found[place].level.value} for place in sorted(found)]


def clocks_out(statuses: Iterable[ModelStatus]) -> list[dict[str, Any]]:
    """Each receiver's clock as the worker sees it that knows it best."""
    found: dict[tuple[str, str], ReceiverClock] = {}
    for clock in (clock for one in statuses for clock in one.clocks):
        known = found.get((clock.network, clock.receiver_id))
        if known is None or clock.captures > known.captures:
            found[clock.network, clock.receiver_id] = clock
    return [asdict(found[place]) for place in sorted(found)]


def network_out(network: Network) -> dict[str, Any]:
    """What the map draws of a network's file."""
    return {
        "name": network.name,
        "area": [network.area.west, network.area.south, network.area.east, network.area.north],
        "receivers": [
            {"id": r.receiver_id, "lat": r.latitude, "lon": r.longitude, "alt": r.altitude_m} for r in network.receivers
        ],
        "beacons": [
            {"name": b.name, "lat": b.latitude, "lon": b.longitude, "hz": network.beacon_frequency_hz(b)}
            for b in network.beacons
        ],
    }


def _badness(beacon: BeaconStatus) -> tuple[int, int]:
    return _WORST_FIRST.index(beacon.level), -beacon.fixes
