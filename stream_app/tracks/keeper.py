"""The tracks of one partition of fixes: which track takes a fix, and what becomes of the others.

A pure function of the fixes in their order and of their records' times; all state is in the tracks' records.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from stream_app.geo.ellipse import scale
from stream_app.records.fix import Fix
from stream_app.records.track import Track, TrackState
from stream_app.settings import Settings
from stream_app.tracks.filter import Array, Sight, begun, corrected, sight
from stream_app.tracks.life import Event, after
from stream_app.tracks.record import estimate_of, new_track, with_fix

Key = tuple[str, float]  # network, centre frequency
_FLATTEST = 1e-12  # of the minor axis' variance over the major one's


class Outcome(StrEnum):
    """What became of a fix. The values are the metric's label."""

    TAKEN = "taken"
    STARTED = "started"  # a track of its own
    REPEATED = "repeated"  # the capture was taken before
    LATE = "late"  # captured before what its track has already
    BORDER = "border"  # leans on the border of the model's area: its ellipse does not say where the emitter is
    VAGUE = "vague"  # too large an ellipse
    UNUSABLE = "unusable"  # no position, or no covariance


@dataclass(frozen=True, slots=True)
class Change:
    """A track's new record; None: it is to be forgotten."""

    track_id: str
    track: Track | None
    event: Event | None  # None: the tombstone after the last record
    heard_ms: int  # the record's time


@dataclass(slots=True)
class Held:
    """A track, and the time of the record that brought its newest fix (Unix, ms)."""

    track: Track
    heard_ms: int

    @property
    def key(self) -> Key:
        """What its fixes have in common."""
        return self.track.network, self.track.center_frequency_hz

    @property
    def confirmed(self) -> bool:
        """Whether it is held for an emitter."""
        return self.track.state is TrackState.CONFIRMED


