"""The stage that makes tracks of fixes: records in, tracks out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from stream_app.errors import CaptureError
from stream_app.kafka.offsets import Place
from stream_app.kafka.records import Output, Partition, RawRecord
from stream_app.kafka.stage import Step
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from stream_app.tracks.keeper import Change, PartitionTracks
from stream_app.tracks.metrics import TrackMetrics
from stream_app.tracks.restore import STEP, restored

log = logging.getLogger(__name__)
_UNDECODABLE = "undecodable"


@dataclass(slots=True)
class _Part:
    tracks: PartitionTracks
    offset: int | None  # where the group stands; None: it never committed
    step: int  # of its commits with tracks in them, the last one


class Tracker:
    """The ``Work`` of ``fixstream track``. Called from one thread.

    The tracks' records are the state, and hold all of it: they are committed together with the fixes' offsets, each
    in the partition of its fixes, and read from there by whoever has the partition next.
    """

    def __init__(self, settings: Settings, codecs: Codecs, metrics: TrackMetrics) -> None:
        self._settings, self._codecs, self._metrics = settings, codecs, metrics
        self._parts: dict[Partition, _Part] = {}

    def __len__(self) -> int:
        """Tracks that are followed."""
        return sum(len(part.tracks) for part in self._parts.values())

    def assigned(self, partition: Partition, place: Place | None) -> None:
        """Goes on with the tracks as they were left. Raises BrokerUnavailable."""
        step = _step(place)
        found = restored(self._settings, self._codecs, partition[1], step)
        offset = None if place is None else place.offset
        self._parts[partition] = _Part(PartitionTracks(self._settings, found), offset, step)
        log.info("Partition %d: %d tracks are followed", partition[1], len(found))

    def revoked(self, partition: Partition) -> None:
        """Whoever has it now reads the tracks from their topic."""
        self._parts.pop(partition, None)

    def take(self, records: Sequence[RawRecord]) -> Step:
        """The tracks that these fixes change."""
        changes: dict[Partition, list[Change]] = {}
        for record in records:
            part = self._parts[record.source]
            changes.setdefault(record.source, []).extend(self._changes(part, record))
            part.offset = record.offset + 1
        return self._step(changes)

    def quiet(self, partition: Partition, seconds: float) -> Step:
        """Ends the tracks that have been silent for too long, by the wall clock: no record says what time it is."""
        part = self._parts[partition]
        if part.offset is None:
            return Step()
        changes = part.tracks.quiet(time.time_ns() // 1_000_000)
        self._count(changes)
        return self._step({partition: changes}) if changes else Step()

    def refused(self, output: Output) -> Sequence[Output]:
        """A track is some hundred bytes: who refuses that takes none at all, and the log says so."""
        log.error("%s takes no record of %d bytes: check max.message.bytes", output.topic, len(output.value or b""))
        return []

    def _changes(self, part: _Part, record: RawRecord) -> list[Change]:
        try:
            if record.refusal is not None:
                raise record.refusal
            fix = self._codecs.decode_fix(record.value)
        except CaptureError as error:
            # It stays where it is, in our own topic: a copy elsewhere would tell no more.
            self._metrics.fixes.labels(_UNDECODABLE).inc()
            log.warning("%s %d:%d is no fix: %s", record.topic, record.partition, record.offset, error)
            return []
        outcome, changes = part.tracks.take(fix, record.at_ms)
        self._metrics.fixes.labels(outcome.value).inc()
        self._count(changes)
        return changes

    def _count(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.event is not None:
                self._metrics.events.labels(change.event.value).inc()

    def _step(self, changes: dict[Partition, list[Change]]) -> Step:
        step = Step()
        for partition, found in changes.items():
            part = self._parts[partition]
            if found:
                part.step += 1
                step.outputs += [self._output(change, partition, part.step) for change in found]
            step.places[partition] = Place(part.offset or 0, f"t1 {part.step}")
        return step

    def _output(self, change: Change, source: Partition, step: int) -> Output:
        value = None if change.track is None else self._codecs.encode_track(change.track)
        headers = [(STEP, str(step).encode())]
        return Output(
            self._settings.tracks_topic,
            change.track_id.encode(),
            value,
            headers,
            source,
            partition=source[1],
            at_ms=change.heard_ms,
        )


def _step(place: Place | None) -> int:
    """The step that a tracker's note names; 0 where there is none, or none of ours."""
    version, _, number = ("" if place is None else place.note).partition(" ")
    return int(number) if version == "t1" and number.isdecimal() else 0
