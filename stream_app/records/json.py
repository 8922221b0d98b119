"""The JSON form of a capture: what it must look like, and its way to the record. No I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from stream_app.errors import InvalidCapture
from stream_app.records import validate as limits
from stream_app.records.capture import BYTES_PER_SAMPLE, MAX_CHANNELS, Channel, IqCapture
from stream_app.records.json_text import from_base64

DEFAULT_NETWORK = "http"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 2**63 - 1
_F32_MAX = float(np.finfo(np.float32).max)


class InvalidField(InvalidCapture):
    """A field of a capture's JSON form is missing or wrong; ``field`` is its path, such as channels[1].samples."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}" if field else why)
        self.field = field


@dataclass(frozen=True, slots=True)
class _Samples:
    """Sample bytes, and whether they came as pairs of numbers."""

    data: bytes
    pairs: bool


def _wrong(why: str) -> PydanticCustomError:
    return PydanticCustomError("capture", "{why}", {"why": why})


def _samples(value: object) -> _Samples:
    if isinstance(value, str):
        try:
            return _Samples(from_base64(value), pairs=False)
        except ValueError as error:
            raise _wrong(f"not base64 (RFC 4648, padded, without line breaks): {error}") from None
    if isinstance(value, list | np.ndarray):
        return _Samples(_from_pairs(value), pairs=True)
    raise _wrong("give a base64 string, or a list of [I, Q] pairs of numbers")


def _from_pairs(value: list[Any] | NDArray[np.float64]) -> bytes:
    if isinstance(value, list):
        for number, pair in enumerate(value):
            if not (isinstance(pair, list) and len(pair) == 2 and all(type(part) in (int, float) for part in pair)):
                raise _wrong(f"item {number} is not an [I, Q] pair of numbers")
    try:
        pairs = np.asarray(value, np.float64).reshape(-1, 2)
    except OverflowError:
        raise _wrong("a number is beyond the range of cf32_le") from None
    # Chained comparisons that NaN fails, too.
    if not (np.abs(pairs) <= _F32_MAX).all():
        raise _wrong("a number is not finite, or beyond the range of cf32_le")
    return pairs.astype("<f4").tobytes()


def _captured_at(value: object) -> object:
    """Microseconds since 1970 of an ISO 8601 time; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _wrong("not an ISO 8601 time such as 2025-05-01T12:00:00Z, nor whole microseconds since 1970") from None
    if moment.tzinfo is None:
        raise _wrong("the time states no offset from UTC: end it with Z, or with one such as +02:00")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _digits(value: object) -> object:
    """The whole number that a string of digits states; anything else as it is."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value) else value


def _writable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong("a key holds half a surrogate pair, which is no character") from None
    return text


def _now_us() -> int:
    return time.time_ns() // 1000


_Text = Annotated[str, StringConstraints(max_length=limits.LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Name = Annotated[_Text, StringConstraints(min_length=1)]
_Frequency = Annotated[float, Field(ge=0, le=limits.HIGHEST_HZ)]
_Moment = Annotated[
    int,
    Field(ge=0, lt=limits.LATEST_US),
    BeforeValidator(_captured_at),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "exclusiveMaximum": limits.LATEST_US},
                {"type": "string", "format": "date-time"},
            ],
            "examples": ["2025-05-01T12:00:00Z"],
        }
    ),
]
_Nanoseconds = Annotated[
    int,
    Field(ge=0, lt=limits.LATEST_NS),
    BeforeValidator(_digits),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "exclusiveMaximum": limits.LATEST_NS},
                {"type": "string", "pattern": "^[0-9]{1,19}$"},
            ]
        }
    ),
]
_SAMPLES_SCHEMA = {
    "anyOf": [
        {"type": "string", "contentEncoding": "base64"},
        {
            "type": "array",
            "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "minItems": 2,
        },
    ]
}


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class ChannelIn(_Form):
    """One receiver's samples, its place and what it knows of itself. Fields are those of schemas/iq_capture."""

    receiver_id: _Name = Field(description="Name of the receiver, unique in the capture.")
    latitude: float = Field(ge=-90, le=90, description="WGS 84 latitude of the antenna, degrees.")
    longitude: float = Field(ge=-180, le=180, description="WGS 84 longitude of the antenna, degrees.")
    altitude_m: float = Field(
        ge=limits.LOWEST_M, le=limits.HIGHEST_M, description="Height above the WGS 84 ellipsoid, metres."
    )
    start_time_ns: _Nanoseconds = Field(
        description="Time of the first sample: nanoseconds since 1970-01-01 UTC. As a string of digits from languages "
        "whose numbers are doubles, which lose nanoseconds."
    )
    sample_rate_hz: float = Field(
        ge=limits.LOWEST_RATE_HZ, le=limits.HIGHEST_RATE_HZ, description="True complex samples a second."
    )
    samples: Annotated[_Samples, PlainValidator(_samples), WithJsonSchema(_SAMPLES_SCHEMA)] = Field(
        description="Interleaved I, Q: base64 of the bytes in the stated datatype, or a list of [I, Q] pairs of "
        "numbers, which become cf32_le."
    )
    # Checked after the samples, against which they are.
    datatype: Literal["cu8", "ci8", "ci16_le", "ci32_le", "cf32_le"] | None = Field(
        None, validate_default=True, description="Sample format, as SigMF names it. Needed with base64."
    )
    sample_count: int | None = Field(
        None, ge=2, le=_LONGEST, validate_default=True, description="Complex samples. Checked against the bytes."
    )
    start_sigma_ns: float | None = Field(
        None, ge=0, le=limits.LARGEST_SIGMA_NS, description="1-sigma uncertainty of start_time_ns, nanoseconds."
    )
    time_sync: Literal["NONE", "NTP", "PTP", "GPS", "GPSDO", "OTHER"] | None = Field(
        None, description="What disciplines the receiver's clock."
    )
    gain_db: float | None = Field(
        None,
        ge=-limits.LARGEST_GAIN_DB,
        le=limits.LARGEST_GAIN_DB,
        description="Gain before the samples were taken, decibels.",
    )
    antenna_id: str | None = Field(
        None, max_length=limits.LONGEST_NAME, description="Which antenna of the receiver was used."
    )
    loss_ratio: float | None = Field(None, ge=0, le=1, description="Share of the samples that were lost, 0 to 1.")
    overload: bool | None = Field(None, description="Whether the converter was overdriven.")

    @field_validator("datatype", mode="after")
    @classmethod
    def _fits_samples(cls, datatype: str | None, info: ValidationInfo) -> str | None:
        samples: _Samples | None = info.data.get("samples")
        if samples is not None and samples.pairs and datatype not in (None, "cf32_le"):
            raise _wrong("[I, Q] pairs of numbers become cf32_le: leave datatype out, or send base64")
        if samples is not None and not samples.pairs and datatype is None:
            raise _wrong(f"samples are base64, so name their format: one of {', '.join(BYTES_PER_SAMPLE)}")
        return "cf32_le" if samples is not None and samples.pairs else datatype

    @field_validator("sample_count", mode="after")
    @classmethod
    def _counted(cls, stated: int | None, info: ValidationInfo) -> int | None:
        samples, datatype = info.data.get("samples"), info.data.get("datatype")
        if samples is None or datatype is None:
            return stated  # another field is wrong already
        size = BYTES_PER_SAMPLE[datatype]
        count, rest = divmod(len(samples.data), size)
        if rest:
            raise _wrong(f"samples are {len(samples.data)} bytes, but a {datatype} sample takes {size}")
        if stated not in (None, count):
            raise _wrong(f"it says {stated}, but samples hold {count} of {datatype}")
        if count < 2:
            raise _wrong(f"samples hold {count}: at least 2 are needed")
        return count


