"""The note beside an offset says all that a successor must know, in few bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.assembly.note import MOST_BYTES, Mark, decode_note, encode_note
from stream_app.assembly.slots import NEVER, mark_name

TIMES = st.integers(0, 7_258_118_400_000_000)
MARKS = st.builds(
    Mark,
    st.binary(min_size=8, max_size=8),
    st.one_of(st.just(NEVER), TIMES),
    st.one_of(st.just(NEVER), TIMES),
    st.dictionaries(TIMES, st.integers(0, 2**32 - 1), max_size=20),
)


@given(st.integers(0, 2**62), st.lists(MARKS, max_size=8))
def test_what_is_noted_is_read_again(read_to: int, marks: list[Mark]) -> None:
    note = encode_note(read_to, marks)
    assert note.isascii()
    assert decode_note(note) == (read_to, marks)


def test_streams_of_many_slots_a_second_fit_many_times_over() -> None:
    """20 streams of 100 slots a second, 3 s of them above the floor."""
    begin = 1_700_000_000_000_000
    closed = {begin + 10_000 * n: 0b111 for n in range(300)}
    marks = [Mark(mark_name(b"%d" % n), begin + 3_000_000, begin - 1, closed) for n in range(20)]
    assert len(encode_note(10**9, marks)) < MOST_BYTES / 2


@pytest.mark.parametrize("note", ["x", "a1", "a1!!", "a1" + "0" * 40, encode_note(3, [])[:-2], "k8s"])
def test_what_another_program_wrote_is_no_note(note: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_note(note)
