"""Files of all kinds that are read: KiwiSDR's and others' WAV, SigMF, and folders of ``fixstream record``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stream_app.errors import NetworkFileError, RecordingError
from stream_app.network.file import Network
from stream_app.network.instant import parse_instant
from stream_app.network.kiwisdr import is_kiwisdr, read_kiwisdr
from stream_app.network.receptions import receptions_of
from stream_app.network.recorded import recorded_captures
from stream_app.network.recording import Recording
from stream_app.network.replay import cut
from stream_app.network.sigmf_file import SUFFIXES, open_sigmf, recordings_of
from stream_app.network.wav import read_wav
from stream_app.records.capture import IqCapture
from stream_app.records.reception import IqReception


@dataclass(frozen=True, slots=True)
class Given:
    """What people say of files that do not say it themselves."""

    receivers: tuple[str, ...] = ()  # of all channels of all files, in their order
    start: str | None = None  # of files without a time, ISO 8601


def captures_from(
    paths: Sequence[Path], network: Network | None, capture_seconds: float | None, given: Given
) -> tuple[int | None, Iterator[IqCapture]]:
    """How many captures files hold, and them; None: a recorded folder is not counted before it is read.

    Raises RecordingError, NetworkFileError.
    """
    if _is_folder(paths):
        return None, recorded_captures(paths[0])
    cutting = cut(read_recordings(paths, given), _needed(network), capture_seconds)
    slots = cutting.captures()
    return len(slots), map(cutting.capture, slots)


def receptions_from(
    paths: Sequence[Path], network: Network | None, capture_seconds: float | None, given: Given
) -> tuple[int | None, Iterator[IqReception]]:
    """The same as receptions: also of slots that not all receivers cover."""
    count: int | None = None
    if _is_folder(paths):
        captures = recorded_captures(paths[0])
    else:
        cutting = cut(read_recordings(paths, given), _needed(network), capture_seconds)
        count, captures = sum(len(slot.pieces) for slot in cutting.slots), map(cutting.capture, cutting.slots)
    return count, (reception for capture in captures for reception in receptions_of(capture))


def _is_folder(paths: Sequence[Path]) -> bool:
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise RecordingError(f"{folders[0]} is a folder: give one folder of fixstream record, or files")
    return bool(folders)


def _needed(network: Network | None) -> Network:
    if network is None:
        raise NetworkFileError("files of recordings need --network: the file that says where their receivers stand")
    return network


def read_recordings(paths: Sequence[Path], given: Given) -> list[Recording]:
    """The recordings of files. Raises RecordingError, which names the file."""
    start = None
    if given.start is not None:
        try:
            start = parse_instant(given.start)
        except ValueError as error:
            raise RecordingError(f"--start: {error}") from error
    found = [recording for path in paths for recording in _read(path, start)]
    return _named(found, given.receivers) if given.receivers else found


def _read(path: Path, start_time_ns: int | None) -> Iterator[Recording]:
    if path.suffix in SUFFIXES:
        yield from recordings_of(open_sigmf(path), start_time_ns)
    elif path.suffix.lower() != ".wav":
        raise RecordingError(f"{path}: WAV files of I and Q, and SigMF (.sigmf-meta, .sigmf) are read")
    elif is_kiwisdr(path):
        yield read_kiwisdr(path)
    else:
        yield read_wav(path, start_time_ns)


def _named(recordings: Sequence[Recording], receivers: Sequence[str]) -> list[Recording]:
    sources = list(dict.fromkeys(recording.source for recording in recordings))
    if len(sources) != len(receivers):
        raise RecordingError(
            f"--receiver is given {len(receivers)} times, but the files have {len(sources)} channels: "
            f"{', '.join(sources)}; name each, in this order"
        )
    names = dict(zip(sources, receivers, strict=True))
    return [replace(recording, receiver_id=names[recording.source]) for recording in recordings]
