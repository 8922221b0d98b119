"""A receiver's stream of samples, cut into the slots of its network's schedule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream_app.errors import SettingsError
from stream_app.records.capture import BYTES_PER_SAMPLE
from stream_app.records.slots import NS, first_sample, next_slot_ns, sample_time_ns, samples_in, slot_length_ns

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True, slots=True)
class CutSlot:
    """A slot's samples: pass its fields to ``ReceptionSender.send``."""

    slot_at_us: int
    start_time_ns: int  # of the first sample, which is taken at the slot's begin or less than a sample later
    samples: bytes


class Slots:
    """Blocks of a stream in, whole slots out. Slots begin at whole multiples of their length since 1970.

    A slot with a gap is left out and counted; what comes twice is taken once. At most one slot is in memory. Not
    thread-safe.
    """

    def __init__(self, slot_s: float, sample_rate_hz: float, datatype: str = "ci16_le") -> None:
        """``slot_s``: whole microseconds. ``sample_rate_hz``: complex samples a second. Raises SettingsError."""
        self._length = slot_length_ns(slot_s)
        if datatype not in BYTES_PER_SAMPLE:
            raise SettingsError(f"datatype {datatype!r} is not known: use one of {', '.join(BYTES_PER_SAMPLE)}")
        if not sample_rate_hz > 0 or self._length <= 0 or samples_in(self._length, sample_rate_hz) < 2:
            raise SettingsError(f"a slot of {slot_s} s at {sample_rate_hz} Hz has less than 2 samples")
        self._rate, self._width = sample_rate_hz, BYTES_PER_SAMPLE[datatype]
        self._bytes = samples_in(self._length, sample_rate_hz) * self._width
        self._expected_ns: int | None = None  # when the next sample is taken, if nothing is missing
        self._slot_ns: int | None = None  # the slot under way
        self._next_ns: int | None = None  # the slot after the last one, while nothing is missing
        self._start_ns = 0  # of its first sample
        self._held = bytearray()  # what is there of it
        self.lost = 0  # slots that were begun and have a gap

    def feed(self, start_time_ns: int, block: Buffer) -> Iterator[CutSlot]:
        """Takes a block whose first sample was taken at ``start_time_ns``; yields the slots that it completes.

        Times may drift against the nominal rate by as much as the clock does: each block's own time counts. Raises
        ValueError for a block that is no whole number of samples.
        """
        data = memoryview(block).cast("B")
        if len(data) % self._width:
            raise ValueError(f"a block of {len(data)} bytes is no whole number of samples of {self._width} bytes")
        first = self._joined(start_time_ns, len(data) // self._width)
        yield from self._cut(start_time_ns, data, first)

    def _joined(self, start_ns: int, count: int) -> int:
        """How many of the block's samples came before. Drops the slot under way where some are missing."""
        expected, self._expected_ns = self._expected_ns, sample_time_ns(start_ns, count, self._rate)
        if expected is None:
            return 0
        off = (start_ns - expected) * self._rate / NS  # samples
        if abs(off) <= 0.5:
            return 0
        if off < 0 and expected - start_ns <= self._length:
            self._expected_ns = max(expected, self._expected_ns)
            return min(count, round(-off))
        # A gap, or a clock that was set back: what is held does not go on.
        self._drop()
        return 0

    def _drop(self) -> None:
        self.lost += self._slot_ns is not None
        self._slot_ns = self._next_ns = None
        self._held.clear()

    def _cut(self, start_ns: int, data: memoryview, at: int) -> Iterator[CutSlot]:
        count = len(data) // self._width
        while at < count:
            if self._slot_ns is None:
                # Without a slot before, the first that begins after the sample before this one. With one, the next:
                # by this block's clock, it may have begun a little before this sample.
                before_ns = sample_time_ns(start_ns, at - 1, self._rate)
                slot = self._next_ns or next_slot_ns(before_ns + 2, self._length)
                at = max(at, first_sample(start_ns, self._rate, slot))
                if at >= count:
                    return
                self._slot_ns, self._start_ns = slot, sample_time_ns(start_ns, at, self._rate)
            slot = self._slot_ns
            # A clock slower than its nominal rate has fewer samples in a slot.
            end = min(count, max(at, first_sample(start_ns, self._rate, slot + self._length)))
            taken = data[at * self._width : end * self._width][: self._bytes - len(self._held)]
            self._held += taken
            at += len(taken) // self._width
            if len(self._held) == self._bytes or at < count:
                self._slot_ns, self._next_ns = None, slot + self._length
                held, self._held = self._held, bytearray()
                yield CutSlot(slot // 1000, self._start_ns, bytes(held))
