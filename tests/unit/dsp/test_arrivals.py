"""Arrival times of simulated captures, against the truth that the simulator knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream_app.dsp.arrivals import ArrivalMeter, Arrivals
from stream_app.network.file import Network
from stream_app.network.motion import Paths
from stream_app.network.simulator import Simulator
from tests.unit.network.networks import network


def meter(of: Network) -> ArrivalMeter:
    return ArrivalMeter(of.sample_rate_hz, 100e-6, len(of.receivers))


def mast(snr_db: float) -> list[dict[str, object]]:
    return [{"name": "mast", "latitude": 47.75, "longitude": 9.05, "bandwidth_hz": 500e3, "snr_db": snr_db}]


@pytest.mark.parametrize(("snr_db", "worst_ns"), [(40.0, 8.0), (10.0, 80.0), (0.0, 250.0)])
def test_arrivals_are_the_true_ones_within_what_they_state(snr_db: float, worst_ns: float) -> None:
    net = network(emitters=mast(snr_db))
    true = Paths(net).lengths_m(47.75, 9.05, None) / net.speed_m_s
    squares = []
    for capture, _ in Simulator(net, seed=4).captures(60):
        found = meter(net).measure(capture.channels)
        assert found is not None
        off = found.seconds - true + true.mean()
        assert np.abs(off).max() < worst_ns * 1e-9
        squares.append(float(off @ found.information @ off))
    if snr_db <= 10:  # above that, rounding and interpolation count for more than noise
        # Chi-square of 2 degrees; noise in the band beside the signal makes what is stated larger than it is.
        assert 0.5 < np.mean(squares) < 3.0


def test_a_clock_s_offset_moves_its_own_arrival() -> None:
    net = network({"clock_errors_us": {"b": -3.0}}, mast(40.0))
    true = Paths(net).lengths_m(47.75, 9.05, None) / net.speed_m_s + np.array([0, -3e-6, 0])
    [(capture, _)] = Simulator(net, seed=4).captures(1)
    found = meter(net).measure(capture.channels)
    assert isinstance(found, Arrivals)
    np.testing.assert_allclose(found.seconds, true - true.mean(), atol=10e-9)


def test_noise_has_no_arrivals() -> None:
    net = network(emitters=mast(-60.0))
    assert [meter(net).measure(capture.channels) for capture, _ in Simulator(net, seed=4).captures(20)] == [None] * 20


def test_a_receiver_that_hears_nothing_is_left_out() -> None:
    net = network(emitters=mast(40.0))
    [(capture, _)] = Simulator(net, seed=4).captures(1)
    hiss = np.random.default_rng(1).normal(size=2 * 4480).astype("<f4").tobytes()
    all_three = meter(net).measure(capture.channels)
    two = meter(net).measure([capture.channels[0], replace(capture.channels[1], samples=hiss), capture.channels[2]])
    assert all_three is not None
    assert two is not None
    assert two.who.tolist() == [0, 2]
    assert two.seconds[1] - two.seconds[0] == pytest.approx(all_three.seconds[2] - all_three.seconds[0], abs=5e-9)


def test_receivers_that_hear_different_emitters_contradict_each_other() -> None:
    net = network({"start_spread_us": 0.0}, mast(40.0))
    heard = [capture.channels for capture, _ in Simulator(net, seed=4).captures(3)]
    samples = [[np.frombuffer(channel.samples, "<c8") for channel in channels] for channels in heard]
    # Each two receivers share one of three signals, the last of which comes to one of its two 5 us later.
    sums = (samples[0][0] + samples[1][0], samples[0][1] + samples[2][1], samples[1][2] + np.roll(samples[2][2], 5))
    assert meter(net).measure(heard[0]) is not None
    mixed = [replace(channel, samples=one.tobytes()) for channel, one in zip(heard[0], sums, strict=True)]
    assert meter(net).measure(mixed) is None
