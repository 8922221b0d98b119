"""What the map shows: the fixes of the last hour, tracks, and how the stream is. No I/O, and bounded."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import uuid4

from stream_app.geo.ellipse import scale
from stream_app.records.deployment import ModelStatus
from stream_app.records.fix import CacheOutcome, Fix
from stream_app.records.track import Track, TrackState

HOUR_MS = 3_600_000
DRAWN = 2_000  # fixes that a page draws at most
_WHOLE_MS, _WHOLE = 60_000, 12_000  # the newest are all kept, so long and so many
_A_SECOND = 10  # of the older ones so many a second are kept
_WINDOW_MS, _RATE_MS = 60_000, 10_000  # what shares and latencies, and what rates are of
_TRACKS, _POINTS, _POINT_MS = 500, 720, 1_000
_BUCKET_MS = 10_000  # of the time line
_HITS = frozenset({CacheOutcome.EXACT, CacheOutcome.FEATURES, CacheOutcome.BATCH})
_REPLAY_MS = HOUR_MS  # captures older than this when they come are a recording's or a simulator's
_95 = scale(0.95)


@dataclass(slots=True)
class Shown:
    """A fix on the map: its number, the broker's time of it (Unix, ms), how pages get it, and its own record."""

    number: int
    at_ms: int
    text: str
    value: bytes = field(repr=False)


@dataclass(slots=True)
class _Seen:
    at_ms: int
    version: int
    cache: CacheOutcome
    latency_ms: float | None  # None: it came with the history
    total_ms: float


@dataclass(slots=True)
class _Way:
    track: Track
    at_ms: int
    version: int | None
    # (ms, longitude, latitude)
    points: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=_POINTS))


