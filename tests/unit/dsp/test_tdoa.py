from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.features import loop, model_spec
from benchmarks.network import BENCH_NETWORK
from stream_app.dsp.features import FeatureError, make_extractor
from stream_app.network.simulator import Simulator
from tests.unit.dsp.signals import START_NS, Waveform, channel, noise, peak_lag

RATE = 1e6
COUNT = 4480
FINE = 8


def spec(**changes):
    base = {
        "extractor": "tdoa",
        "max_receivers": 2,
        "sample_rate_hz": RATE,
        "max_lag_s": 70e-6,
        "oversample": FINE,
        "band_hz": None,
        "weighting": "none",
    }
    return base | changes


def capture(seed, arrivals_s, *, rates=None, starts_ns=None, snr_db=20.0, band=(-325e3, 325e3), **options):
    wave = Waveform(seed, *band, COUNT / RATE)
    rng = np.random.default_rng(seed + 10_000)
    rates = rates or [RATE] * len(arrivals_s)
    starts_ns = starts_ns or [0] * len(arrivals_s)
    return [
        channel(
            wave.at(start * 1e-9 - arrival, rate, COUNT) + noise(rng, COUNT, snr_db),
            rate,
            START_NS + start,
            **options,
        )
        for arrival, rate, start in zip(arrivals_s, rates, starts_ns, strict=True)
    ]


@pytest.mark.parametrize("weighting", ["none", "phat", "coherence"])
@pytest.mark.parametrize("rates", [None, [RATE, RATE * (1 + 50e-6)], [RATE * (1 - 50e-6), RATE]])
@pytest.mark.parametrize(
    ("delay_s", "starts_ns"),
    [
        (12e-6, [0, 0]),
        (-20.37e-6, [0, 0]),
        (33.5e-6, [0, 0]),
        (7.21e-6, [0, 250_433]),
        (0.4e-6, [911_111, 0]),
    ],
)
def test_known_delay_comes_back_within_a_hundredth_of_a_sample(delay_s, starts_ns, rates, weighting):
    extractor = make_extractor(spec(weighting=weighting, band_hz=[0, 325e3]))
    batch = [capture(seed, [delay_s, 0.0], rates=rates, starts_ns=starts_ns) for seed in range(6)]
    found = np.array([peak_lag(features[0], RATE * FINE) for features in extractor.extract(batch)])
    assert abs(found.mean() - delay_s) * RATE < 0.01
    assert found.std() * RATE < 0.03


def test_other_sample_rate_is_put_on_the_common_grid():
    extractor = make_extractor(spec())
    wave = Waveform(3, -200e3, 200e3, COUNT / RATE)
    pair = [channel(wave.at(-21.3e-6, 768e3, 3440), 768e3), channel(wave.at(0, RATE, COUNT), RATE)]
    assert peak_lag(extractor.extract([pair])[0, 0], RATE * FINE) == pytest.approx(21.3e-6, abs=0.02e-6)


def test_pairs_are_in_order_and_lags_are_differences_of_arrival():
    extractor = make_extractor(spec(max_receivers=3))
    arrivals = [5e-6, 17.5e-6, -8e-6]
    rows = extractor.extract([capture(1, arrivals)])[0]
    wanted = [arrivals[i] - arrivals[j] for i, j in [(0, 1), (0, 2), (1, 2)]]
    assert np.allclose([peak_lag(row, RATE * FINE) for row in rows], wanted, atol=0.03e-6)


def test_missing_receivers_are_zero_pairs():
    extractor = make_extractor(spec(max_receivers=4, oversample=2))
    features = extractor.extract([capture(1, [0, 1e-6, 2e-6])])
    assert features.shape == (1, *extractor.shape) == (1, 6, 2 * 281 + 1)
    assert [bool(row.any()) for row in features[0]] == [True, True, False, True, False, False]


def test_a_single_receiver_has_no_arrival_time_difference():
    with pytest.raises(FeatureError, match="at least 2 receivers") as raised:
        make_extractor(spec()).extract([capture(1, [0, 1e-6]), capture(1, [0.0])])
    assert set(raised.value.reasons) == {1}


