"""Records to bytes and back: Avro single-object encoding, versions resolved by fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import to_parsing_canonical_form

from stream_app.errors import FixStreamError, InvalidCapture, InvalidReception, UndecodableRecord, UnknownSchema
from stream_app.records.capture import Channel, IqCapture
from stream_app.records.deployment import (
    BeaconLevel,
    BeaconStatus,
    Deployment,
    DeploymentState,
    ModelStatus,
    ReceiverClock,
    Route,
    RouteMode,
    RunningVersion,
    Split,
)
from stream_app.records.fix import CacheOutcome, Fix, Timings
from stream_app.records.reception import IqReception
from stream_app.records.scan import check_items
from stream_app.records.schemas import SchemaSet, check_extra, load_schemas, shipped_dir
from stream_app.records.track import Track, TrackState
from stream_app.records.validate import check_capture, check_reception

RECORDS = ("IqReception", "IqCapture", "Fix", "Track", "Deployment", "ModelStatus")
_MARKER = b"\xc3\x01"
HEADER_BYTES = 10  # marker and fingerprint
_CHANNEL_FIELDS = tuple(Channel.__dataclass_fields__)
_channel_values = attrgetter(*_CHANNEL_FIELDS)
_channel_fields = itemgetter(*_CHANNEL_FIELDS)
_FIX_FIELDS = tuple(Fix.__dataclass_fields__)
_FIX_NAMES = tuple("captured_at" if name == "captured_at_us" else name for name in _FIX_FIELDS)  # the schema's
_TRACK_FIELDS = tuple(Track.__dataclass_fields__)
_TIMINGS_FIELDS = tuple(Timings.__dataclass_fields__)
_fix_values, _timings_values = attrgetter(*_FIX_FIELDS), attrgetter(*_TIMINGS_FIELDS)


class Codecs:
    """The codecs of all records. Thread-safe: nothing changes after construction."""

    def __init__(self, schema_dir: str | None = None) -> None:
        extra = Path(schema_dir).expanduser() if schema_dir else None
        folder = shipped_dir()
        if extra is not None:
            check_extra(extra, RECORDS)
        self._captures = load_schemas("IqCapture", folder / "iq_capture", extra)
        self._fixes = load_schemas("Fix", folder / "fix", extra)
        self._deployments = load_schemas("Deployment", folder / "deployment", extra)
        self._statuses = load_schemas("ModelStatus", folder / "model_status", extra)
        self._receptions = load_schemas("IqReception", folder / "iq_reception", extra)
        self._tracks = load_schemas("Track", folder / "track", extra)
        self._channel = parse_schema(_field_type(self._captures.reader, "channels")["items"])
        self.reception_header = _MARKER + self._receptions.reader_fingerprint
        own = parse_schema(_field_type(self._receptions.reader, "channel"))
        # Whether a channel's bytes within a reception are those that it has within a capture.
        self.channels_alike = to_parsing_canonical_form(own) == to_parsing_canonical_form(self._channel)

    def encode_capture(self, capture: IqCapture) -> bytes:
        """The record of a capture. Raises InvalidCapture where a field does not fit the schema's type."""
        return self._encode_capture(capture, [_channel_record(channel) for channel in capture.channels])

    def _encode_capture(self, capture: IqCapture, channels: list[dict[str, Any]]) -> bytes:
        record = {
            "capture_id": capture.capture_id,
            "network": capture.network,
            "captured_at": capture.captured_at_us,
            "center_frequency_hz": capture.center_frequency_hz,
            "metadata": capture.metadata,
            "channels": channels,
        }
        try:
            return _encode(record, self._captures)
        except Exception as error:  # whatever fastavro meets in a value of the wrong type
            raise InvalidCapture(
                f"capture {capture.capture_id!r} does not fit its schema: {type(error).__name__}: {error}"
            ) from error

    def join_channels(self, capture: IqCapture, channels: Sequence[memoryview | None]) -> bytes:
        """The record of a capture whose channels came as ``channels``, encoded each, in their order.

        None: the channel has to be encoded.
        """
        head = self._encode_capture(capture, [])[:-1]  # the last byte ends the list of channels
        parts: list[bytes | memoryview] = [head, bytes([2 * len(channels)])]  # zig-zag of MAX_CHANNELS at most: a byte
        for channel, encoded in zip(capture.channels, channels, strict=True):
            parts.append(self._encode_channel(channel) if encoded is None else encoded)
        return b"".join([*parts, b"\0"])

    def _encode_channel(self, channel: Channel) -> bytes:
        out = BytesIO()
        schemaless_writer(out, self._channel, _channel_record(channel))
        return out.getvalue()

    def decode_capture(self, data: bytes | None) -> IqCapture:
        """The capture of a record, checked. Raises UnknownSchema, UndecodableRecord or InvalidCapture, nothing else."""
        record = _decode(data, self._captures, "capture")
        capture = IqCapture(
            capture_id=record["capture_id"],
            network=record["network"],
            captured_at_us=record["captured_at"],
            center_frequency_hz=record["center_frequency_hz"],
            channels=tuple([Channel(*_channel_fields(channel)) for channel in record["channels"]]),
            metadata=record["metadata"],
        )
        check_capture(capture)
        return capture

    def encode_reception(self, reception: IqReception) -> bytes:
        """The record of a reception. Raises InvalidReception where a field does not fit the schema's type."""
        record = {
            "network": reception.network,
            "center_frequency_hz": reception.center_frequency_hz,
            "slot_at": reception.slot_at_us,
            "metadata": reception.metadata,
            "channel": _channel_record(reception.channel),
        }
        try:
            return _encode(record, self._receptions)
        except Exception as error:
            raise InvalidReception(
                f"a reception of receiver {reception.channel.receiver_id!r} does not fit its schema: "
                f"{type(error).__name__}: {error}"
            ) from error

    def decode_reception(self, data: bytes | None) -> IqReception:
        """The reception of a record, checked.

        Raises UnknownSchema, UndecodableRecord or InvalidReception, nothing else.
        """
        record = _decode(data, self._receptions, "reception")
        reception = IqReception(
            network=record["network"],
            center_frequency_hz=record["center_frequency_hz"],
            slot_at_us=record["slot_at"],
            channel=Channel(*_channel_fields(record["channel"])),
            metadata=record["metadata"],
        )
        check_reception(reception)
        return reception

    def encode_fix(self, fix: Fix) -> bytes:
        """The record of a fix. Raises FixStreamError where a field does not fit the schema's type."""
        try:
            record = dict(zip(_FIX_NAMES, _fix_values(fix), strict=True))
            record["timings"] = dict(zip(_TIMINGS_FIELDS, _timings_values(fix.timings), strict=True))
            record["cache"] = fix.cache.value
            return _encode(record, self._fixes)
        except Exception as error:
            raise FixStreamError(
                f"the fix of capture {fix.capture_id!r} does not fit its schema: {type(error).__name__}: {error}"
            ) from error

    def decode_fix(self, data: bytes | None) -> Fix:
        """The fix of a record. Raises UnknownSchema or UndecodableRecord, nothing else."""
        record = _decode(data, self._fixes, "fix")
        record["captured_at_us"] = record.pop("captured_at")
        record["cache"] = CacheOutcome(record["cache"])
        record["timings"] = Timings(**record["timings"])
        record["receivers"], record["distrusted"] = tuple(record["receivers"]), tuple(record["distrusted"])
        return Fix(**record)

    def encode_track(self, track: Track) -> bytes:
        """The record of a track."""
        record = {name: getattr(track, name) for name in _TRACK_FIELDS}
        record["at"], record["started_at"] = record.pop("at_us"), record.pop("started_at_us")
        record["state"] = track.state.value
        return _encode(record, self._tracks)

    def decode_track(self, data: bytes | None) -> Track:
        """The track of a record. Raises UnknownSchema or UndecodableRecord, nothing else."""
        record = _decode(data, self._tracks, "track")
        record["at_us"], record["started_at_us"] = record.pop("at"), record.pop("started_at")
        record["state"], record["covariance"] = TrackState(record["state"]), tuple(record["covariance"])
        return Track(**record)

    def encode_deployment(self, deployment: Deployment) -> bytes:
        """The record of a deployment."""
        record = asdict(deployment)
        record["issued_at"] = record.pop("issued_at_us")
        return _encode(record, self._deployments)

    def decode_deployment(self, data: bytes | None) -> Deployment:
        """The deployment of a record, not checked. Raises UnknownSchema or UndecodableRecord, nothing else."""
        record = _decode(data, self._deployments, "deployment")
        record["issued_at_us"] = record.pop("issued_at")
        record["routes"] = tuple(
            Route(route["version"], route["weight"], RouteMode(route["mode"])) for route in record["routes"]
        )
        record["split"] = Split(record["split"])
        return Deployment(**record)

    def encode_status(self, status: ModelStatus) -> bytes:
        """The record of a worker's status."""
        record = asdict(status)
        record["at"] = record.pop("at_us")
        return _encode(record, self._statuses)

    def decode_status(self, data: bytes | None) -> ModelStatus:
        """The status of a record. Raises UnknownSchema or UndecodableRecord, nothing else."""
        record = _decode(data, self._statuses, "status")
        record["at_us"] = record.pop("at")
        record["state"] = DeploymentState(record["state"])
        record["versions"] = tuple(
            RunningVersion(**{**version, "mode": RouteMode(version["mode"])}) for version in record["versions"]
        )
        record["beacons"] = tuple(
            BeaconStatus(**{**beacon, "level": BeaconLevel(beacon["level"])}) for beacon in record["beacons"]
        )
        record["clocks"] = tuple(ReceiverClock(**clock) for clock in record["clocks"])
        return ModelStatus(**record)


