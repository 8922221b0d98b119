"""Receptions of receivers that say the same of themselves each time, which is decoded and checked but once."""

from __future__ import annotations

from typing import NamedTuple

from stream_app.records.capture import Channel
from stream_app.records.codec import HEADER_BYTES, Codecs
from stream_app.records.reception import IqReception
from stream_app.records.validate import LATEST_NS, LATEST_US, are_numbers

_MOST_TEMPLATES = 1024
_PLACE_BYTES = 24  # latitude, longitude, altitude_m
_LONGEST_LONG = 10  # bytes of an Avro long


class _Places(NamedTuple):
    """Where a record's parts are, and the two numbers that change from record to record."""

    key: bytes  # network, frequency, receiver and its place, as they are written
    slot_at_us: int
    channel: int
    start_time_ns: int
    rate: int  # where sample_rate_hz begins, and all up to the samples behind it


class _Template(NamedTuple):
    """What one receiver's records have in common."""

    reception: IqReception
    before: bytes  # the fields from sample_rate_hz to the samples' length
    size: int  # bytes of samples
    after: bytes  # the fields behind the samples


class Received(NamedTuple):
    """A reception, and the channel's bytes within its record; None where they are not a capture's channel as well."""

    reception: IqReception
    channel: memoryview | None


class ReceptionReader:
    """Decodes and checks as ``Codecs.decode_reception`` does, at a fraction of the cost. Not thread-safe.

    Samples are a view of the record. Metadata, a schema that is not the newest, and fields that change from record to
    record (a gain that is regulated) take the way through the codec.
    """

    def __init__(self, codecs: Codecs) -> None:
        self._codecs = codecs
        self._templates: dict[bytes, _Template] = {}
        self._header = codecs.reception_header

    def read(self, data: bytes | None) -> Received:
        """Raises UnknownSchema, UndecodableRecord or InvalidReception, nothing else."""
        places = self._places(data) if data is not None and data.startswith(self._header) else None
        if data is None or places is None:
            return Received(self._codecs.decode_reception(data), None)
        template = self._templates.get(places.key)
        if template is not None:
            found = _by_template(data, places, template)
            if found is not None:
                return found
        reception = self._codecs.decode_reception(data)
        self._learn(data, places, reception)
        return Received(reception, memoryview(data)[places.channel :] if self._codecs.channels_alike else None)

    def _places(self, data: bytes) -> _Places | None:
        """None: there is metadata, or a name is long, or the record is broken."""
        try:
            at = HEADER_BYTES + 1 + _short(data, HEADER_BYTES) + 8
            slot_at_us, empty = _long(data, at)
            if data[empty] != 0:
                return None
            channel = empty + 1
            start = channel + 1 + _short(data, channel) + _PLACE_BYTES
            start_time_ns, rate = _long(data, start)
        except (IndexError, ValueError):
            return None
        return _Places(data[HEADER_BYTES:at] + data[channel:start], slot_at_us, channel, start_time_ns, rate)

    def _learn(self, data: bytes, places: _Places, reception: IqReception) -> None:
        """Keeps what is true of this record: it was decoded, so that its parts are where they should be."""
        datatype = places.rate + 8
        _, length = _long(data, datatype + 1 + _short(data, datatype))
        size, samples = _long(data, length)
        if size != len(reception.channel.samples) or not self._codecs.channels_alike:
            return
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        self._templates[places.key] = _Template(reception, data[places.rate : samples], size, data[samples + size :])


def _by_template(data: bytes, places: _Places, template: _Template) -> Received | None:
    """None: the record differs in more than times and samples, or cannot be true."""
    _, before, size, after = template
    begin = places.rate + len(before)
    if not (
        data.startswith(before, places.rate)
        and len(data) == begin + size + len(after)
        and data.endswith(after)
        and 0 <= places.slot_at_us < LATEST_US
        and 0 <= places.start_time_ns < LATEST_NS
    ):
        return None
    known, view = template.reception.channel, memoryview(data)
    samples = view[begin : begin + size]
    if known.datatype == "cf32_le" and not are_numbers(samples):
        return None
    channel = Channel(
        known.receiver_id,
        known.latitude,
        known.longitude,
        known.altitude_m,
        places.start_time_ns,
        known.sample_rate_hz,
        known.datatype,
        known.sample_count,
        samples,
        known.start_sigma_ns,
        known.time_sync,
        known.gain_db,
        known.antenna_id,
        known.loss_ratio,
        known.overload,
    )
    reception = template.reception
    reception = IqReception(reception.network, reception.center_frequency_hz, places.slot_at_us, channel)
    return Received(reception, view[places.channel :])


def _short(data: bytes, at: int) -> int:
    """The length of a string of up to 63 bytes. Raises ValueError for others."""
    length = data[at]
    if length & 0x81:
        raise ValueError
    return length >> 1


def _long(data: bytes, at: int) -> tuple[int, int]:
    """The variable-length zig-zag number at ``at``, and where it ends. Raises ValueError."""
    value = shift = 0
    for byte in data[at : at + _LONGEST_LONG]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + shift // 7
    raise ValueError
