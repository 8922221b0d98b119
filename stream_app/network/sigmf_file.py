"""SigMF recordings, by the ``sigmf`` package: metadata and where their samples lie."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import RecordingError
from stream_app.network.instant import parse_instant
from stream_app.network.recording import Place, Recording
from stream_app.records.slots import sample_time_ns
from stream_app.records.validate import HIGHEST_RATE_HZ, LOWEST_RATE_HZ

if TYPE_CHECKING:
    from sigmf import SigMFFile

EXTENSION = "fixstream"  # the namespace of what SigMF has no field for
SUFFIXES = (".sigmf-meta", ".sigmf-data", ".sigmf")
_TYPES = {"cu8": "u1", "ci8": "i1", "ci16_le": "<i2", "ci32_le": "<i4", "cf32_le": "<f4"}


@dataclass(frozen=True, slots=True)
class Segment:
    """One entry of SigMF's captures, and its samples."""

    fields: dict[str, Any]
    first: int  # index of its first sample, as annotations count
    samples: NDArray[Any]  # [n, channels, 2], mapped from the file


@dataclass(frozen=True, slots=True)
class SigmfRecording:
    """A SigMF recording that was checked against SigMF's schema and its own checksum."""

    name: str
    fields: dict[str, Any]  # global
    datatype: str
    segments: tuple[Segment, ...]
    annotations: tuple[dict[str, Any], ...]

    @property
    def channels(self) -> int:
        """How many are interleaved."""
        return int(self.fields.get("core:num_channels", 1))


