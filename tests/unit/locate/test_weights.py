"""A distrusted receiver is left out where others can do without it, else its word counts for less."""

from __future__ import annotations

import math

import pytest

from stream_app.locate.weights import lowered
from stream_app.records.capture import Channel, IqCapture


def capture(count: int, sigma_ns: float | None = 30.0) -> IqCapture:
    channels = tuple(
        Channel(f"r{k}", 47.0 + k, 9.0, 0.0, 1_000_000, 1e6, "cu8", 4, b"12345678", start_sigma_ns=sigma_ns)
        for k in range(count)
    )
    return IqCapture("id", "net", 0, 1e8, channels)


def test_nothing_changes_where_all_are_trusted() -> None:
    one = capture(4)
    assert lowered(one, {"elsewhere": 5.0}) == (one, ())


def test_of_four_the_distrusted_one_is_left_out_and_named() -> None:
    one = capture(4)
    found, names = lowered(one, {"r2": 2000.0})
    assert names == ("r2",)
    assert found.channels == (one.channels[0], one.channels[1], one.channels[3])
    assert len(one.channels) == 4


@pytest.mark.parametrize("sigma_ns", [40.0, None])
def test_of_three_it_stays_at_its_found_time_with_the_offset_as_doubt(sigma_ns: float | None) -> None:
    one = capture(3, sigma_ns)
    found, names = lowered(one, {"r1": -2000.4})
    assert names == ("r1",)
    assert found.channels[::2] == one.channels[::2]
    assert found.channels[1].start_time_ns == 1_002_000
    assert found.channels[1].start_sigma_ns == math.hypot(sigma_ns or 0.0, 2000.4)
    assert one.channels[1].start_sigma_ns == sigma_ns


def test_of_four_with_two_distrusted_all_stay() -> None:
    found, names = lowered(capture(4), {"r0": 100.0, "r3": 500.0})
    assert names == ("r0", "r3")
    assert len(found.channels) == 4
