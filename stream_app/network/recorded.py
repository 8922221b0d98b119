"""Folders of ``fixstream record``, back to the captures that they were, field by field."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from stream_app.errors import InvalidCapture, RecordingError
from stream_app.network.instant import parse_instant
from stream_app.network.sigmf_file import EXTENSION, Segment, SigmfRecording, open_sigmf
from stream_app.records.capture import Channel, IqCapture
from stream_app.records.validate import check_capture


@dataclass(frozen=True, slots=True)
class _Entry:
    """One channel of a capture, in a file."""

    number: int
    place: int
    file: SigmfRecording
    segment: Segment

    def of(self, name: str) -> Any:
        return self.segment.fields.get(f"{EXTENSION}:{name}")


def recorded_captures(folder: Path) -> Iterator[IqCapture]:
    """The captures in their order, a part in memory at a time. Raises RecordingError, which names file or capture."""
    for part in _parts(folder):
        files = [open_sigmf(meta) for meta in sorted(part.glob("*.sigmf-meta"))]
        if not files:
            raise RecordingError(f"{part} holds no *.sigmf-meta: it is no part that fixstream record wrote")
        entries = heapq.merge(*map(_entries, files), key=lambda entry: (entry.number, entry.place))
        for _, channels in groupby(entries, key=lambda entry: entry.number):
            yield _capture(part, list(channels))


def _parts(folder: Path) -> list[Path]:
    try:
        parts = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise RecordingError(f"cannot read {folder}: {error.strerror}") from error
    if not parts:
        raise RecordingError(f"{folder} holds no recorded captures: give a folder of fixstream record, or files")
    return parts


def _entries(file: SigmfRecording) -> Iterator[_Entry]:
    for segment in file.segments:
        number, place = (segment.fields.get(f"{EXTENSION}:{name}") for name in ("number", "channel"))
        if not isinstance(number, int) or not isinstance(place, int):
            raise RecordingError(f"{file.name} is no recording of fixstream record: replay it as a file")
        yield _Entry(number, place, file, segment)


def _capture(part: Path, entries: list[_Entry]) -> IqCapture:
    first = entries[0]
    wanted = first.of("channels")
    if [entry.place for entry in entries] != list(range(wanted if isinstance(wanted, int) else 0)):
        raise RecordingError(
            f"capture {first.number} of {part} has {len(entries)} of its {wanted} channels: a file is missing or broken"
        )
    try:
        capture = IqCapture(
            capture_id=first.of("capture_id"),
            network=first.of("network"),
            captured_at_us=first.of("captured_at_us"),
            center_frequency_hz=float(first.segment.fields["core:frequency"]),
            channels=tuple([_channel(entry) for entry in entries]),
            metadata=first.of("metadata"),
        )
        check_capture(capture)
    except (InvalidCapture, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"capture {first.number} of {part} cannot be what was recorded: {error}") from error
    return capture


def _channel(entry: _Entry) -> Channel:
    file, fields = entry.file, entry.segment.fields
    longitude, latitude, altitude = fields["core:geolocation"]["coordinates"]
    return Channel(
        receiver_id=file.fields[f"{EXTENSION}:receiver_id"],
        latitude=float(latitude),
        longitude=float(longitude),
        altitude_m=float(altitude),
        start_time_ns=parse_instant(fields["core:datetime"]),
        sample_rate_hz=float(entry.of("sample_rate_hz")),
        datatype=file.datatype,
        sample_count=len(entry.segment.samples),
        samples=entry.segment.samples.tobytes(),
        start_sigma_ns=entry.of("start_sigma_ns"),
        time_sync=entry.of("time_sync"),
        gain_db=entry.of("gain_db"),
        antenna_id=entry.of("antenna_id"),
        loss_ratio=entry.of("loss_ratio"),
        overload=entry.of("overload"),
    )