def open_sigmf(path: Path) -> SigmfRecording:
    """Opens ``NAME.sigmf-meta`` with its ``NAME.sigmf-data``, or an archive ``NAME.sigmf``. Raises RecordingError."""
    try:
        import sigmf
    except ImportError as error:
        raise RecordingError(
            f"reading {path.name} takes the sigmf package, which is not here: pip install 'fixstream[sigmf]'"
        ) from error
    if not path.is_file():
        raise RecordingError(f"cannot read recording {path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is checked here, and said in one line
            file = _archive(path) if path.suffix == ".sigmf" else _pair(path)
            return _opened(path.name, file)
    except RecordingError:
        raise
    except OSError as error:
        raise RecordingError(f"cannot read recording {path}: {error.strerror or error}") from error
    except sigmf.error.SigMFError as error:
        raise RecordingError(f"{path.name} is no SigMF recording that can be read: {error}") from error
    except Exception as error:  # whatever the package meets in a broken file: JSON, schema, tar, NumPy
        said = str(error).partition("\n")[0]
        raise RecordingError(f"{path.name} is no valid SigMF recording: {type(error).__name__}: {said}") from error


def recordings_of(file: SigmfRecording, start_time_ns: int | None = None) -> Iterator[Recording]:
    """One recording a channel and stretch without a gap. Raises RecordingError.

    ``start_time_ns`` is for files whose first capture has no core:datetime.
    """
    rate = file.fields.get("core:sample_rate")
    if rate is None:
        raise RecordingError(f"{file.name} has no core:sample_rate: add it to its metadata")
    if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
        raise RecordingError(f"{file.name}: core:sample_rate is {rate}: it must be {LOWEST_RATE_HZ} to 1e11 Hz")
    rate = float(rate)
    following: tuple[int, int] | None = None  # time and index that the next segment begins with, if nothing is missing
    for segment in file.segments:
        start = _start(file.name, segment, following, rate, start_time_ns)
        count = len(segment.samples)
        following = sample_time_ns(start, count, rate), _stream_index(segment) + count
        for channel in range(file.channels):
            yield Recording(
                receiver_id=_receiver(file, segment, channel),
                center_frequency_hz=_frequency(segment),
                start_time_ns=start,
                sample_rate_hz=rate,
                samples=segment.samples[:, channel],
                datatype=file.datatype,
                place=_place(file, segment),
                start_sigma_ns=_own(file, segment, "start_sigma_ns", (int, float)),
                time_sync=_own(file, segment, "time_sync", (str,)),
                marks=tuple(_marks(file, segment)),
                source=file.name if file.channels == 1 else f"{file.name} (channel {channel})",
            )


def _pair(path: Path) -> SigMFFile:
    import sigmf
    from sigmf.sigmffile import get_dataset_filename_from_metadata

    meta = path.with_suffix(".sigmf-meta")
    metadata = json.loads(meta.read_text(encoding="utf-8"))
    if not isinstance(metadata, dict):
        raise RecordingError(f"{meta.name} holds no JSON object")
    # Not the package's validate, which checks its own schema each time, for 50 ms.
    _validator().validate(metadata)
    file = sigmf.SigMFFile(metadata=metadata)
    data = get_dataset_filename_from_metadata(meta, metadata)
    if data is None:
        raise RecordingError(f"{meta.name} has no samples: {meta.with_suffix('.sigmf-data').name} is not beside it")
    _check_datatype(path.name, metadata["global"])
    file.set_data_file(data)
    return file


@cache
def _validator() -> Any:
    import sigmf
    from jsonschema import Draft202012Validator

    return Draft202012Validator(sigmf.schema.get_schema())


def _archive(path: Path) -> SigMFFile:
    import sigmf

    return sigmf.fromarchive(path, autoscale=False)


def _opened(name: str, file: SigMFFile) -> SigmfRecording:
    fields = file.get_global_info()
    for extension in fields.get("core:extensions", ()):
        if not extension["optional"] and extension["name"] != EXTENSION:
            raise RecordingError(f"{name} needs the SigMF extension {extension['name']!r}, which is not known here")
    datatype = _check_datatype(name, fields)
    captures = file.get_captures() or [{"core:sample_start": 0}]
    channels = int(fields.get("core:num_channels", 1))
    width = 2 * np.dtype(_TYPES[datatype]).itemsize * channels
    # The package maps the file from behind the first capture's header; here each capture's place is worked out.
    at = max(0, file.data_offset - captures[0].get("core:header_bytes", 0))
    size = Path(file.data_file).stat().st_size if file.data_size_bytes is None else at + file.data_size_bytes
    end = size - fields.get("core:trailing_bytes", 0)
    # One map of all, as a process may only have so many.
    data = np.memmap(file.data_file, "u1", "r") if size else np.empty(0, "u1")
    offset, segments = int(fields.get("core:offset", 0)), list[Segment]()
    for number, capture in enumerate(captures):
        first = capture["core:sample_start"] - offset
        at += capture.get("core:header_bytes", 0) + (0 if segments else first * width)  # before the first: nothing's
        if number + 1 < len(captures):
            count = captures[number + 1]["core:sample_start"] - offset - first
        else:
            count, rest = divmod(end - at, width)
            if rest:
                raise RecordingError(f"{name} is truncated: its data are no whole number of samples")
        if first < 0 or count < 0 or at + count * width > end:
            raise RecordingError(f"{name}: capture {number} begins or ends outside of the {end} bytes of its data")
        samples = data[at : at + count * width].view(_TYPES[datatype]).reshape(count, channels, 2)
        segments.append(Segment(capture, first, samples))
        at += count * width
    return SigmfRecording(name, fields, datatype, tuple(segments), tuple(file.get_annotations()))


def _check_datatype(name: str, fields: dict[str, Any]) -> str:
    datatype = str(fields["core:datatype"])
    datatype = datatype.removesuffix("_le") if "8" in datatype else datatype
    if datatype not in _TYPES:
        raise RecordingError(f"{name} holds samples of {datatype}: {', '.join(_TYPES)} are read; convert it")
    return datatype


def _start(name: str, segment: Segment, following: tuple[int, int] | None, rate: float, given_ns: int | None) -> int:
    exact = segment.fields.get(f"{EXTENSION}:start_time_ns")
    if isinstance(exact, int):
        return exact
    stated = segment.fields.get("core:datetime")
    if stated is not None:
        try:
            return parse_instant(stated)
        except ValueError as error:
            raise RecordingError(f"{name}: core:datetime of the capture at sample {segment.first}: {error}") from error
    if following is not None:
        at_ns, index = following
        return sample_time_ns(at_ns, _stream_index(segment) - index, rate)
    if given_ns is None:
        raise RecordingError(f"{name} does not say when it was recorded (core:datetime): give --start")
    return given_ns


def _stream_index(segment: Segment) -> int:
    """Number of its first sample in the receiver's stream, of which a part may be missing in the file."""
    return int(segment.fields.get("core:global_index", segment.first))


def _receiver(file: SigmfRecording, segment: Segment, channel: int) -> str:
    names = _own(file, segment, "receivers", (list,))
    if names is not None and channel < len(names):
        return str(names[channel])
    name = _own(file, segment, "receiver_id", (str,))
    if name is None:
        name = file.name.rpartition(".")[0]
    return str(name) if file.channels == 1 else f"{name}-{channel}"


def _own(file: SigmfRecording, segment: Segment, name: str, kinds: tuple[type, ...]) -> Any:
    """A field of our extension, of the capture or else of the whole file."""
    field = f"{EXTENSION}:{name}"
    value = segment.fields.get(field, file.fields.get(field))
    return value if isinstance(value, kinds) else None


def _frequency(segment: Segment) -> float | None:
    stated = segment.fields.get("core:frequency")
    return None if stated is None else float(stated)


def _place(file: SigmfRecording, segment: Segment) -> Place | None:
    stated = segment.fields.get("core:geolocation", file.fields.get("core:geolocation"))
    if stated is None:
        return None
    longitude, latitude, *altitude = (float(value) for value in stated["coordinates"])
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise RecordingError(f"{file.name}: core:geolocation [{longitude}, {latitude}] is no [longitude, latitude]")
    return Place(latitude, longitude, altitude[0] if altitude else None)


def _marks(file: SigmfRecording, segment: Segment) -> Iterator[tuple[int, int]]:
    """Annotations within the segment, counted from its first sample. Those without a length mark no stretch."""
    offset = int(file.fields.get("core:offset", 0))
    for annotation in file.annotations:
        first, count = annotation["core:sample_start"] - offset - segment.first, annotation.get("core:sample_count")
        if count and first >= 0 and first + count <= len(segment.samples):
            yield first, count
