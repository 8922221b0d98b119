"""The catalogue of bad input: how each is made of a good capture, and the dead letter that it must become."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stream_app.records.capture import Channel, IqCapture
from stream_app.records.codec import Codecs
from tests.golden.make import FIX

CODECS = Codecs()
HEADER = 10  # bytes of Avro's marker and the fingerprint
LATE, LONG_AGO = 7_258_118_400, 315_532_800  # 2200 and 1980, seconds
NAN, INF = float("nan"), float("inf")
UNDECODABLE, INVALID, UNANSWERABLE = "undecodable", "invalid-capture", "unanswerable"

Make = Callable[[IqCapture], bytes | None]


@dataclass(frozen=True)
class Bad:
    """``code`` of the dead letter, or None where a fix is due after all; ``words`` that its message must hold."""

    name: str
    code: str | None
    words: str
    make: Make
    key: bytes | None = b"bad"


def number(value: int) -> bytes:
    """Avro's variable-length zig-zag number."""
    rest, out = (value << 1) ^ (value >> 63), bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    return bytes(out + bytes([rest]))


def encoded(change: Callable[[IqCapture], IqCapture]) -> Make:
    return lambda good: CODECS.encode_capture(change(good))


def capture(**fields: Any) -> Make:
    return encoded(lambda good: replace(good, **fields))


def channel(where: int = 0, **fields: Any) -> Make:
    return encoded(lambda good: with_channel(good, where, **fields))


def with_channel(good: IqCapture, where: int, **fields: Any) -> IqCapture:
    channels = list(good.channels)
    channels[where] = replace(channels[where], **fields)
    return replace(good, channels=tuple(channels))


def channels(change: Callable[[int, Channel], Channel]) -> Make:
    return encoded(lambda good: replace(good, channels=tuple(change(n, c) for n, c in enumerate(good.channels))))


def many(count: int) -> Make:
    return encoded(
        lambda g: replace(g, channels=tuple(replace(g.channels[0], receiver_id=f"r{n}") for n in range(count)))
    )


def on_bytes(change: Callable[[bytes], bytes]) -> Make:
    return lambda good: change(CODECS.encode_capture(good))


def before_channels(good: IqCapture) -> bytes:
    return CODECS.encode_capture(replace(good, channels=()))[:-1]


def floats(one: Channel, index: int = -1, value: float = 0.0, scale: float = 1.0) -> Channel:
    """The channel as cf32_le, one of its numbers changed."""
    values = (np.frombuffer(one.samples, "<i2") / 2**15 * scale).astype("<f4")
    if index >= 0:
        values[index] = value
    return replace(one, datatype="cf32_le", samples=values.tobytes())


def float_at(value: float) -> Make:
    return channels(lambda n, c: floats(c, 77 if n == 1 else -1, value))


def all_samples(value: int) -> Make:
    return channels(lambda _, c: replace(c, samples=np.full(2 * c.sample_count, value, "<i2").tobytes()))


def saturated(one: Channel) -> Channel:
    values = np.frombuffer(one.samples, "<i2")
    return replace(one, samples=np.where(values < 0, -(2**15), 2**15 - 1).astype("<i2").tobytes())


def short(count: int) -> Make:
    return channels(lambda _, c: replace(c, sample_count=count, samples=c.samples[: 4 * count]))


def swapped(old: bytes, new: bytes, **fields: Any) -> Make:
    """A change of bytes that no encoder would make, found by what ``fields`` of the first channel look like."""

    def make(good: IqCapture) -> bytes:
        data = CODECS.encode_capture(with_channel(good, 0, **fields))
        assert data.count(old) == 1
        return data.replace(old, new)

    return make


def smallest_channels(count: int) -> Make:
    """Channels without names, samples or anything, 43 bytes each: objects of 700 bytes if they were made."""
    one = CODECS.encode_capture(IqCapture("a", "b", 0, 0.0, (Channel("", 0, 0, 0, 0, 0, "", 0, b""),)))
    one = one[len(before_channels(IqCapture("a", "b", 0, 0.0, ()))) + 1 : -1]
    return lambda good: before_channels(good) + number(count) + count * one + b"\0"


