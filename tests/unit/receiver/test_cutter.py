from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.errors import RecordingError, SettingsError
from stream_app.network.recording import Recording
from stream_app.network.replay import captures_of
from stream_app.receiver import CutSlot, Slots
from stream_app.records.slots import sample_time_ns
from tests.unit.network.networks import network

_NS = 10**9
_START_NS = 1_700_000_000 * _NS


def _numbers(first: int, count: int) -> bytes:
    """Samples that say which they are."""
    return np.arange(first, first + count, dtype="<i4").tobytes()


def _read(slot: CutSlot) -> np.ndarray:
    return np.frombuffer(slot.samples, "<i4")


def _fed(slots: Slots, start_ns: int, rate: float, spans: list[tuple[int, int]]) -> list[CutSlot]:
    """Feeds samples first..first + count of a stream for each of ``spans``."""
    return [
        slot
        for first, count in spans
        for slot in slots.feed(sample_time_ns(start_ns, first, rate), _numbers(first, count))
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(_START_NS, _START_NS + _NS),
    st.floats(900, 5000),
    st.sampled_from([0.1, 0.25, 0.3, 1.0]),
    st.lists(st.integers(1, 700), min_size=1, max_size=30),
)
def test_slots_are_those_of_a_replayed_recording_however_the_stream_is_cut_into_blocks(
    start: int, rate: float, slot_s: float, counts: list[int]
) -> None:
    firsts = [0, *itertools.accumulate(counts)]
    slots = Slots(slot_s, rate)
    found = _fed(slots, start, rate, list(zip(firsts, counts, strict=False)))
    samples = np.frombuffer(_numbers(0, firsts[-1]), "<i2").reshape(-1, 2)
    recordings = [Recording(name, None, start, rate, samples) for name in ("a", "b")]
    try:
        wanted = [capture.channels[0] for capture in captures_of(recordings, network(), slot_s)]
    except RecordingError:  # too short for one
        wanted = []
    assert slots.lost == 0
    assert [slot.samples for slot in found] == [channel.samples for channel in wanted]
    for slot, channel in zip(found, wanted, strict=True):
        assert abs(slot.start_time_ns - channel.start_time_ns) <= 1  # blocks' times are rounded, too


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-100, 300), st.integers(1, 400)), min_size=1, max_size=20))
def test_with_gaps_and_overlaps_every_slot_that_comes_is_whole_and_comes_once(steps: list[tuple[int, int]]) -> None:
    at, spans = 0, []
    for step, count in steps:
        first = max(0, at + step)
        spans.append((first, count))
        at = max(at, first + count)
    found = _fed(Slots(0.1, 1000.0), _START_NS, 1000.0, spans)
    for slot in found:
        assert (np.diff(_read(slot)) == 1).all()
        assert len(_read(slot)) == 100
        assert slot.start_time_ns == slot.slot_at_us * 1000 == _START_NS + int(_read(slot)[0]) * 10**6
    starts = [slot.slot_at_us for slot in found]
    assert starts == sorted(set(starts))


def test_a_gap_costs_the_slot_that_has_it_and_is_counted() -> None:
    slots = Slots(0.1, 1000.0)
    found = _fed(slots, _START_NS, 1000.0, [(0, 150), (170, 230)])
    assert [int(_read(slot)[0]) for slot in found] == [0, 200, 300]
    assert slots.lost == 1


def test_what_comes_twice_is_taken_once() -> None:
    slots = Slots(0.1, 1000.0)
    found = _fed(slots, _START_NS, 1000.0, [(0, 150), (100, 50), (120, 80), (150, 50)])
    assert [int(_read(slot)[0]) for slot in found] == [0, 100]
    assert slots.lost == 0


def test_a_clock_that_is_set_back_begins_anew() -> None:
    slots = Slots(0.1, 1000.0)
    assert len(_fed(slots, _START_NS + 3600 * _NS, 1000.0, [(0, 250)])) == 2
    assert len(_fed(slots, _START_NS, 1000.0, [(0, 250)])) == 2


@pytest.mark.parametrize("ppm", [-100, 100])
def test_a_clock_off_its_nominal_rate_misses_no_slot(ppm: float) -> None:
    nominal, true = 100_000.0, 100_000.0 * (1 + ppm * 1e-6)
    slots = Slots(0.1, nominal)
    found = _fed(slots, _START_NS, true, [(first, 1000) for first in range(0, 500_000, 1000)])
    assert [slot.slot_at_us for slot in found] == [(_START_NS // 1000) + n * 100_000 for n in range(len(found))]
    assert len(found) >= 49
    assert all(-2 <= slot.start_time_ns - slot.slot_at_us * 1000 <= 2 * _NS / true for slot in found)
    assert slots.lost == 0


@pytest.mark.parametrize(
    ("slot_s", "rate", "datatype", "words"),
    [
        (0.0, 1e6, "ci8", "less than 2"),
        (float("nan"), 1e6, "ci8", "less than 2"),
        (1.0, 1.0, "ci8", "less than 2"),
        (1.0, float("nan"), "ci8", "less than 2"),
        (1.0, 1e6, "ci4", "not known"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(slot_s: float, rate: float, datatype: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Slots(slot_s, rate, datatype)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        list(Slots(1.0, 1000.0).feed(0, b"12345"))
