from __future__ import annotations

from dataclasses import astuple
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Transformer

from stream_app.dsp.samples import to_complex64
from stream_app.dsp.tdoa import Tdoa
from stream_app.errors import NetworkFileError
from stream_app.geo.geodesy import distance_m
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator, quantise
from stream_app.network.truth import Truth
from stream_app.network.waveform import Sampler, Waveform
from stream_app.records.capture import IqCapture
from stream_app.records.validate import check_capture
from tests.unit.dsp.signals import peak_lag
from tests.unit.network.networks import network

_MODULATIONS = ["noise", "qpsk", "gmsk", "fsk", "am"]
_ECEF = Transformer.from_crs("EPSG:4979", "EPSG:4978")


def _emitter(**more: Any) -> dict[str, Any]:
    return {"name": "e", "latitude": 47.75, "longitude": 9.05, "bandwidth_hz": 500e3, "snr_db": 60.0, **more}


def _pairs(where: Network, count: int = 1, seed: int = 0, repeats: float = 0.0) -> list[tuple[IqCapture, Truth]]:
    return list(Simulator(where, seed).captures(count, repeats))


def _samples(capture: IqCapture) -> NDArray[np.complex64]:
    return to_complex64(capture.channels[0].datatype, [channel.samples for channel in capture.channels])


def _arrivals(where: Network, truth: Truth) -> NDArray[np.float64]:
    """Seconds [R] on the straight way, by PROJ's own earth-centred coordinates."""
    altitude = float(np.mean([r.altitude_m for r in where.receivers]))
    place = np.array(_ECEF.transform(truth.latitude, truth.longitude, altitude))
    at = [_ECEF.transform(r.latitude, r.longitude, r.altitude_m) for r in where.receivers]
    return np.linalg.norm(np.array(at) - place, axis=1) / where.speed_m_s


def _lag_errors(where: Network, capture: IqCapture, truth: Truth) -> list[float]:
    """Samples by which the extractor's peak lags miss the true differences of arrival."""
    tdoa = Tdoa(max_receivers=3, sample_rate_hz=where.sample_rate_hz, max_lag_s=60e-6, oversample=16)
    rows = tdoa.extract([capture.channels])[0]
    arrival = _arrivals(where, truth)
    return [
        (peak_lag(row, 16 * where.sample_rate_hz) - (arrival[i] - arrival[j])) * where.sample_rate_hz
        for row, (i, j) in zip(rows, combinations(range(3), 2), strict=True)
    ]


@pytest.mark.parametrize("modulation", _MODULATIONS)
def test_a_waveform_has_the_values_of_the_sum_of_its_tones_at_any_instant(modulation: Any) -> None:
    waveform = Waveform(modulation, 400e3, 1.5e-3)
    values = waveform.draw(np.random.default_rng(1))
    rates, starts = np.array([1e6, 1e6 * (1 + 150e-6)]), np.array([12.34567e-6, -81.2e-6])
    samples = Sampler(waveform, rates, 900).sample(values, starts)
    times = starts[:, None] + np.arange(900) / rates[:, None]
    direct = np.exp(2j * np.pi * times[..., None] * waveform.tones_hz) @ values
    assert np.abs(samples - direct).max() < 1e-9
    assert np.vdot(values, values).real == pytest.approx(1)
    assert 1 / waveform.spacing_hz >= 1.5e-3
    assert 190e3 < waveform.tones_hz.max() <= 200e3


@pytest.mark.parametrize("modulation", _MODULATIONS)
@pytest.mark.parametrize("ppm", [0.0, 50.0])
def test_delays_are_true_to_a_hundredth_of_a_sample(modulation: str, ppm: float) -> None:
    where = network({"rate_sigma_ppm": ppm}, [_emitter(modulation=modulation)])
    for capture, truth in _pairs(where, 3):
        assert max(map(abs, _lag_errors(where, capture, truth))) < 0.01


