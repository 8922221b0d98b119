"""Recordings of one moment become captures, or receptions, of slots that all receivers agree on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stream_app.errors import InvalidCapture, NetworkFileError, RecordingError
from stream_app.network.file import Network
from stream_app.network.recording import Place, Recording
from stream_app.records.capture import Channel, IqCapture
from stream_app.records.slots import NS, first_sample, next_slot_ns, sample_time_ns, samples_in, slot_length_ns
from stream_app.records.validate import check_capture


@dataclass(frozen=True, slots=True)
class Piece:
    """What one recording holds of a slot."""

    recording: Recording
    place: Place
    first: int
    count: int

    def channel(self) -> Channel:
        """The samples, copied from the recording."""
        recording, place = self.recording, self.place
        return Channel(
            receiver_id=recording.receiver_id,
            latitude=place.latitude,
            longitude=place.longitude,
            altitude_m=place.altitude_m or 0.0,
            start_time_ns=sample_time_ns(recording.start_time_ns, self.first, recording.sample_rate_hz),
            sample_rate_hz=recording.sample_rate_hz,
            datatype=recording.datatype,
            sample_count=self.count,
            samples=recording.samples[self.first : self.first + self.count].tobytes(),
            start_sigma_ns=recording.start_sigma_ns,
            time_sync=recording.time_sync,
        )


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot, and the receivers that cover all of it."""

    at_us: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Cutting:
    """Recordings, cut into slots: a schedule's, or those that their annotations mark."""

    network: str
    center_frequency_hz: float
    slots: tuple[Slot, ...]  # in order, each with a piece at least
    receivers: int
    shared_s: float  # that all receivers cover

    def captures(self) -> list[Slot]:
        """The slots that all receivers cover. Raises RecordingError where that is none."""
        if self.receivers < 2:
            raise RecordingError(f"the recordings are of {self.receivers} receiver; a fix needs at least 2 receivers")
        found = [slot for slot in self.slots if len(slot.pieces) == self.receivers]
        if not found:
            raise RecordingError(f"the recordings share {self.shared_s:.3f} s, too little for one capture")
        return found

    def capture(self, slot: Slot) -> IqCapture:
        """All of a slot together. Raises RecordingError where that cannot be true."""
        capture = IqCapture(
            capture_id=f"{self.network}-{slot.at_us}",
            network=self.network,
            captured_at_us=slot.at_us,
            center_frequency_hz=self.center_frequency_hz,
            channels=tuple([piece.channel() for piece in slot.pieces]),
        )
        try:
            check_capture(capture)
        except InvalidCapture as error:
            raise RecordingError(f"what is recorded cannot be true: {error}") from error
        return capture


def captures_of(
    recordings: Sequence[Recording], network: Network, capture_seconds: float | None = 1.0
) -> Iterator[IqCapture]:
    """The captures of ``cut`` that all recordings cover. Raises what it raises, and RecordingError where none is."""
    cutting = cut(recordings, network, capture_seconds)
    return map(cutting.capture, cutting.captures())


