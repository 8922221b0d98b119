"""Mutants of good captures: fields that cannot be true, bytes flipped, cut, spliced, lengths that claim too much."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stream_app.errors import InvalidCapture
from stream_app.records.capture import BYTES_PER_SAMPLE, Channel, IqCapture
from stream_app.records.codec import Codecs
from tests.support.bad_input import number
from tests.support.small_model import RATE_HZ, RECEIVERS

SAMPLES = 64
START_NS = 1_700_000_000_000_000_000
NUMBERS = [0, 1, 2, 3, 15, 16, 63, 64, 65, 127, 128, 2**16, 2**31, 2**32, 2**33, 2**62, 2**63 - 1]
FLOATS = [0.0, -0.0, 1e-320, 1e-40, 1e-3, 0.5, 1.0, 89.9999, 90.0, 180.0, 181.0, 1e3, 9e5, 1e6, 1e6 + 20, 2e6]
FLOATS += [1e9, 1e11, 1e12, 1e30, 3e38, 1e300, float("inf"), float("nan")]
TEXTS = ["", "a", "r0", "cu8", "ci8", "ci32_le", "cf32_le", "\0", "ü\U0001f600", "NONE", "x" * 256, "y" * 300]
TEXT_FIELDS = ("receiver_id", "datatype", "antenna_id")
WHOLE_FIELDS = ("start_time_ns", "sample_count")
FLOAT_FIELDS = (
    "latitude", "longitude", "altitude_m", "sample_rate_hz", "start_sigma_ns", "gain_db", "loss_ratio"
)  # fmt: skip


def good_captures() -> list[IqCapture]:
    """Captures of 2 to 4 receivers in each datatype, each with a fix of its own."""
    return [
        _good(np.random.default_rng(seed), f"good-{seed}", 2 + seed % (RECEIVERS - 1), kind)
        for seed, kind in enumerate([*BYTES_PER_SAMPLE] * 3)
    ]


def _good(rng: np.random.Generator, name: str, receivers: int, kind: str) -> IqCapture:
    channels = []
    for n in range(receivers):
        values = rng.normal(size=2 * SAMPLES)
        if kind == "cf32_le":
            data = values.astype("<f4").tobytes()
        else:
            top = {"cu8": 40, "ci8": 40, "ci16_le": 2**12, "ci32_le": 2**28}[kind]
            shape = {"cu8": "u1", "ci8": "i1", "ci16_le": "<i2", "ci32_le": "<i4"}[kind]
            limits = np.iinfo(shape)
            whole = np.rint(values * top) + (128 if kind == "cu8" else 0)
            data = whole.clip(limits.min, limits.max).astype(shape).tobytes()
        channels.append(
            Channel(f"r{n}", 47 + n / 10, 9 + n / 7, 400.0, START_NS + 700 * n, RATE_HZ, kind, SAMPLES, data, 15.0)
        )
    return IqCapture(name, "fuzz", START_NS // 1000, 1e8, tuple(channels), {"a": "b"})


class Mutator:
    """An endless supply of records, of which some are sound; equal seeds give equal ones."""

    def __init__(self, seed: int, codecs: Codecs) -> None:
        self.rng = random.Random(seed)
        self._codecs = codecs
        self._captures = good_captures()
        self._records = [codecs.encode_capture(capture) for capture in self._captures]
        self._count = 0

    def mutant(self) -> bytes:
        """The next record."""
        rng = self.rng
        self._count += 1
        draw = rng.random()
        if draw < 0.08:
            return self._noise()
        if draw < 0.45:
            return self._changed_bytes(rng.choice(self._records))
        capture = replace(rng.choice(self._captures), capture_id=f"mutant-{self._count}")
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            capture = rng.choice(CHANGES)(rng, capture)
        try:
            value = self._codecs.encode_capture(capture)
        except InvalidCapture:  # it does not even fit the schema's types
            return self._changed_bytes(rng.choice(self._records))
        return self._changed_bytes(value) if draw > 0.95 else value

    def _noise(self) -> bytes:
        head = self.rng.choice((b"", b"\xc3\x01", self._records[0][:10], self._records[0][:26]))
        return head + self.rng.randbytes(self.rng.choice((0, 1, 8, 30, 200, 2000)))

    def _changed_bytes(self, value: bytes) -> bytes:
        for _ in range(self.rng.choice((1, 1, 1, 2, 5))):
            value = self.rng.choice(BYTE_CHANGES)(self.rng, value, self._records)
        return value


def _place(rng: random.Random, value: bytes) -> int:
    """Half of the time among the fields of the beginning, which samples would drown."""
    return rng.randrange(max(1, min(len(value), 140) if rng.random() < 0.5 else len(value)))


def _flip(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, value)
    return value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :] if value else value


def _cut(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    return value[: rng.randrange(len(value) + 1)]


def _drop(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, value)
    return value[:at] + value[at + rng.randrange(1, 40) :]


def _insert(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, value)
    return value[:at] + rng.randbytes(rng.randrange(1, 20)) + value[at:]


def _splice(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    return value[: _place(rng, value)] + (other := rng.choice(others))[_place(rng, other) :]


def _repeat(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, value)
    return value[:at] + value[at : at + rng.randrange(1, 120)] * rng.randrange(2, 40) + value[at:]


def _claim(rng: random.Random, value: bytes, _: Sequence[bytes]) -> bytes:
    """A number in place of a byte: where that was a length or a count, it now claims another."""
    at = _place(rng, value)
    claimed = rng.choice(NUMBERS) * rng.choice((1, 1, -1))
    return value[:at] + number(claimed) + value[at + 1 :]


BYTE_CHANGES: list[Callable[[random.Random, bytes, Sequence[bytes]], bytes]] = [
    _flip, _flip, _flip, _cut, _drop, _insert, _splice, _repeat, _claim, _claim
]  # fmt: skip


def _with(rng: random.Random, capture: IqCapture, every: float = 0.2, **fields: Any) -> IqCapture:
    """One channel with other fields, or now and then all of them."""
    if not capture.channels:
        return capture
    chosen = rng.randrange(len(capture.channels)) if rng.random() > every else None
    channels = [replace(c, **fields) if chosen in (None, n) else c for n, c in enumerate(capture.channels)]
    return replace(capture, channels=tuple(channels))


def _float_field(rng: random.Random, capture: IqCapture) -> IqCapture:
    value = rng.choice(FLOATS) * rng.choice((1, 1, -1)) if rng.random() < 0.7 else rng.uniform(-90, 90)
    return _with(rng, capture, **{rng.choice(FLOAT_FIELDS): value})


def _rate(rng: random.Random, capture: IqCapture) -> IqCapture:
    factor = 10 ** rng.uniform(-9, 5) if rng.random() < 0.5 else 1 + rng.uniform(-1e-3, 1e-3)
    return _with(rng, capture, 0.5, sample_rate_hz=RATE_HZ * factor)


def _whole_field(rng: random.Random, capture: IqCapture) -> IqCapture:
    return _with(rng, capture, **{rng.choice(WHOLE_FIELDS): rng.choice(NUMBERS) * rng.choice((1, 1, -1))})


def _start(rng: random.Random, capture: IqCapture) -> IqCapture:
    return _with(rng, capture, 0.0, start_time_ns=START_NS + int(rng.choice((1, -1)) * 10 ** rng.uniform(0, 18)))


def _text_field(rng: random.Random, capture: IqCapture) -> IqCapture:
    return _with(rng, capture, **{rng.choice(TEXT_FIELDS): rng.choice(TEXTS)})


def _head(rng: random.Random, capture: IqCapture) -> IqCapture:
    changes: list[dict[str, Any]] = [
        {"capture_id": rng.choice(TEXTS)},
        {"network": rng.choice(TEXTS)},
        {"captured_at_us": rng.choice(NUMBERS)},
        {"center_frequency_hz": rng.choice(FLOATS)},
        {"metadata": {f"{n}": "" for n in range(rng.choice((0, 1, 50, 2000)))}},
    ]
    return replace(capture, **rng.choice(changes))


def _channels(rng: random.Random, capture: IqCapture) -> IqCapture:
    count = rng.choice((0, 1, 2, 3, 4, 5, 32, 33))
    chosen = (capture.channels * 33)[:count]
    return replace(capture, channels=tuple(replace(c, receiver_id=f"r{n}") for n, c in enumerate(chosen)))


def _samples(rng: random.Random, capture: IqCapture) -> IqCapture:
    size = BYTES_PER_SAMPLE.get(capture.channels[0].datatype, 1) if capture.channels else 1
    count = rng.choice((0, 1, 2, 15, 16, 17, SAMPLES, 200))
    data = rng.choice(
        (bytes(count * size), rng.randbytes(count * size), b"\x7f" * count * size, b"\xff" * count * size)
    )
    return _with(rng, capture, 0.4, sample_count=count, samples=data[: len(data) - (rng.random() < 0.1)])


def _odd_floats(rng: random.Random, capture: IqCapture) -> IqCapture:
    values = np.array([rng.gauss(0, 1) for _ in range(2 * SAMPLES)], "<f4")
    with np.errstate(over="ignore", under="ignore"):
        values *= np.float32(10.0 ** rng.choice((-44, -30, -20, 0, 8, 11, 15, 20, 38)))
    if rng.random() < 0.3:
        values[rng.randrange(len(values))] = rng.choice((np.nan, np.inf, -np.inf))
    return _with(rng, capture, 0.4, datatype="cf32_le", sample_count=SAMPLES, samples=values.tobytes())


def _other_signal(rng: random.Random, capture: IqCapture) -> IqCapture:
    """Sound, but new: it takes the whole way."""
    kind = rng.choice(("cu8", "ci8", "ci16_le", "ci32_le"))
    data = rng.randbytes(SAMPLES * BYTES_PER_SAMPLE[kind])
    return _with(rng, capture, 0.5, datatype=kind, samples=data, sample_count=SAMPLES)


CHANGES: list[Callable[[random.Random, IqCapture], IqCapture]] = [
    _float_field, _rate, _whole_field, _start, _text_field, _head, _channels, _samples, _odd_floats, _other_signal,
    _other_signal,
]  # fmt: skip