def test_a_ground_wave_takes_the_geodesic() -> None:
    emitters = [_emitter(latitude=49.0, longitude=12.0, snr_db=200)]
    where = network({}, emitters, path="ground_wave")
    capture, truth = _pairs(where)[0]
    ways = [float(distance_m(truth.latitude, truth.longitude, r.latitude, r.longitude)) for r in where.receivers]
    tdoa = Tdoa(max_receivers=3, sample_rate_hz=1e6, max_lag_s=60e-6, oversample=16)
    lag = peak_lag(tdoa.extract([capture.channels])[0][0], 16e6)
    assert lag == pytest.approx((ways[0] - ways[1]) / where.speed_m_s, abs=1e-8)


def test_start_times_are_off_by_draws_of_the_sigma_they_state() -> None:
    where = network({"start_sigma_ns": 300.0})
    errors = np.concatenate([_lag_errors(where, *pair) for pair in _pairs(where, 60)])
    assert np.std(errors) == pytest.approx(0.3 * np.sqrt(2), rel=0.2)  # of two channels, in samples of 1 us
    assert {c.start_sigma_ns for c in _pairs(where)[0][0].channels} == {300.0}


def test_a_receivers_own_clock_goes_before_the_simulations() -> None:
    receivers = [r.model_dump() for r in network().receivers]
    receivers[1]["timing_sigma_us"] = 2.0
    where = network({"start_sigma_ns": 10.0}, receivers=receivers)
    assert [c.start_sigma_ns for c in _pairs(where)[0][0].channels] == [10.0, 2000.0, 10.0]


def test_channels_begin_within_the_spread_and_state_the_rate_they_have() -> None:
    where = network({"start_spread_us": 20.0, "rate_sigma_ppm": 20.0})
    simulator = Simulator(where, 4)
    captures = [capture for capture, _ in simulator.captures(20)]
    offsets = np.array([[c.start_time_ns - 1000 * k.captured_at_us for c in k.channels] for k in captures])
    assert offsets.min() >= 0
    assert 15_000 < offsets.max() < 20_000
    assert {tuple(c.sample_rate_hz for c in k.channels) for k in captures} == {tuple(simulator.rates_hz)}
    assert 0 < np.abs(simulator.rates_hz / 1e6 - 1).max() < 100e-6


@pytest.mark.parametrize("modulation", _MODULATIONS)
def test_snr_is_as_stated_at_the_reference_distance_and_falls_with_the_path_loss(modulation: str) -> None:
    emitters = [_emitter(latitude=47.79, longitude=9.01, modulation=modulation, snr_db=6.0)]
    where = network({}, emitters, path_loss_exponent=3.0)
    inside, outside = np.zeros(3), np.zeros(3)
    frequency = np.abs(np.fft.fftfreq(4480, 1e-6))
    pairs = _pairs(where, 20)
    for capture, _ in pairs:
        power = np.abs(np.fft.fft(_samples(capture) * np.hanning(4480))) ** 2
        inside += power[:, frequency < 245e3].mean(1)
        outside += power[:, frequency > 260e3].mean(1)
    snr = 10 * np.log10(inside / outside - 1)
    metres = _arrivals(where, pairs[0][1]) * where.speed_m_s
    # Tolerance: the edges of a modulation's spectrum hold less than its middle.
    assert snr == pytest.approx(6.0 - 30 * np.log10(metres / 10_000), abs=1.0)


def test_the_same_seed_gives_the_same_captures_and_another_one_others() -> None:
    first, again, other = (_pairs(network(), 4, seed, 0.5) for seed in (7, 7, 8))
    assert first == again
    assert first[0][0].channels[0].samples != other[0][0].channels[0].samples
    assert first[0][0].channels[0].samples != first[2][0].channels[0].samples


def test_the_share_of_repeats_has_an_earlier_captures_channels_under_a_name_of_its_own() -> None:
    seen: dict[Any, Truth] = {}
    repeated = 0
    pairs = _pairs(network({"samples": 64}), 200, repeats=0.3)
    for capture, truth in pairs:
        before = seen.setdefault(tuple(map(astuple, capture.channels)), truth)
        repeated += before is not truth
        assert truth.capture_id == capture.capture_id
        assert (before.latitude, before.longitude, before.emitter) == (truth.latitude, truth.longitude, truth.emitter)
    assert repeated == 60
    assert len({capture.capture_id for capture, _ in pairs}) == 200
    assert np.all(np.diff([capture.captured_at_us for capture, _ in pairs]) == 100_000)