def zeros(size: int) -> Make:
    """Two channels of nothing, ``size`` bytes together: compresses to almost nothing."""
    half = size // 2
    one = {"sample_count": half // 4, "samples": bytes(half)}
    return encoded(lambda good: replace(good, channels=tuple(replace(c, **one) for c in good.channels[:2])))


ANTENNA = {"time_sync": "GPSDO", "gain_db": None, "antenna_id": "antenna"}
WRITTEN = b"\x02\x08\x00\x02\x0eantenna"  # a union's branch and the enum's symbol, no gain, the antenna

BYTES = [
    Bad("empty value", UNDECODABLE, "0 bytes", lambda _: b""),
    Bad("tombstone", UNDECODABLE, "a tombstone", lambda _: None),
    Bad("marker only", UNDECODABLE, "2 bytes", lambda _: b"\xc3\x01"),
    Bad("random bytes", UNDECODABLE, "300 bytes", lambda _: np.random.default_rng(4).bytes(300)),
    Bad("header only", UNDECODABLE, "10 bytes do not decode", on_bytes(lambda d: d[:HEADER])),
    Bad("truncated", UNDECODABLE, "do not decode", on_bytes(lambda d: d[:-1000])),
    Bad(
        "bit flipped in the fingerprint",
        "unknown-schema",
        "FIXSTREAM_SCHEMA_DIR",
        on_bytes(lambda d: d[:5] + bytes([d[5] ^ 4]) + d[6:]),
    ),
    Bad(
        "fingerprint in the other byte order",
        "unknown-schema",
        "fingerprint",
        on_bytes(lambda d: d[:2] + d[9:1:-1] + d[10:]),
    ),
    Bad("unknown schema", "unknown-schema", b"no-such-".hex(), on_bytes(lambda d: b"\xc3\x01no-such-" + d[10:])),
    Bad("Confluent wire format", UNDECODABLE, "single-object", on_bytes(lambda d: b"\0\0\0\0\x07" + d[10:])),
    Bad("JSON", UNDECODABLE, "7b 22", lambda g: json.dumps({"capture_id": g.capture_id}).encode()),
    Bad("JSON, compressed", UNDECODABLE, "1f 8b", lambda _: b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xab\xaeU\x02"),
    Bad("a fix", "unknown-schema", "fingerprint", lambda _: CODECS.encode_fix(FIX)),
    Bad("trailing bytes", UNDECODABLE, "3 bytes before", on_bytes(lambda d: d + b"abc")),
    Bad("two records", UNDECODABLE, "nothing may follow", on_bytes(lambda d: d + d)),
    Bad("a string of 8 GB", UNDECODABLE, "do not decode", on_bytes(lambda d: d[:HEADER] + number(2**33) + d[11:])),
    Bad("a string of -1 bytes", UNDECODABLE, "do not decode", on_bytes(lambda d: d[:HEADER] + number(-1) + d[11:])),
    Bad("a number without end", UNDECODABLE, "do not decode", on_bytes(lambda d: d[:HEADER] + 5000 * b"\xff")),
    Bad(
        "samples of 4 GB",
        UNDECODABLE,
        "do not decode",
        swapped(number(16) + 16 * b"s", number(2**32) + 16 * b"s", sample_count=4, samples=16 * b"s"),
    ),
    Bad("2**40 channels", UNDECODABLE, "do not decode", lambda g: before_channels(g) + number(2**40) + b"\0"),
    Bad("2**40 notes", UNDECODABLE, "do not decode", lambda g: before_channels(g)[:-1] + number(2**40) + b"\0"),
    Bad("70,000 channels", UNDECODABLE, "70000 items", smallest_channels(70_000)),
    Bad("a million notes", UNDECODABLE, "1000000 items", capture(metadata={f"{n:x}": "" for n in range(1_000_000)})),
    Bad(
        "no UTF-8",
        UNDECODABLE,
        "UnicodeDecodeError",
        swapped(b"utf-eight", b"utf-\xff\xfe\xc0ht", antenna_id="utf-eight"),
    ),
    Bad(
        "an enum's symbol 77",
        UNDECODABLE,
        "IndexError",
        swapped(WRITTEN, b"\x02\x9a\x01\x00\x02\x0eantenna", **ANTENNA),
    ),
    Bad("a union's branch 9", UNDECODABLE, "IndexError", swapped(WRITTEN, b"\x12\x08\x00\x02\x0eantenna", **ANTENNA)),
]

FIELDS = [
    Bad("no capture_id", INVALID, "capture_id is empty", capture(capture_id="")),
    Bad("capture_id of 1 MB", INVALID, "1000000 characters", capture(capture_id=1_000_000 * "x")),
    Bad("NUL in capture_id", INVALID, "control character", capture(capture_id="a\0b")),
    Bad("no network", INVALID, "network is empty", capture(network="")),
    Bad("a new line in network", INVALID, "control character", capture(network="a\nb")),
    Bad("captured before 1970", INVALID, "captured_at", capture(captured_at_us=-1)),
    Bad("captured in 2200", INVALID, "1970 to 2199", capture(captured_at_us=LATE * 10**6)),
    Bad("captured in the year 294247", INVALID, "captured_at", capture(captured_at_us=2**63 - 1)),
    Bad("frequency below 0", INVALID, "center_frequency_hz is -1", capture(center_frequency_hz=-1.0)),
    Bad("frequency NaN", INVALID, "center_frequency_hz is nan", capture(center_frequency_hz=NAN)),
    Bad("1,025 notes", INVALID, "1025 entries", capture(metadata={f"{n}": "" for n in range(1025)})),
    Bad("no channels", INVALID, "0 channels", capture(channels=())),
    Bad("33 channels", INVALID, "33 channels: it must have 1 to 32", many(33)),
    Bad("5,000 channels", INVALID, "5000 channels", smallest_channels(5_000)),
    Bad("a receiver twice", INVALID, "'north' is there twice", channel(1, receiver_id="north")),
    Bad("no receiver_id", INVALID, "receiver_id is empty", channel(receiver_id="")),
    Bad("receiver_id of 1 MB", INVALID, "1000000 characters", channel(receiver_id=1_000_000 * "r")),
    Bad("latitude 91", INVALID, "'north': latitude is 91", channel(latitude=91.0)),
    Bad("latitude NaN", INVALID, "'north': latitude is nan", channel(latitude=NAN)),
    Bad("longitude 181", INVALID, "longitude is 181", channel(longitude=181.0)),
    Bad("longitude infinite", INVALID, "longitude is -inf", channel(longitude=-INF)),
    Bad("altitude 1e300", INVALID, "altitude_m is 1e+300", channel(altitude_m=1e300)),
    Bad("altitude below the sea floor", INVALID, "-12000 to 5e+07 m", channel(altitude_m=-12_001.0)),
    Bad("started before 1970", INVALID, "start_time_ns is -1", channel(start_time_ns=-1)),
    Bad("started in 2200", INVALID, "1970 to 2199", channel(start_time_ns=LATE * 10**9)),
    Bad("started in 2262", INVALID, "'east': start_time_ns", channel(1, start_time_ns=2**63 - 1)),
    Bad("rate 0", INVALID, "sample_rate_hz is 0.0", channel(sample_rate_hz=0.0)),
    Bad("rate 1e12", INVALID, "0.001 to 1e+11 Hz", channel(sample_rate_hz=1e12)),
    Bad("rate NaN", INVALID, "sample_rate_hz is nan", channel(sample_rate_hz=NAN)),
    Bad("rate 5e-324", INVALID, "sample_rate_hz is 5e-324", channel(sample_rate_hz=5e-324)),
    Bad("wrong datatype", INVALID, "datatype 'ci12'", channel(datatype="ci12")),
    Bad("datatype of 1 MB", INVALID, "1000000 characters", channel(datatype=1_000_000 * "d")),
    Bad("another datatype than the bytes", INVALID, "bytes of cu8", channel(datatype="cu8")),
    Bad("sample count too large", INVALID, "but 17920 bytes came", channel(sample_count=4481)),
    Bad("sample count of 2**62", INVALID, "but 17920 bytes came", channel(sample_count=2**62)),
    Bad("sample count below 0", INVALID, "sample_count is -4480", channel(sample_count=-4480)),
    Bad(
        "an odd byte",
        INVALID,
        "but 17921 bytes came",
        encoded(lambda g: with_channel(g, 0, samples=bytes(g.channels[0].samples) + b"o")),
    ),
    Bad("no samples", INVALID, "at least 2 samples", short(0)),
    Bad("one sample", INVALID, "at least 2 samples", short(1)),
    Bad("NaN in one channel", INVALID, "'east': sample 38 of its cf32_le samples holds nan", float_at(NAN)),
    Bad("infinity in one channel", INVALID, "'east': sample 38 of its cf32_le samples holds -inf", float_at(-INF)),
    Bad("1e30 in one channel", INVALID, "'east': sample 38 of its cf32_le samples holds 1.0", float_at(1e30)),
    Bad("start_sigma NaN", INVALID, "start_sigma_ns is nan", channel(start_sigma_ns=NAN)),
    Bad("start_sigma below 0", INVALID, "start_sigma_ns is -1", channel(start_sigma_ns=-1.0)),
    Bad("start_sigma 1e30", INVALID, "start_sigma_ns is 1e+30", channel(start_sigma_ns=1e30)),
    Bad("gain infinite", INVALID, "gain_db is inf", channel(gain_db=INF)),
    Bad("gain 1e300", INVALID, "-200 to 200 dB", channel(gain_db=1e300)),
    Bad("loss_ratio 2", INVALID, "loss_ratio is 2", channel(loss_ratio=2.0)),
    Bad("antenna_id of 1 MB", INVALID, "1000000 characters", channel(antenna_id=1_000_000 * "a")),
]

ANSWERS = [
    Bad("one channel", UNANSWERABLE, "1 channel, but model", encoded(lambda g: replace(g, channels=g.channels[:1]))),
    Bad("32 channels", UNANSWERABLE, "takes 2 to 4", many(32)),
    Bad(
        "all receivers at one place",
        UNANSWERABLE,
        "4 receivers are all at",
        channels(lambda _, c: replace(c, latitude=47.0, longitude=9.0, altitude_m=0.0)),
    ),
    Bad("two samples", UNANSWERABLE, "at least 16", short(2)),
    Bad(
        "channels hours apart",
        UNANSWERABLE,
        "share 0 samples",
        channels(lambda n, c: replace(c, start_time_ns=c.start_time_ns + n * 3600 * 10**9)),
    ),
    Bad("channels decades apart", UNANSWERABLE, "share 0 samples", channel(start_time_ns=0)),
    Bad(
        "a rate far below the others'",
        UNANSWERABLE,
        "slowest channel came at 0.01 Hz",
        channels(lambda _, c: replace(c, sample_rate_hz=0.01)),
    ),
    Bad("a rate far above the others'", UNANSWERABLE, "share", channel(sample_rate_hz=1e11)),
    Bad("all samples zero", UNANSWERABLE, "4 of its 4 channels hold one value", all_samples(0)),
    Bad("all samples alike", UNANSWERABLE, "muted input", all_samples(-(2**15))),
    Bad("denormal samples", UNANSWERABLE, "tell from zero", channels(lambda _, c: floats(c, scale=1e-40))),
    Bad("20 MB", UNANSWERABLE, "2 of its 2 channels hold one value", zeros(20 * 10**6)),
]


def sound(name: str, change: Callable[[IqCapture], IqCapture], key: bytes | None = b"odd") -> Bad:
    """Odd, but no reason to refuse it: the fix carries the name as its capture_id."""
    return Bad(name, None, "", encoded(lambda good: replace(change(good), capture_id=name)), key)


def in_1980(good: IqCapture) -> IqCapture:
    back = good.channels[0].start_time_ns - LONG_AGO * 10**9
    moved = tuple(replace(c, start_time_ns=c.start_time_ns - back) for c in good.channels)
    return replace(good, captured_at_us=LONG_AGO * 10**6, channels=moved)


def all_saturated(good: IqCapture) -> IqCapture:
    return replace(good, channels=tuple(map(saturated, good.channels)))


def at_the_first(good: IqCapture) -> IqCapture:
    first = good.channels[0]
    return with_channel(good, 1, latitude=first.latitude, longitude=first.longitude, altitude_m=first.altitude_m)


SOUND = [
    sound("no key", lambda g: g, key=None),
    sound("1980", in_1980),
    sound("saturated", all_saturated),
    sound("one channel silent", lambda g: with_channel(g, 2, samples=bytes(len(g.channels[2].samples)))),
    sound("two receivers at one place", at_the_first),
    sound("a channel at half the rate", lambda g: with_channel(g, 1, sample_rate_hz=5e5)),
    sound("a receiver at the other side of the Earth", lambda g: with_channel(g, 3, latitude=-47.0, longitude=-171.0)),
    sound("the least certain clock", lambda g: with_channel(g, 0, start_sigma_ns=1e12)),
    sound("1,024 notes", lambda g: replace(g, metadata={f"{n}": "" for n in range(1024)})),
]

CATALOGUE = [*BYTES, *FIELDS, *ANSWERS, *SOUND]
