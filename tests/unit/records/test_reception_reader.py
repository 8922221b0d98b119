"""A reception that is read by its receiver's template is the same as one that is decoded, whatever the bytes."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.errors import FixStreamError, InvalidReception
from stream_app.records.capture import Channel, IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.reception import IqReception
from stream_app.records.reception_reader import Received, ReceptionReader

CODECS = Codecs()


def reception(number: int = 0, receiver: str = "north", **more: object) -> IqReception:
    samples = np.random.default_rng(number).integers(0, 256, 64, np.uint8).tobytes()
    at_us = 1_700_000_000_000_000 + 100_000 * number
    channel = Channel(receiver, 50.0, 8.0, 100.0, 1000 * at_us + number, 1e6, "ci16_le", 16, samples, 15.0, "GPS")
    return IqReception("tri", 433.92e6, at_us, replace(channel, **more))  # type: ignore[arg-type]


def outcome(read: object, data: bytes) -> object:
    try:
        found = read(data)  # type: ignore[operator]
    except FixStreamError as error:
        return type(error)
    return found.reception if isinstance(found, Received) else found


def test_what_is_read_by_a_template_is_what_decodes() -> None:
    reader = ReceptionReader(CODECS)
    for number in range(4):
        for receiver in ("north", "east"):
            sent = reception(number, receiver)
            found = reader.read(CODECS.encode_reception(sent))
            assert found.reception == sent
            assert isinstance(found.reception.channel.samples, memoryview) == (number > 0)  # no copy


def test_channels_as_they_came_make_the_capture_that_encoding_makes() -> None:
    reader = ReceptionReader(CODECS)
    for number in range(2):
        sent = [reception(number, name) for name in ("north", "east", "south")]
        found = [reader.read(CODECS.encode_reception(each)) for each in sent]
        capture = IqCapture("c", "tri", 5, 433.92e6, tuple(each.channel for each in sent), {"a": "b"})
        whole = CODECS.encode_capture(capture)
        assert all(each.channel is not None for each in found)
        assert CODECS.join_channels(capture, [each.channel for each in found]) == whole
        assert CODECS.join_channels(capture, [found[0].channel, None, found[2].channel]) == whole


@pytest.mark.parametrize(
    "changed",
    [{"gain_db": 3.0}, {"sample_rate_hz": 2e6}, {"start_sigma_ns": None}, {"samples": bytes(32), "datatype": "ci8"}],
)
def test_what_changes_is_read_anew(changed: dict[str, object]) -> None:
    reader = ReceptionReader(CODECS)
    for number, more in enumerate([{}, changed, {}, changed]):
        sent = reception(number, **more)
        assert reader.read(CODECS.encode_reception(sent)).reception == sent


def test_a_template_does_not_let_through_what_cannot_be_true() -> None:
    reader = ReceptionReader(CODECS)
    floats = {"datatype": "cf32_le", "sample_count": 8, "samples": bytes(64)}
    reader.read(CODECS.encode_reception(reception(0, **floats)))
    for wrong in ({"start_time_ns": -1}, {"samples": np.full(16, np.nan, "<f4").tobytes()}):
        with pytest.raises(InvalidReception):
            reader.read(CODECS.encode_reception(reception(1, **{**floats, **wrong})))
    with pytest.raises(InvalidReception):
        reader.read(CODECS.encode_reception(replace(reception(1, **floats), slot_at_us=-5)))


@given(st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_broken_bytes_have_the_outcome_that_decoding_has(chance: random.Random) -> None:
    reader = ReceptionReader(CODECS)
    sound = CODECS.encode_reception(reception(3))
    reader.read(sound)
    data = bytearray(CODECS.encode_reception(reception(chance.randrange(9), chance.choice(["north", "no" * 40]))))
    for _ in range(chance.randrange(1, 4)):
        at = chance.choice([chance.randrange(len(data)), chance.randrange(10, 80)])
        data[at : at + chance.randrange(2)] = chance.choice(
            [b"", b"\x00", b"\x80", b"\xff", bytes([chance.randrange(256)])]
        )
    broken = bytes(data)
    assert outcome(reader.read, broken) == outcome(CODECS.decode_reception, broken)
