"""Receptions in any order, doubled and interrupted, become each slot's one capture."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.assembly.note import decode_note
from stream_app.assembly.slots import Assembled, PartitionSlots, Refused, Rules
from stream_app.network.receptions import receptions_of
from stream_app.records.reception import IqReception
from tests.unit.assembly.receptions import (
    COUNT,
    EPOCH_US,
    NAMES,
    NETWORKS,
    RULES,
    SLOT_US,
    read_all,
    read_with_deaths,
    reception,
    told,
)


def captures(slots: PartitionSlots) -> list[Assembled]:
    return [result for result in slots.results if isinstance(result, Assembled)]


def codes(slots: PartitionSlots) -> list[str]:
    return [result.error.code for result in slots.results if isinstance(result, Refused)]


def slot_of(number: int) -> list[IqReception]:
    return [reception(name, number) for name in NAMES]


def test_a_slot_is_a_capture_as_soon_as_all_receivers_are_there() -> None:
    slots = read_all(slot_of(5)[::-1], at_end=False)
    [result] = captures(slots)
    capture = result.capture
    assert (capture.capture_id, capture.network) == (f"tri/433920000/{EPOCH_US + 5 * SLOT_US}", "tri")
    assert (capture.captured_at_us, capture.center_frequency_hz) == (EPOCH_US + 5 * SLOT_US, 433.92e6)
    assert [channel.receiver_id for channel in capture.channels] == list(NAMES)
    assert (result.why, slots.offset, slots.held_bytes) == ("complete", 3, 0)


def test_what_is_taken_apart_comes_together_again() -> None:
    [result] = captures(read_all(slot_of(1)))
    again = captures(read_all(random.Random(3).sample(receptions_of(result.capture), 3)))
    assert [each.capture for each in again] == [result.capture]


def test_event_time_ends_a_slot_that_has_enough_receivers() -> None:
    log = [*slot_of(0)[:2], *slot_of(4)]
    assert len(captures(read_all(log, at_end=False))) == 1  # 4 slots are within patience and lateness
    slots = read_all([*log, *slot_of(5)], at_end=False)
    assert [(len(each.capture.channels), each.why) for each in captures(slots)] == [
        (3, "complete"),
        (2, "patience"),  # as soon as slot 5 was heard by two
        (3, "complete"),
    ]


def test_one_receiver_alone_does_not_move_event_time() -> None:
    slots = read_all([*slot_of(0)[:2], *(reception("south", 100 * n) for n in range(1, 9))], at_end=False)
    assert not slots.results
    assert slots.open_slots == 9


def test_too_few_receivers_are_dead_letters_each() -> None:
    slots = read_all([reception("north", 0), *slot_of(9)], at_end=False)
    assert codes(slots) == ["too-few-receivers"]


def test_a_late_reception_is_refused_and_its_capture_stays_one() -> None:
    log = [*slot_of(0)[:2], *slot_of(9), reception("south", 0), reception("south", 1)]
    slots = read_all(log, at_end=False)
    assert codes(slots) == ["late-reception"] * 2
    assert len(captures(slots)) == 2


def test_a_repeat_is_taken_once_whether_its_slot_is_open_or_not() -> None:
    first = reception("north", 0)
    other = replace(first, metadata={"try": "2"})
    slots = read_all([first, other, *slot_of(0)[1:], other], at_end=False)
    [result] = captures(slots)
    assert [held.record for held in result.held] == [0, 2, 3]
    assert (codes(slots), slots.repeated) == ([], 2)


def test_the_wall_clock_ends_what_event_time_does_not() -> None:
    slots = read_all(slot_of(0)[:2], at_end=False)
    slots.pass_time(RULES.idle_s - 1)
    assert not slots.results
    slots.pass_time(1)
    assert [each.why for each in captures(slots)] == ["idle"]


def test_a_stream_is_not_late_because_another_is_ahead() -> None:
    other = [replace(each, center_frequency_hz=100e6) for each in slot_of(1000)]
    slots = read_all([*other, *slot_of(0), *other], at_end=False)
    assert len(captures(slots)) == 2


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (reception("west"), "unknown-receiver"),
        (reception("north", network="quad"), "unknown-network"),
        (reception("north", center_frequency_hz=433.92e6 + 0.1), "frequency-mismatch"),
        (reception("north", late_ns=COUNT * 1000), "no-overlap"),
    ],
)
def test_who_does_not_belong_is_refused_and_the_others_go_on(wrong: IqReception, code: str) -> None:
    for order in ([wrong, *slot_of(0)[1:]], [*slot_of(0)[1:], wrong]):
        slots = read_all(order)
        assert codes(slots) == [code]
        [result] = captures(slots)
        assert [channel.receiver_id for channel in result.capture.channels] == ["east", "south"]


def test_metadata_keeps_what_all_say_and_names_who_says_the_rest() -> None:
    said = [{"site": "a", "sdr": "k"}, {"site": "b", "sdr": "k"}, {"sdr": "k"}]
    log = [replace(each, metadata=words) for each, words in zip(slot_of(0), said, strict=True)]
    [result] = captures(read_all(log))
    assert result.capture.metadata == {"sdr": "k", "north.site": "a", "east.site": "b"}


def test_the_bounds_end_the_oldest_slot_early() -> None:
    rules = replace(RULES, max_span=10)
    slots = PartitionSlots(NETWORKS, rules)
    log = [*slot_of(0)[:2], *(reception("south", 1 + n) for n in range(8)), reception("east", 1)]
    for offset, each in enumerate(log):
        slots.add(each, offset, offset, 100)
        slots.bound()
        assert offset + 1 - slots.offset <= 10
    assert [(each.why, len(each.held)) for each in captures(slots)] == [("early", 2)]


def test_a_note_stays_within_its_bound_whatever_is_sent() -> None:
    rules = replace(RULES, note_bytes=400, lateness_us=10**9)
    slots = PartitionSlots(NETWORKS, rules)
    chance = random.Random(1)
    for offset in range(0, 1500, 3):
        frequency_hz = 1e6 * (1 + (offset // 30) % 40)
        at_us = EPOCH_US + chance.randrange(10**9)
        for receiver, name in enumerate(NAMES[: chance.choice((1, 3))]):
            made = replace(reception(name), slot_at_us=at_us, center_frequency_hz=frequency_hz)
            slots.add(made, offset + receiver, offset + receiver, 100)
        if not offset % 50:
            assert len(slots.note()) <= 400
    assert any(each.why == "early" for each in captures(slots)) or "too-few-receivers" in codes(slots)


def test_what_was_sent_again_is_a_stream_of_its_own() -> None:
    slots = read_all(slot_of(0), at_end=False)
    for offset, each in enumerate(slot_of(0), 3):
        slots.add(each, offset, offset, 100, replays=1)
    name = f"tri/433920000/{EPOCH_US}"
    assert [each.capture.capture_id for each in captures(slots)] == [name, f"{name}#1"]


def taken_over(slots: PartitionSlots, rules: Rules = RULES) -> PartitionSlots:
    """The successor of what has been committed."""
    read_to, marks = decode_note(slots.note())
    return PartitionSlots(NETWORKS, rules, slots.offset, read_to, marks)


def test_a_successor_knows_the_slots_that_ended_ahead_of_time() -> None:
    slots = taken_over(read_all([*slot_of(0), *slot_of(1)], at_end=False))
    for offset, each in enumerate([*slot_of(0), *slot_of(1), reception("north", 2)], 6):
        slots.add(each, offset, offset, 100)
    assert (slots.results, slots.repeated, slots.open_slots) == ([], 6, 1)


def test_a_successor_ends_no_slot_before_it_has_read_what_belongs_to_it() -> None:
    """Not even where it asks for fewer receivers."""
    log = [reception("north", 0), *slot_of(9)[:2], reception("east", 0)]
    slots = taken_over(read_all(log, replace(RULES, min_receivers=3), at_end=False))
    for offset, each in enumerate(log):
        slots.pass_time(RULES.idle_s)
        slots.add(each, offset, offset, 100)
    slots.pass_time(RULES.idle_s)
    assert [len(each.held) for each in captures(slots)] == [2, 2]
    assert codes(slots) == []


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_order_and_any_doubling_give_the_same_captures(data: st.DataObject) -> None:
    """The order is any within what lateness allows."""
    sent = [each for number in range(12) for each in slot_of(number)]
    kept = data.draw(st.lists(st.booleans(), min_size=len(sent), max_size=len(sent)))
    sent = [each for each, stays in zip(sent, kept, strict=True) if stays]
    twice = data.draw(st.lists(st.sampled_from(sent), max_size=12)) if sent else []
    delays = st.floats(0, (RULES.lateness_us + RULES.patience_us) / SLOT_US - 0.01)
    arrivals = [(each.slot_at_us / SLOT_US + data.draw(delays), n, each) for n, each in enumerate([*sent, *twice])]
    mixed = read_all([each for *_, each in sorted(arrivals, key=lambda arrival: arrival[:2])])
    in_order = read_all(sent)
    by_slot = {each.capture.capture_id: each.capture for each in captures(in_order)}
    assert {each.capture.capture_id: each.capture for each in captures(mixed)} == by_slot
    assert len(captures(mixed)) == len(by_slot)
    assert "late-reception" not in codes(mixed)


LOGS = st.lists(
    st.builds(
        reception,
        st.sampled_from([*NAMES, "west"]),
        st.integers(0, 30),
        st.sampled_from([0, 0, 20_000, 10**9]),
        center_frequency_hz=st.sampled_from([433.92e6, 100e6]),
    ),
    max_size=120,
)


@given(LOGS, st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=12), st.sampled_from([4096, 140]))
@settings(max_examples=300, deadline=None)
def test_deaths_between_commits_lose_nothing_and_double_nothing(
    log: list[IqReception], steps: list[tuple[int, bool]], note_bytes: int
) -> None:
    rules: Rules = replace(RULES, note_bytes=note_bytes)
    results = read_with_deaths(log, steps, rules)
    assert max(Counter(r.capture.capture_id for r in results if isinstance(r, Assembled)).values(), default=1) == 1
    told_of = Counter(
        record
        for result in results
        for record in ([held.record for held in result.held] if isinstance(result, Assembled) else [result.record])
    )
    assert max(told_of.values(), default=1) == 1
    if note_bytes == 4096:
        assert Counter(told(results)) == Counter(told(read_all(log, rules).results))
