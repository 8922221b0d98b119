"""Captures to a folder of SigMF: one recording a receiver, in parts that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from stream_app.dsp.samples import bytes_per_sample
from stream_app.errors import RecordingError
from stream_app.network.instant import format_instant
from stream_app.network.sigmf_file import EXTENSION
from stream_app.records.capture import Channel, IqCapture

PART_CAPTURES = 1000
PART_BYTES = 256 * 2**20
_PART_FILES = 200  # a part's open files
_RATE_SPREAD = 1e-3  # a rate further off than that of its file begins a file of its own
_OPTIONAL = ("start_sigma_ns", "time_sync", "gain_db", "antenna_id", "loss_ratio", "overload")
_VERSION = "1.0.0"  # of the extension
_SPECIFICATION = "1.2.0"  # of SigMF


class Recorder:
    """Writes captures to a new folder. Use as a context: what was written is finished at its end, whatever ends it."""

    def __init__(self, folder: Path, part_captures: int = PART_CAPTURES, part_bytes: int = PART_BYTES) -> None:
        """Raises RecordingError where the folder holds something already, or cannot be made."""
        self._folder, self._most, self._most_bytes = folder, part_captures, part_bytes
        self._part: _Part | None = None
        self._parts = 0
        self.count = 0  # captures in finished parts
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise RecordingError(f"{folder} is not empty: nothing is overwritten; give a new folder")

    def __enter__(self) -> Recorder:
        """The recorder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Finishes the part under way. Raises RecordingError where the disk fails."""
        self._finish()

    def write(self, capture: IqCapture) -> None:
        """Adds a capture. Raises RecordingError where the disk fails: the part under way is lost then."""
        with self._careful():
            if self._part is None:
                self._parts += 1
                self._part = _Part(self._folder, f"{self._parts:06d}")
            self._part.write(capture, self.count)
        part = self._part
        if part.count >= self._most or part.size >= self._most_bytes or part.files >= _PART_FILES:
            self._finish()

    def _finish(self) -> None:
        if self._part is None:
            return
        with self._careful():
            self._part.finish()
        self.count += self._part.count
        self._part = None

    @contextmanager
    def _careful(self) -> Iterator[None]:
        try:
            with _writing(self._folder):
                yield
        except RecordingError:
            if self._part is not None:
                self._part.drop()
                self._part = None
            raise


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordingError(f"cannot write to {folder}: {error.strerror}") from error


class _Part:
    """A folder of recordings under a name of its own; renamed when it is whole."""

    def __init__(self, folder: Path, name: str) -> None:
        self._target = folder / name
        self._folder = folder / f".{name}.part"
        self._folder.mkdir()
        self._streams: dict[tuple[str, str], list[_Stream]] = {}
        self.count = self.files = self.size = 0

    def write(self, capture: IqCapture, before: int) -> None:
        """Adds a capture; ``before``: how many stand in earlier parts."""
        number = before + self.count
        for place, channel in enumerate(capture.channels):
            fields = _capture_fields(capture, number, place) | _channel_fields(channel)
            self.size += self._stream(channel).write(channel, fields)
        self.count += 1

    def finish(self) -> None:
        """Completes the files and gives the folder its name."""
        for streams in self._streams.values():
            for stream in streams:
                stream.finish()
        _sync(self._folder)
        self._folder.rename(self._target)
        _sync(self._target.parent)

    def drop(self) -> None:
        """Removes what is there."""
        for streams in self._streams.values():
            for stream in streams:
                stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _stream(self, channel: Channel) -> _Stream:
        streams = self._streams.setdefault((channel.receiver_id, channel.datatype), [])
        rate = channel.sample_rate_hz
        fitting = next((s for s in streams if abs(s.rate_hz - rate) <= _RATE_SPREAD * s.rate_hz), None)
        if fitting is None:
            self.files += 1
            plain = re.sub(r"[^A-Za-z0-9._-]", "_", channel.receiver_id).lstrip(".")[:60]
            fitting = _Stream(self._folder / f"{self.files:03d}-{plain}", channel)
            streams.append(fitting)
        return fitting


class _Stream:
    """One receiver's SigMF recording."""

    def __init__(self, base: Path, channel: Channel) -> None:
        self.rate_hz = channel.sample_rate_hz
        self._receiver, self._datatype = channel.receiver_id, channel.datatype
        self._data = base.with_name(base.name + ".sigmf-data").open("wb")
        self._captures = base.with_name(base.name + ".sigmf-meta").open("wb")
        self._hash, self._samples, self._segments = hashlib.sha512(), 0, 0
        self._marks = bytearray()  # the annotations, as JSON

    def write(self, channel: Channel, fields: dict[str, Any]) -> int:
        """Adds a channel; returns how many bytes are kept in all."""
        first, count = self._samples, channel.sample_count
        # SigMF's captures are written as they come: memory holds no list of them.
        head = b",\n" if self._segments else b'{"captures": [\n'
        text = json.dumps({"core:sample_start": first} | fields, allow_nan=False).encode()
        self._captures.write(head + text)
        mark = {"core:sample_start": first, "core:sample_count": count, "core:label": "slot"}
        self._marks += (b",\n" if self._segments else b"") + json.dumps(mark).encode()
        self._data.write(channel.samples)
        self._hash.update(channel.samples)
        self._samples += count
        self._segments += 1
        return len(text) + count * bytes_per_sample(channel.datatype)

    def finish(self) -> None:
        """Completes both files."""
        fields = {
            "core:version": _SPECIFICATION,
            "core:datatype": self._datatype,
            "core:sample_rate": self.rate_hz,
            "core:num_channels": 1,
            "core:sha512": self._hash.hexdigest(),
            "core:recorder": "fixstream record",
            "core:extensions": [{"name": EXTENSION, "version": _VERSION, "optional": True}],
            f"{EXTENSION}:receiver_id": self._receiver,
        }
        self._captures.write(b'\n],\n"annotations": [\n' + bytes(self._marks))
        self._captures.write(b'\n],\n"global": ' + json.dumps(fields, indent=1).encode() + b"}\n")
        for file in (self._data, self._captures):
            _close(file)

    def close(self) -> None:
        """Gives up."""
        for file in (self._data, self._captures):
            with suppress(OSError):
                file.close()


def _capture_fields(capture: IqCapture, number: int, place: int) -> dict[str, Any]:
    """What all channels of a capture say, so that they find together again; the first one says the rest."""
    fields: dict[str, Any] = {
        "core:frequency": capture.center_frequency_hz,
        f"{EXTENSION}:number": number,
        f"{EXTENSION}:channel": place,
    }
    if place == 0:
        fields |= {
            f"{EXTENSION}:channels": len(capture.channels),
            f"{EXTENSION}:capture_id": capture.capture_id,
            f"{EXTENSION}:network": capture.network,
            f"{EXTENSION}:captured_at_us": capture.captured_at_us,
            f"{EXTENSION}:metadata": capture.metadata,
        }
    return fields


def _channel_fields(channel: Channel) -> dict[str, Any]:
    stated = {f"{EXTENSION}:{name}": getattr(channel, name) for name in _OPTIONAL}
    return {
        "core:datetime": format_instant(channel.start_time_ns),
        "core:geolocation": {"type": "Point", "coordinates": [channel.longitude, channel.latitude, channel.altitude_m]},
        f"{EXTENSION}:sample_rate_hz": channel.sample_rate_hz,
        **{name: value for name, value in stated.items() if value is not None},
    }


def _close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _sync(folder: Path) -> None:
    """Makes what was renamed or made in the folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
