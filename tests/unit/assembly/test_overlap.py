"""Channels that overlap only partly are cut to the time they share, to the sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.assembly.overlap import LEAST_SAMPLES, fit
from stream_app.records.capture import Channel

START_NS = 1_700_000_000_000_000_000


def channel(name: str, late_ns: int, count: int, rate_hz: float = 1e6, datatype: str = "ci16_le") -> Channel:
    """Its samples say their own numbers."""
    numbers = np.repeat(np.arange(count), 2).astype("<i2" if datatype == "ci16_le" else "<f4")
    samples = numbers.tobytes()
    return Channel(name, 50.0, 8.0, 0.0, START_NS + late_ns, rate_hz, datatype, count, samples)


def first_sample(cut: Channel) -> int:
    return int(np.frombuffer(cut.samples, "<i2" if cut.datatype == "ci16_le" else "<f4")[0])


def test_channels_that_begin_almost_together_stay_as_they_are() -> None:
    channels = [channel("a", 0, 1000), channel("b", 15_000, 1000), channel("c", 400, 1000)]
    assert fit(channels, 2) == channels


def test_a_late_channel_cuts_the_others_by_whole_samples() -> None:
    a, b = fit([channel("a", 0, 1000), channel("b", 250_400, 1000)], 2)
    assert (first_sample(a), a.start_time_ns, a.sample_count) == (251, START_NS + 251_000, 749)
    assert (first_sample(b), b.start_time_ns, b.sample_count) == (0, START_NS + 250_400, 749)
    assert len(a.samples) == len(b.samples) == 749 * 4


def test_rates_and_datatypes_stay_each_channels_own() -> None:
    slow = channel("slow", 100_000, 500, 250e3, "cf32_le")
    fast, cut = fit([channel("fast", 0, 1000), slow], 2)
    assert (fast.sample_rate_hz, cut.sample_rate_hz, cut.datatype) == (1e6, 250e3, "cf32_le")
    assert (fast.sample_count, cut.sample_count) == (900, 225)
    assert (cut.start_time_ns, first_sample(fast)) == (slow.start_time_ns, 100)


def test_who_shares_no_time_is_left_out_as_long_as_enough_stay() -> None:
    channels = [channel("a", 0, 1000), channel("far", 5_000_000, 1000), channel("c", 2_000, 1000)]
    assert [each.receiver_id for each in fit(channels, 2)] == ["a", "c"]
    assert fit(channels, 3) == []
    assert fit([channels[0], channels[1]], 2) == []


@given(
    st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(2, 3000), st.floats(1e5, 2e6)), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300, deadline=None)
def test_what_is_cut_shares_its_time_to_the_sample(spans: list[tuple[int, int, float]], chance: object) -> None:
    channels = [channel(str(n), late, count, rate, "cf32_le") for n, (late, count, rate) in enumerate(spans)]
    kept = fit(channels, 2)
    whole = {each.receiver_id: each for each in channels}
    if all(whole[each.receiver_id] == each for each in kept):
        return  # as they came: they overlap well enough, or too few do
    ends = [each.start_time_ns + each.sample_count / each.sample_rate_hz * 1e9 for each in kept]
    longest_ns = max(1e9 / each.sample_rate_hz for each in kept)
    assert max(each.start_time_ns for each in kept) - min(each.start_time_ns for each in kept) <= longest_ns + 1
    assert max(ends) - min(ends) <= 2 * longest_ns + 1
    for each in kept:
        origin = whole[each.receiver_id]
        skipped = first_sample(each)
        assert each.sample_count >= LEAST_SAMPLES
        assert each.start_time_ns == origin.start_time_ns + round(skipped * 1e9 / each.sample_rate_hz)
        assert bytes(each.samples) == origin.samples[skipped * 8 : (skipped + each.sample_count) * 8]
        assert replace(each, start_time_ns=0, sample_count=0, samples=b"") == replace(
            origin, start_time_ns=0, sample_count=0, samples=b""
        )
