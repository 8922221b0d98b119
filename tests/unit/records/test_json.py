"""The JSON form of captures: read in pieces, and still what the standard library reads."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.errors import InvalidCapture
from stream_app.records.json import InvalidField, capture_from_json
from stream_app.records.json_text import from_base64, parse_json

NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.text(), inner),
        st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1),
    ),
    max_leaves=30,
)


def as_lists(value: Any) -> Any:
    """The value with its arrays as lists, all numbers in pairs as floats."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [as_lists(part) for part in value]
    return {name: as_lists(part) for name, part in value.items()} if isinstance(value, dict) else value


@settings(max_examples=300, derandomize=True, deadline=None)
@given(value=VALUES, indent=st.sampled_from([None, 0, 2]))
def test_any_json_is_read_as_the_standard_library_reads_it(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert as_lists(parse_json(text.encode())) == json.loads(text)


@pytest.mark.parametrize("count", [1, 4095, 4096, 4097, 12_345])
def test_pairs_are_whole_wherever_their_pieces_are_cut(count: int) -> None:
    pairs = np.random.default_rng(count).normal(size=(count, 2))
    found = parse_json(json.dumps({"samples": pairs.tolist(), "after": [1]}).encode())
    assert isinstance(found["samples"], np.ndarray)
    assert np.array_equal(found["samples"], pairs)
    assert found["after"] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "[[1,2]", "[[1,2],]", "[[1,2] [3,4]]", "[[1,2],[3,4]", "[[01,2]]", "[[1.,2]]", "[[+1,2]]", "[[1,NaN]]",
        "NaN", "-Infinity", '{"a":1,}', "{'a':1}", '"\n"', "[1]]", "\ufeff[1]", "[" * 5000, '{"a":' * 5000,
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text.encode())


@pytest.mark.parametrize(
    "text", ["[[1,2],[3,4],[5]]", '[[1,2],"x"]', "[[1,2],[null,2]]", "[[1,2],[true,2]]", "[[1,2],3]"]
)
def test_pairs_with_something_else_among_them_stay_a_list(text: str) -> None:
    assert as_lists(parse_json(text.encode())) == json.loads(text)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 786_431, 786_432, 786_433, 2_000_000])
def test_base64_is_whole_wherever_its_pieces_are_cut(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert from_base64(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    "text", ["A", "AAA", "AA=A", "AA==AAAA", "A" * 2**20 + "AA==" + "AAAA", "AAA\n", "AA-_", "ÄAAA"]
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_base64(text)


def small(**channel: Any) -> dict[str, Any]:
    return {
        "center_frequency_hz": 1e8,
        "channels": [
            {
                "receiver_id": "a",
                "latitude": 50.0,
                "longitude": 9.0,
                "altitude_m": 0.0,
                "start_time_ns": 2**60 + 1,
                "sample_rate_hz": 1e6,
                "samples": [[0.5, -0.5], [1, 0]],
            }
            | channel
        ],
    }


def test_pairs_become_little_endian_floats() -> None:
    channel = capture_from_json(small()).channels[0]
    assert (channel.datatype, channel.sample_count) == ("cf32_le", 2)
    assert bytes(channel.samples) == np.array([0.5, -0.5, 1, 0], "<f4").tobytes()


def test_a_time_in_nanoseconds_keeps_each_of_them() -> None:
    for stated in (2**60 + 1, str(2**60 + 1)):
        assert capture_from_json(small(start_time_ns=stated)).channels[0].start_time_ns == 2**60 + 1
    with pytest.raises(InvalidField, match="integer"):
        capture_from_json(small(start_time_ns=float(2**60)))


def test_a_problem_is_named_by_its_place_in_the_whole_document() -> None:
    with pytest.raises(InvalidField) as caught:
        capture_from_json(small(latitude=-91), "captures[7]")
    assert caught.value.field == "captures[7].channels[0].latitude"
    assert isinstance(caught.value, InvalidCapture)
    assert str(caught.value).startswith("captures[7].channels[0].latitude: ")


def test_long_values_are_not_repeated_in_the_message() -> None:
    with pytest.raises(InvalidField) as caught:
        capture_from_json(small(latitude="9" * 10_000))
    assert len(str(caught.value)) < 200