class PartitionTracks:
    """Not thread-safe. Silence is measured in the times of the fixes' records, which no receiver's clock spoils."""

    def __init__(self, settings: Settings, restored: Iterable[tuple[Track, int]] = ()) -> None:
        """``restored``: tracks as they were left, each with its record's time (ms)."""
        self._settings = settings
        self._gate = scale(settings.track_gate) ** 2
        self._silence_ms = round(settings.track_silence_s * 1e3)
        self._by_key: dict[Key, dict[str, Held]] = {}
        self._due: list[tuple[int, str, Key]] = []  # a heap: when each track was heard last, or earlier
        self._count = 0
        self._clock_ms = 0
        for track, heard_ms in restored:
            self._clock_ms = max(self._clock_ms, heard_ms)
            self._hold(Held(track, heard_ms))

    def __len__(self) -> int:
        return self._count

    def tracks(self) -> list[Track]:
        """All that are held."""
        return [held.track for tracks in self._by_key.values() for held in tracks.values()]

    def take(self, fix: Fix, heard_ms: int) -> tuple[Outcome, list[Change]]:
        """What becomes of a fix whose record is of that time, and which tracks' records change by it."""
        self._clock_ms = max(self._clock_ms, heard_ms)
        changes = self._end_silent()
        refusal = self._refusal(fix)
        if refusal is not None:
            return refusal, changes
        covariance = np.array(fix.covariance)
        neighbours = self._by_key.get((fix.network, fix.center_frequency_hz), {})
        if any(held.track.capture_id == fix.capture_id for held in neighbours.values()):
            return Outcome.REPEATED, changes
        if self._outdated(fix, neighbours):
            return Outcome.LATE, changes
        found = self._nearest(fix, covariance, neighbours)
        if found is None:
            changes += self._missed(neighbours)
            changes += self._start(fix, covariance)
            return Outcome.STARTED, changes
        held, seen = found
        if fix.captured_at_us <= held.track.at_us:
            return Outcome.LATE, changes
        if not held.confirmed:
            changes += self._missed(neighbours, held)
        changes.append(self._update(held, fix, seen))
        return Outcome.TAKEN, changes

    def quiet(self, now_ms: int) -> list[Change]:
        """Nothing more is to be read at that time: which tracks end by it."""
        self._clock_ms = max(self._clock_ms, now_ms)
        return self._end_silent()

    def _refusal(self, fix: Fix) -> Outcome | None:
        (ee, en), (_, nn) = fix.covariance
        if not all(map(math.isfinite, (fix.latitude, fix.longitude, ee, en, nn))):
            return Outcome.UNUSABLE
        middle, half = 0.5 * (ee + nn), math.hypot(0.5 * (ee - nn), en)
        most, least = middle + half, middle - half  # variances along the ellipse's axes
        # A flat ellipse would be a certainty that no receiver can give, and the filter could not weigh it.
        if abs(fix.latitude) > 90 or abs(fix.longitude) > 180 or least <= _FLATTEST * most:
            return Outcome.UNUSABLE
        if fix.border:
            return Outcome.BORDER
        return Outcome.VAGUE if most > self._settings.track_max_sigma_m**2 else None

    def _outdated(self, fix: Fix, neighbours: dict[str, Held]) -> bool:
        """Whether it is from before anything that is still followed: a replay must not raise ghosts."""
        newest = max((held.track.at_us for held in neighbours.values() if held.confirmed), default=None)
        return newest is not None and newest - fix.captured_at_us > self._silence_ms * 1000

    def _nearest(self, fix: Fix, covariance: Array, neighbours: dict[str, Held]) -> tuple[Held, Sight] | None:
        """The track that takes the fix: of those that have it in their gate, confirmed ones first, the likeliest."""
        best: tuple[bool, float] | None = None
        found: tuple[Held, Sight] | None = None
        for held in neighbours.values():
            elapsed_s = (fix.captured_at_us - held.track.at_us) * 1e-6
            if abs(elapsed_s) > self._settings.track_silence_s:
                continue
            seen = sight(
                estimate_of(held.track),
                fix.latitude,
                fix.longitude,
                covariance,
                elapsed_s,
                self._settings.track_acceleration,
            )
            rank = (not held.confirmed, seen.surprise)
            if seen.distance2 <= self._gate and (best is None or rank < best):
                best, found = rank, (held, seen)
        return found

    def _start(self, fix: Fix, covariance: Array) -> list[Change]:
        changes = []
        neighbours = self._by_key.get((fix.network, fix.center_frequency_hz), {})
        if len(neighbours) >= self._settings.track_max_per_key:
            changes += self._crowd_out(neighbours.values())
        if self._count >= self._settings.track_max_per_partition:
            changes += self._crowd_out(held for tracks in self._by_key.values() for held in tracks.values())
        estimate = begun(fix.latitude, fix.longitude, covariance, self._settings.track_speed_m_s)
        state = after(None, Event.STARTED)
        held = Held(new_track(fix, estimate, state, self._settings.ellipse_confidence), self._clock_ms)
        self._hold(held)
        return [*changes, Change(held.track.track_id, held.track, Event.STARTED, self._clock_ms)]

    def _update(self, held: Held, fix: Fix, seen: Sight) -> Change:
        track = with_fix(held.track, fix, corrected(estimate_of(held.track), seen))
        enough = not held.confirmed and track.fixes >= self._settings.track_confirm_fixes
        event = Event.CONFIRMED if enough else Event.TAKEN
        state = after(track.state, event)
        # A tentative track's misses count since it began; a confirmed one's since its newest fix.
        rejected = 0 if state is TrackState.CONFIRMED else track.rejected
        held.track, held.heard_ms = replace(track, state=state, rejected=rejected), self._clock_ms
        return Change(track.track_id, held.track, event, self._clock_ms)

    def _missed(self, neighbours: dict[str, Held], taker: Held | None = None) -> list[Change]:
        """A fix that no confirmed track took was not of these either."""
        changes = []
        allowed = self._settings.track_confirm_of - self._settings.track_confirm_fixes
        for held in [held for held in neighbours.values() if held is not taker]:
            held.track = replace(held.track, rejected=held.track.rejected + 1)
            if not held.confirmed and held.track.rejected > allowed:
                changes += self._end(held, Event.DOUBTED)
            else:
                held.track = replace(held.track, state=after(held.track.state, Event.MISSED))
                # Still of the time when it was heard last: that is what its silence is measured from.
                changes.append(Change(held.track.track_id, held.track, Event.MISSED, held.heard_ms))
        return changes

    def _crowd_out(self, candidates: Iterable[Held]) -> list[Change]:
        return self._end(min(candidates, key=lambda held: (held.confirmed, held.heard_ms)), Event.CROWDED)

    def _end_silent(self) -> list[Change]:
        changes: list[Change] = []
        while self._due and self._due[0][0] < self._clock_ms - self._silence_ms:
            noted_ms, track_id, key = heapq.heappop(self._due)
            held = self._by_key.get(key, {}).get(track_id)
            if held is None:  # it ended before
                continue
            if held.heard_ms > noted_ms:
                heapq.heappush(self._due, (held.heard_ms, track_id, key))
            else:
                changes += self._end(held, Event.SILENT)
        return changes

    def _hold(self, held: Held) -> None:
        self._by_key.setdefault(held.key, {})[held.track.track_id] = held
        heapq.heappush(self._due, (held.heard_ms, held.track.track_id, held.key))
        self._count += 1

    def _end(self, held: Held, event: Event) -> list[Change]:
        track = replace(held.track, state=after(held.track.state, event))
        tracks = self._by_key[held.key]
        del tracks[track.track_id]
        if not tracks:
            del self._by_key[held.key]
        self._count -= 1
        return [
            Change(track.track_id, track, event, self._clock_ms),
            Change(track.track_id, None, None, self._clock_ms),
        ]