def _field_type(schema: Any, name: str) -> Any:
    return next(field["type"] for field in schema["fields"] if field["name"] == name)


def _channel_record(channel: Channel) -> dict[str, Any]:
    fields = dict(zip(_CHANNEL_FIELDS, _channel_values(channel), strict=True))
    if not isinstance(channel.samples, bytes):
        fields["samples"] = bytes(channel.samples)
    return fields


def _encode(record: dict[str, Any], schemas: SchemaSet) -> bytes:
    out = BytesIO()
    out.write(_MARKER)
    out.write(schemas.reader_fingerprint)
    schemaless_writer(out, schemas.reader, record)
    return out.getvalue()


def _decode(data: bytes | None, schemas: SchemaSet, what: str) -> dict[str, Any]:
    """The fields of a record, as the reader's schema has them.

    A length inside ``data`` that claims more than there is costs nothing: reads of a BytesIO end where it ends. What
    is there, but in pieces too many, is refused before any is made.
    """
    if data is None or len(data) < HEADER_BYTES or data[:2] != _MARKER:
        held = "nothing (a tombstone)" if data is None else f"{len(data)} bytes that begin {data[:2].hex(' ')!r}"
        raise UndecodableRecord(
            f"a {what} must be an Avro single-object record (c3 01, 8 bytes of fingerprint, data), "
            f"but the value holds {held}: check the producer's serializer"
        )
    mark = bytes(data[2:HEADER_BYTES])
    writer = schemas.writers.get(mark)
    if writer is None:
        raise UnknownSchema(
            f"the {what}'s writer schema has the fingerprint {mark.hex()}, which is not known here: "
            "put its .avsc into FIXSTREAM_SCHEMA_DIR, or upgrade"
        )
    stream = BytesIO(data)
    stream.seek(HEADER_BYTES)
    try:
        check_items(data, HEADER_BYTES, writer)
        record = schemaless_reader(stream, writer, None if writer is schemas.reader else schemas.reader)
    except Exception as error:  # EOF, index, unicode, resolution: whatever broken bytes bring about
        raise UndecodableRecord(
            f"the {what}'s {len(data)} bytes do not decode as their schema {mark.hex()}: "
            f"{type(error).__name__}: {error}"
        ) from error
    rest = len(data) - stream.tell()
    if rest:
        raise UndecodableRecord(f"the {what} ends {rest} bytes before its value does: nothing may follow it")
    fields: dict[str, Any] = record
    return fields