class Picture:
    """Not thread-safe: all of it happens on one event loop. ``run`` tells this picture from an earlier server's."""

    def __init__(self) -> None:
        self.run = uuid4().hex[:8]
        self.newest = 0
        self.changes = 0  # of tracks
        self.versions: list[tuple[str, str]] = []
        self.networks: list[str] = []
        self.problem = "it is just being read"
        self.lag: int | None = None
        self.letters: Counter[str] = Counter()
        self.statuses: dict[str, ModelStatus] = {}
        self._whole: deque[Shown] = deque()
        self._thinned: deque[Shown] = deque()
        self._by_number: dict[int, Shown] = {}
        self._seconds: Counter[int] = Counter()
        self._seen: deque[_Seen] = deque(maxlen=_WHOLE)
        self._buckets: OrderedDict[int, int] = OrderedDict()
        self._ways: OrderedDict[str, _Way] = OrderedDict()
        self._version_of: OrderedDict[str, int] = OrderedDict()  # by capture_id

    def take_fix(self, fix: Fix, value: bytes, at_ms: int, now_ms: int | None) -> None:
        """Adds a fix. ``now_ms``: when it was read; None: it is history."""
        if self._whole:
            at_ms = max(at_ms, self._whole[-1].at_ms)  # partitions are not in step to the millisecond
        self.newest += 1
        version = _index(self.versions, (fix.model_name, fix.model_version))
        shown = Shown(self.newest, at_ms, self._row(fix, at_ms, version), value)
        self._whole.append(shown)
        self._by_number[self.newest] = shown
        latency = None if now_ms is None else now_ms - fix.captured_at_us / 1e3
        self._seen.append(_Seen(at_ms, version, fix.cache, latency, fix.timings.total_ms))
        bucket = at_ms // _BUCKET_MS
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self._version_of[fix.capture_id] = version
        if len(self._version_of) > DRAWN:
            self._version_of.popitem(last=False)
        self._forget(at_ms)

    def take_track(self, track: Track, at_ms: int) -> None:
        """Moves a track; one that has ended goes."""
        self.changes += 1
        if track.state is TrackState.ENDED:
            self._ways.pop(track.track_id, None)
            return
        way = self._ways.setdefault(track.track_id, _Way(track, at_ms, None))
        way.track, way.at_ms = track, at_ms
        way.version = self._version_of.get(track.capture_id, way.version)
        if not way.points or at_ms - way.points[-1][0] >= _POINT_MS:
            way.points.append((at_ms, round(track.longitude, 6), round(track.latitude, 6)))
        self._ways.move_to_end(track.track_id)
        while len(self._ways) > _TRACKS:
            self._ways.popitem(last=False)

    def drop_track(self, track_id: str) -> None:
        """Removes a track that was dropped from its topic."""
        self.changes += 1
        self._ways.pop(track_id, None)

    def since(self, number: int, most: int) -> tuple[list[str], int]:
        """The newest fixes after that number, up to ``most``, oldest first; and how many were left out."""
        found = _first(most, (shown for shown in reversed(self._whole) if shown.number > number), number)
        return [shown.text for shown in reversed(found)], max(0, self.newest - number - len(found))

    def before(self, at_ms: int, window_ms: int, most: int = DRAWN) -> list[str]:
        """The newest fixes of the window that ends at that time, up to ``most``, oldest first."""
        found: list[Shown] = []
        for shown in chain(reversed(self._whole), reversed(self._thinned)):
            if shown.at_ms > at_ms:
                continue
            if shown.at_ms <= at_ms - window_ms or len(found) == most:
                break
            found.append(shown)
        return [shown.text for shown in reversed(found)]

    def record(self, number: int) -> bytes | None:
        """The Avro record of a fix; None where it is not kept any more."""
        shown = self._by_number.get(number)
        return None if shown is None else shown.value

    def tracks(self, at_ms: int | None = None) -> list[dict[str, Any]]:
        """All tracks with their ways, those of a moment only as far as their points up to it."""
        found = []
        for way in self._ways.values():
            points = [[x, y] for ms, x, y in way.points if at_ms is None or ms <= at_ms]
            if points:
                found.append(_track(way, points))
        return found

    def timeline(self, now_ms: int) -> dict[str, Any]:
        """Fixes in each ten seconds of the last hour, oldest first."""
        last = now_ms // _BUCKET_MS
        first = last - HOUR_MS // _BUCKET_MS + 1
        return {
            "from": first * _BUCKET_MS,
            "step": _BUCKET_MS,
            "counts": [self._buckets.get(bucket, 0) for bucket in range(first, last + 1)],
        }

    def stats(self, now_ms: int) -> dict[str, Any]:
        """What the side panel shows. Rates are of ten seconds; shares and latencies of a minute."""
        seen = [one for one in self._seen if now_ms - one.at_ms < _WINDOW_MS]
        latencies = sorted(one.latency_ms for one in seen if one.latency_ms is not None)
        asked = [one for one in seen if one.cache is not CacheOutcome.DISABLED]
        counts = Counter(one.version for one in seen)
        return {
            "now": now_ms,
            "rate": sum(now_ms - one.at_ms < _RATE_MS for one in seen) / (_RATE_MS / 1e3),
            "fixes": self.newest,
            "latency": _quantiles(latencies),
            "replay": bool(latencies) and _at(latencies, 0.5) > _REPLAY_MS,
            "worker": _quantiles(sorted(one.total_ms for one in seen)),
            "cache": sum(one.cache in _HITS for one in asked) / len(asked) if asked else None,
            "shares": [counts[index] / len(seen) if seen else 0.0 for index in range(len(self.versions))],
            "lag": self.lag,
            "letters": dict(self.letters.most_common(12)),
            "problem": self.problem,
        }

    def names(self) -> dict[str, Any]:
        """What the numbers in rows stand for."""
        return {"versions": [list(pair) for pair in self.versions], "networks": self.networks}

    def _row(self, fix: Fix, at_ms: int, version: int) -> str:
        """As pages read it: number, ms, Hz, latitude, longitude, axes of the 95 % ellipse, its direction, version,
        network, cache, and whether it is on the border (1), a fallback (2), or has distrusted receivers (4).
        """
        flags = fix.border + 2 * fix.fallback + 4 * bool(fix.distrusted)
        network = _index(self.networks, fix.network)
        return (
            f"[{self.newest},{at_ms},{fix.center_frequency_hz:.0f},{fix.latitude:.6f},{fix.longitude:.6f},"
            f"{_95 * fix.sigma_x_m:.2f},{_95 * fix.sigma_y_m:.2f},{fix.orientation_deg:.2f},{version},{network},"
            f"{int(fix.cache in _HITS)},{flags}]"
        )

    def _forget(self, now_ms: int) -> None:
        while len(self._whole) > _WHOLE or now_ms - self._whole[0].at_ms > _WHOLE_MS:
            shown = self._whole.popleft()
            second = shown.at_ms // 1000
            if self._seconds[second] < _A_SECOND:
                self._seconds[second] += 1
                self._thinned.append(shown)
            else:
                del self._by_number[shown.number]
        while self._thinned and now_ms - self._thinned[0].at_ms > HOUR_MS:
            shown = self._thinned.popleft()
            self._seconds.pop(shown.at_ms // 1000, None)
            del self._by_number[shown.number]
        while (now_ms - next(iter(self._buckets)) * _BUCKET_MS) > HOUR_MS + _BUCKET_MS:
            self._buckets.popitem(last=False)


def compact(value: Any) -> str:
    """JSON without spaces, ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _first(most: int, found: Iterator[Shown], after: int) -> list[Shown]:
    first: list[Shown] = []
    for shown in found:
        first.append(shown)
        if len(first) == most or shown.number == after + 1:
            break
    return first


def _index(names: list[Any], name: Any) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


def _quantiles(ordered: Sequence[float]) -> list[float] | None:
    """p50 and p95 of sorted values, rounded to a tenth."""
    return [round(_at(ordered, 0.5), 1), round(_at(ordered, 0.95), 1)] if ordered else None


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _track(way: _Way, points: list[list[float]]) -> dict[str, Any]:
    track = way.track
    k = _95 / scale(track.confidence)
    return {
        "id": track.track_id,
        "network": track.network,
        "hz": track.center_frequency_hz,
        "state": track.state.value,
        "at": way.at_ms,
        "since": track.started_at_us // 1000,
        "version": way.version,
        "ve": round(track.velocity_east_m_s, 3),
        "vn": round(track.velocity_north_m_s, 3),
        "axes": [round(k * track.semi_major_m, 2), round(k * track.semi_minor_m, 2), round(track.orientation_deg, 2)],
        "speed": [round(track.speed_m_s, 2), round(track.speed_sigma_m_s, 2)],
        "course": None
        if track.course_deg is None
        else [round(track.course_deg, 1), round(track.course_sigma_deg or 0, 1)],
        "fixes": track.fixes,
        "rejected": track.rejected,
        "points": points,
    }