def test_a_silent_receivers_pairs_are_zeros():
    three = capture(1, [0, 0, 0])
    three[1] = channel(np.zeros(COUNT), RATE)
    rows = make_extractor(spec(max_receivers=3)).extract([three])[0]
    assert [bool(row.any()) for row in rows] == [False, True, False]


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_channels_of_one_value_are_no_signal(value: float) -> None:
    pair = capture(1, [0, 0])
    pair[1] = channel(np.full(COUNT, value), RATE)
    with pytest.raises(FeatureError, match="1 of its 2 channels hold one value"):
        make_extractor(spec()).extract([pair])


def test_a_signal_too_weak_for_single_precision_is_none() -> None:
    faint = [channel(np.frombuffer(c.samples, "<c8") * 1e-30, RATE) for c in capture(1, [0, 0])]
    with pytest.raises(FeatureError, match="tell from zero"):
        make_extractor(spec()).extract([faint])


def test_a_rate_far_below_the_models_does_not_take_its_memory() -> None:
    slow = [channel(np.frombuffer(c.samples, "<c8"), 0.01) for c in capture(1, [0, 0])]
    with pytest.raises(FeatureError, match="slowest channel came at"):
        make_extractor(spec()).extract([slow])


def test_negative_frequencies_count_and_band_limits_hold():
    low_side = capture(2, [9.3e-6, 0], band=(-400e3, -250e3), snr_db=30)
    inside = make_extractor(spec(band_hz=[200e3, 450e3])).extract([low_side])[0, 0]
    outside = make_extractor(spec(band_hz=[0, 200e3])).extract([low_side])[0, 0]
    lags = (len(inside) - 1) // 2
    assert peak_lag(inside, RATE * FINE) == pytest.approx(9.3e-6, abs=0.05e-6)
    assert np.hypot(inside[:lags], inside[lags:-1]).max() > 0.95
    assert np.hypot(outside[:lags], outside[lags:-1]).max() < 0.3


def test_independent_samples_are_those_of_the_band_and_the_mean_coherence_agrees():
    rng = np.random.default_rng(0)
    batch = [[channel(noise(rng, COUNT, 0), RATE) for _ in range(2)] for _ in range(40)]
    for band, width in [(None, RATE), ([0, 100e3], 200e3), ([50e3, 100e3], 100e3)]:
        features = make_extractor(spec(band_hz=band)).extract(batch)[:, 0]
        lags = (features.shape[1] - 1) // 2
        mean = np.mean(features[:, :lags] ** 2 + features[:, lags:-1] ** 2)
        effective = features[:, -1].mean()
        assert 0.8 < effective / (width * COUNT / RATE) <= 1.0
        assert mean * effective == pytest.approx(1, abs=0.1)


def test_coloured_spectrum_has_fewer_independent_samples():
    narrow = capture(4, [0, 3e-6], band=(-20e3, 20e3), snr_db=30)
    features = make_extractor(spec()).extract([narrow])[0, 0]
    assert features[-1] == pytest.approx(40e3 * COUNT / RATE, rel=0.25)


def test_features_of_a_capture_do_not_depend_on_its_neighbours():
    extractor = make_extractor(spec(max_receivers=3, oversample=2))
    odd = [RATE, RATE * (1 + 50e-6), RATE * (1 - 20e-6)]
    batch = [
        capture(
            n,
            [0, 3.3e-6, -9e-6][: 2 + n % 2],
            rates=odd[: 2 + n % 2] if n % 5 == 0 else None,
            starts_ns=[0, 40 * n, 7_000][: 2 + n % 2] if n % 3 else None,
            datatype="ci16_le",
        )
        for n in range(29)
    ]
    together = extractor.extract(batch)
    for n, one in enumerate(batch):
        assert np.array_equal(extractor.extract([one])[0], together[n])
    assert np.array_equal(extractor.extract(batch[3:20])[::-1], extractor.extract(batch[3:20][::-1]))


def heard_noise(seed, receivers, count):
    rng = np.random.default_rng(seed)
    signal = np.convolve(noise(rng, count, 0), np.ones(4), "same")  # 'coherence' looks for noise beside a signal
    return [
        channel(signal + noise(rng, count, 3), RATE * (1 + 1e-7 * r), START_NS + 300 * r, "ci16_le")
        for r in range(receivers)
    ]