@pytest.mark.parametrize("repeats", [-0.1, 1.0])
def test_an_impossible_share_of_repeats_is_refused(repeats: float) -> None:
    with pytest.raises(ValueError, match="share of repeats"):
        Simulator(network()).captures(3, repeats)


def test_emitters_take_turns_and_keep_their_frequencies() -> None:
    emitters = [_emitter(name="one"), _emitter(name="two", center_frequency_hz=434e6)]
    pairs = _pairs(network({"samples": 64}, emitters), 4)
    assert [truth.emitter for _, truth in pairs] == ["one", "two", "one", "two"]
    assert [capture.center_frequency_hz for capture, _ in pairs] == [433.92e6, 434e6, 433.92e6, 434e6]


def test_an_emitter_goes_along_its_course_and_back() -> None:
    where = network({"samples": 64, "interval_s": 1.0}, [_emitter(course_deg=90.0, speed_m_s=100.0, leg_m=400.0)])
    truths = [truth for _, truth in _pairs(where, 9)]
    gone = [float(distance_m(47.75, 9.05, t.latitude, t.longitude)) for t in truths]
    assert gone == pytest.approx([0, 100, 200, 300, 400, 300, 200, 100, 0], abs=0.5)
    assert truths[2].longitude > 9.051


def test_an_emitter_goes_over_its_waypoints_and_back() -> None:
    points = [{"latitude": 47.75 + y, "longitude": 9.05 + x} for y, x in ((0, 0), (0.01, 0), (0.01, 0.02))]
    emitter = {"name": "e", "bandwidth_hz": 5e5, "snr_db": 10, "waypoints": points, "speed_m_s": 50.0}
    truths = [truth for _, truth in _pairs(network({"samples": 64, "interval_s": 1.0}, [emitter]), 120)]
    places = np.array([(t.latitude, t.longitude) for t in truths])
    steps = distance_m(*places[:-1].T, *places[1:].T)
    assert np.sum(np.abs(steps - 50) < 0.5) > 112  # but at the corners
    assert steps.max() < 50.5
    for point in points:
        assert distance_m(*places.T, point["latitude"], point["longitude"]).min() < 26


@pytest.mark.parametrize("datatype", ["cu8", "ci8", "ci16_le", "ci32_le", "cf32_le"])
def test_every_datatype_holds_the_same_signal_to_its_own_step(datatype: Any) -> None:
    exact = _samples(_pairs(network())[0][0])
    capture = _pairs(network({"datatype": datatype}))[0][0]
    check_capture(capture)
    step = {"cu8": 1 / 127.5, "ci8": 1 / 128}.get(datatype, 1 / 2**15)
    difference = (_samples(capture) - exact).view(np.float32)
    assert np.abs(difference).max() <= 0.51 * step
    assert not any(channel.overload for channel in capture.channels)
    rms = 20 * np.log10(np.sqrt(np.mean(np.abs(exact) ** 2, axis=1)))
    assert np.all((rms > -13.5) & (rms < -11.5))


def test_what_is_beyond_full_scale_is_clipped_and_said() -> None:
    rows = np.array([[0.5, 2 - 2j], [0.25, 0.5j]])
    (loud, over), (fine, kept) = quantise(rows, "ci8")
    assert np.frombuffer(loud, np.int8).tolist() == [64, 0, 127, -128]
    assert np.frombuffer(fine, np.int8).tolist() == [32, 0, 0, 64]
    assert (over, kept) == (True, False)


def test_a_network_without_emitters_is_refused() -> None:
    with pytest.raises(NetworkFileError, match="no emitters"):
        Simulator(network().model_copy(update={"emitters": ()}))