def cut(recordings: Sequence[Recording], network: Network, capture_seconds: float | None) -> Cutting:
    """Slots of ``capture_seconds``, at whole multiples of it; None: what the recordings' annotations mark, else 1 s.

    Annotations are those of the first receiver that has some. Places come from the recordings or the network file.
    Raises RecordingError where the recordings do not belong together, NetworkFileError where a receiver's place is not
    known.
    """
    frequency = _frequency(recordings, network)
    stations = _stations(recordings)
    places = {name: _place(parts[0], network) for name, parts in stations.items()}
    begin = max(parts[0].start_time_ns for parts in stations.values())
    end = min(parts[-1].end_time_ns for parts in stations.values())
    found = []
    for at_ns, length_ns in _spans(stations, capture_seconds):
        tried = [_piece(parts, places[name], at_ns, length_ns) for name, parts in stations.items()]
        pieces = tuple([piece for piece in tried if piece is not None])
        if pieces:
            found.append(Slot(at_ns // 1000, pieces))
    return Cutting(network.name, frequency, tuple(found), len(stations), max(0, end - begin) / NS)


def _spans(stations: dict[str, list[Recording]], capture_seconds: float | None) -> Iterator[tuple[int, int]]:
    """Start and length of each slot, ns."""
    if capture_seconds is None:
        marked = next((parts for parts in stations.values() if any(part.marks for part in parts)), None)
        if marked is not None:
            yield from sorted({_marked(part, *mark) for part in marked for mark in part.marks})
            return
    length = slot_length_ns(1.0 if capture_seconds is None else capture_seconds)
    if length <= 0:
        raise RecordingError(f"a capture cannot last {capture_seconds} s: give a positive length")
    recordings = [part for parts in stations.values() for part in parts]
    # Not from the first to the last of all times: between two files may lie years.
    yield from sorted({span for recording in recordings for span in _scheduled(recording, length)})


def _scheduled(recording: Recording, length_ns: int) -> Iterator[tuple[int, int]]:
    if samples_in(length_ns, recording.sample_rate_hz) < 2:
        return
    # From one before: a recording that begins less than a sample later has all of it.
    at, end = next_slot_ns(recording.start_time_ns, length_ns) - length_ns, recording.end_time_ns
    while at < end:
        yield at, length_ns
        at += length_ns


def _marked(recording: Recording, first: int, count: int) -> tuple[int, int]:
    rate = recording.sample_rate_hz
    return sample_time_ns(recording.start_time_ns, first, rate), round(count * NS / rate)


def _piece(parts: Sequence[Recording], place: Place, at_ns: int, length_ns: int) -> Piece | None:
    for part in parts:
        first = first_sample(part.start_time_ns, part.sample_rate_hz, at_ns)
        count = samples_in(length_ns, part.sample_rate_hz)
        if first >= 0 and count >= 2 and first + count <= len(part.samples):
            return Piece(part, place, first, count)
    return None


def _stations(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    """The recordings of each receiver, in order of time."""
    stations: dict[str, list[Recording]] = {}
    for recording in recordings:
        stations.setdefault(recording.receiver_id, []).append(recording)
    for name, parts in stations.items():
        parts.sort(key=lambda part: part.start_time_ns)
        for before, after in pairwise(parts):
            if after.start_time_ns < before.end_time_ns - NS / before.sample_rate_hz:
                raise RecordingError(
                    f"one receiver appears twice: {before.source} and {after.source} hold the same time of {name}: "
                    "give one recording each, or name their receivers with --receiver"
                )
    return stations


def _place(recording: Recording, network: Network) -> Place:
    known, stated = network.receiver(recording.receiver_id), recording.place
    if stated is not None:
        altitude = stated.altitude_m
        if altitude is None:
            altitude = known.altitude_m if known else 0.0
        return Place(stated.latitude, stated.longitude, altitude)
    if known is not None:
        return Place(known.latitude, known.longitude, known.altitude_m)
    names = ", ".join(r.receiver_id for r in network.receivers)
    raise NetworkFileError(
        f"network {network.name} has no receiver {recording.receiver_id!r}, whose recording {recording.source} is "
        f"given: add it to the file's receivers (there are {names}), or name the files' receivers with --receiver"
    )


def _frequency(recordings: Sequence[Recording], network: Network) -> float:
    stated = {
        network.center_frequency_hz if recording.center_frequency_hz is None else recording.center_frequency_hz
        for recording in recordings
    }
    if not stated:
        raise RecordingError("the files hold no recording")
    if len(stated) > 1:
        raise RecordingError(
            f"the recordings are of different center frequencies ({', '.join(f'{f:.0f}' for f in sorted(stated))} Hz): "
            "give those of one signal"
        )
    return stated.pop()