@settings(max_examples=20, deadline=None)
@given(
    receivers=st.sampled_from([2, 3, 8]),
    oversample=st.sampled_from([1, 2, 4]),
    choice=st.sampled_from([("none", None), ("none", [50e3, 60e3]), ("phat", [0.0, 270e3]), ("coherence", None)]),
    places=st.lists(st.integers(0, 4), min_size=2, max_size=20),
)
def test_features_are_bit_equal_in_every_batch(receivers, oversample, choice, places):
    pool = [heard_noise(n, receivers, count) for n, count in enumerate([900, 900, 901, 1500, 900])]
    weighting, band = choice
    extractor = make_extractor(spec(max_receivers=8, oversample=oversample, band_hz=band, weighting=weighting))
    alone = [extractor.extract([one])[0].tobytes() for one in pool]
    together = extractor.extract([pool[place] for place in places])
    assert [features.tobytes() for features in together] == [alone[place] for place in places]


def test_threads_do_not_write_over_each_others_work():
    batches = [[heard_noise(n, 3, 4000)] * 8 for n in range(4)]
    extractor = make_extractor(spec(max_receivers=3))
    alone = [extractor.extract(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(extractor.extract, batches * 10))
    assert all(np.array_equal(found, alone[n % 4]) for n, found in enumerate(together))


def test_features_are_those_of_a_plain_loop():
    captures = [made for made, _ in Simulator(BENCH_NETWORK, seed=3).captures(11)]
    found = make_extractor(model_spec(BENCH_NETWORK)).extract([made.channels for made in captures])
    plain = loop(captures, model_spec(BENCH_NETWORK))
    assert np.abs(found - plain)[..., :-1].max() < 1e-6
    assert np.allclose(found[..., -1], plain[..., -1], rtol=2e-6)


# Energies whose product is beyond single precision, either way.
@pytest.mark.parametrize("factors", [(1e-4, 300), (1e-15, 1e-15), (1e12, 1e12)])
def test_scale_does_not_matter(factors):
    extractor = make_extractor(spec())
    pair = capture(5, [2e-6, 0])
    scaled = [channel(np.frombuffer(c.samples, "<c8") * k, RATE) for c, k in zip(pair, factors, strict=True)]
    assert np.allclose(extractor.extract([pair]), extractor.extract([scaled]), rtol=1e-4, atol=1e-5)


def test_captures_without_features_are_named_and_the_others_are_not():
    extractor = make_extractor(spec())
    good = capture(1, [0, 0])
    apart = capture(1, [0, 0], starts_ns=[0, 4_470_000])
    broken = capture(1, [0, 0])
    broken[0] = channel(np.append(np.ones(COUNT - 1), np.nan), RATE)
    short = capture(1, [0, 0])
    short[1].samples = short[1].samples[:-3]
    with pytest.raises(FeatureError) as caught:
        extractor.extract([good, apart, broken, capture(1, [0, 0, 0]), short, capture(1, [0]), []])
    assert sorted(caught.value.reasons) == [1, 2, 3, 4, 5, 6]
    assert "at least 2 receivers" in caught.value.reasons[5]
    assert "share 10 samples" in caught.value.reasons[1]
    assert "not finite" in caught.value.reasons[2]


@pytest.mark.parametrize(
    "change",
    [
        {"max_receivers": 1},
        {"sample_rate_hz": 0},
        {"max_lag_s": float("nan")},
        {"oversample": 1.5},
        {"band_hz": [3, 2]},
        {"band_hz": [0, 600e3]},
        {"band_hz": 3},
        {"weighting": "scot"},
        {"extractor": "mfcc"},
        {"lags": 3},
    ],
)
def test_parameters_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError, match=str(next(iter(change)))):
        make_extractor(spec(**change))


def test_coherence_weighting_leaves_out_what_is_only_noise():
    batch = [capture(seed, [7.3e-6, 0.0], band=(-40e3, 60e3), snr_db=-3) for seed in range(12)]
    errors = {}
    for weighting in ("phat", "coherence"):
        features = make_extractor(spec(weighting=weighting)).extract(batch)[:, 0]
        errors[weighting] = np.std([peak_lag(row, RATE * FINE) for row in features])
    assert errors["coherence"] < errors["phat"] / 2