class CaptureIn(_Form):
    """The samples of one moment from 1 to 32 receivers. Fields are those of schemas/iq_capture."""

    capture_id: _Name = Field(
        default_factory=lambda: str(uuid4()), description="Unique name; the fix carries it back. Default: a new UUID."
    )
    network: _Text = Field(
        DEFAULT_NETWORK, description=f"Receiver network. Default, and for an empty one: {DEFAULT_NETWORK}."
    )
    captured_at: _Moment = Field(
        default_factory=_now_us,
        description="When the capture was made: ISO 8601 with its offset, or microseconds since 1970. Default: now.",
    )
    center_frequency_hz: _Frequency = Field(description="Frequency that lies at 0 Hz in the samples, hertz.")
    metadata: dict[Annotated[str, AfterValidator(_writable)], str] = Field(
        default_factory=dict, max_length=limits.MAX_METADATA, description="Free notes. Nothing is computed from them."
    )
    channels: list[ChannelIn] = Field(
        min_length=1, max_length=MAX_CHANNELS, description="One entry a receiver, each receiver_id once."
    )

    @field_validator("channels", mode="after")
    @classmethod
    def _once(cls, channels: list[ChannelIn]) -> list[ChannelIn]:
        names = [channel.receiver_id for channel in channels]
        twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
        if twice is not None:
            raise _wrong(f"receiver_id {twice!r} is there twice: send one channel a receiver")
        return channels


def capture_from_json(value: object, path: str = "") -> IqCapture:
    """The capture of a decoded JSON value (its sample pairs a list or an array float64 [N, 2]), checked.

    ``path`` is where in the document the value lies. Raises InvalidField, or InvalidCapture from the check.
    """
    try:
        form = CaptureIn.model_validate(value)
    except ValidationError as error:
        raise invalid_field(error, path) from None
    capture = IqCapture(
        capture_id=form.capture_id,
        network=form.network or DEFAULT_NETWORK,
        captured_at_us=form.captured_at,
        center_frequency_hz=form.center_frequency_hz,
        channels=tuple(map(_channel, form.channels)),
        metadata=form.metadata,
    )
    limits.check_capture(capture)
    return capture


def _channel(form: ChannelIn) -> Channel:
    fields = {name: getattr(form, name) for name in Channel.__dataclass_fields__}
    return Channel(**fields | {"samples": form.samples.data})


def invalid_field(error: ValidationError, path: str = "") -> InvalidField:
    """The first problem of a validation: its field's path, why, and the value where it is short."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = field_path(first["loc"], path)
    why = first["msg"]
    held = first["input"]
    if isinstance(held, str | int | float | bool) and first["type"] != "capture":
        shown = ascii(held)
        why += f" (it is {shown if len(shown) <= 60 else shown[:60] + '...'})"
    return InvalidField(field, why)


def field_path(parts: Iterable[str | int], path: str = "") -> str:
    """A field's place in a JSON document, such as captures[2].channels[1].samples."""
    for part in parts:
        if part == "[key]":  # pydantic's mark of an error in a name, which was the part before it
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path.encode("utf-8", "backslashreplace").decode()
