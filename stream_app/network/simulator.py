"""Simulated captures of a network's emitters, with the truth beside each. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count as count_from
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import NetworkFileError
from stream_app.network.file import Datatype, Emitter, Network
from stream_app.network.motion import Paths, Track
from stream_app.network.truth import Truth
from stream_app.network.waveform import Sampler, Waveform
from stream_app.records.capture import Channel, IqCapture

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEVEL_DBFS = -12.0  # RMS at which the gain control keeps a channel: Gaussian peaks clip once in 10^7 samples
_SIGMAS = 8  # timing errors above this many of their standard deviations do not come up
_MEMORY = 64  # fresh captures from which repeats are chosen
_CLOSEST_M = 1.0  # an emitter on top of a receiver is no louder than at this distance

# NumPy type of one component, full scale, value of zero.
_FORMATS: dict[Datatype, tuple[str, float, float]] = {
    "cu8": ("u1", 127.5, 127.5),
    "ci8": ("i1", 2.0**7, 0.0),
    "ci16_le": ("<i2", 2.0**15, 0.0),
    "ci32_le": ("<i4", 2.0**31, 0.0),
}


@dataclass(frozen=True, slots=True)
class _Source:
    """An emitter with what can be prepared once."""

    emitter: Emitter
    center_frequency_hz: float
    track: Track
    waveform: Waveform
    sampler: Sampler


class Simulator:
    """Captures of the emitters of a network file, which take turns. The same seed gives the same captures.

    What a receiver r samples at its true instant t is a_r e^{j phi_r} s(t - d_r / speed_m_s - p_r) + noise: s a fresh
    random waveform, d_r the path's length, a_r from snr_db and the path-loss exponent (noise of unit power over
    sample_rate_hz), phi_r uniform, p_r Gaussian of the network's timing_sigma_us. The stated start of a channel is off
    the true one by a Gaussian of the receiver's timing_sigma_us, or else the simulation's start_sigma_ns; the capture
    states that sigma; on top of it come the simulation's clock_errors_us, which nothing states. Each receiver's sample
    rate is off the nominal one by a draw that lasts; it is stated true.
    A receiver may have a rate, datatype and length of its own: its filter passes what its rate can hold.
    Receivers are tuned exactly, and emitters stand still within a capture: there is no Doppler shift.
    """

    def __init__(self, network: Network, seed: int = 0) -> None:
        """Raises NetworkFileError where the network has no emitters."""
        if not network.emitters:
            raise NetworkFileError(f"network {network.name} has no emitters to simulate: add some under 'emitters:'")
        options = network.simulation
        self._network, self._seed = network, seed
        self._paths = Paths(network)
        self._clock_ns = np.array(
            [
                options.start_sigma_ns if r.timing_sigma_us is None else r.timing_sigma_us * 1e3
                for r in network.receivers
            ]
        )
        self._unstated_ns = np.array([1e3 * options.clock_errors_us.get(r.receiver_id, 0.0) for r in network.receivers])
        ppm = options.rate_sigma_ppm * np.random.default_rng((seed, 0)).standard_normal(len(network.receivers))
        self._nominal_hz = np.array([r.sample_rate_hz or network.sample_rate_hz for r in network.receivers])
        self.rates_hz: NDArray[np.float64] = self._nominal_hz * (1 + 1e-6 * ppm)
        seconds = options.samples / network.sample_rate_hz
        self._counts = [
            r.samples or max(round(seconds * nominal), 2)
            for r, nominal in zip(network.receivers, self._nominal_hz.tolist(), strict=True)
        ]
        self._origin_us = (options.start_time - _EPOCH) // (datetime.resolution)
        self._sources = self._prepare()

    def captures(self, count: int | None, repeats: float = 0.0) -> Iterator[tuple[IqCapture, Truth]]:
        """``count`` captures with their truths; None: without end.

        A share ``repeats`` (to the nearest capture) has the samples and start times of one of the last 64 fresh
        captures, if possible of an emitter that stands: byte for byte, under a capture_id and captured_at of its own.
        Raises ValueError outside [0, 1).
        """
        if not 0 <= repeats < 1:
            raise ValueError(f"the share of repeats must be at least 0 and below 1, not {repeats}")
        return islice(self._endless(repeats), count)

    def _endless(self, repeats: float) -> Iterator[tuple[IqCapture, Truth]]:
        recent: deque[tuple[IqCapture, Truth]] = deque(maxlen=_MEMORY)
        standing: deque[tuple[IqCapture, Truth]] = deque(maxlen=_MEMORY)
        for number in count_from():
            rng = np.random.default_rng((self._seed, 1, number))
            name = f"{self._network.name}-{self._seed}-{number:08d}"
            if int((number + 1) * repeats) > int(number * repeats):
                known = standing or recent
                capture, truth = known[int(rng.integers(len(known)))]
                at_us = self._time_us(number)
                yield replace(capture, capture_id=name, captured_at_us=at_us), replace(truth, capture_id=name)
            else:
                turn = (number - int(number * repeats)) % len(self._sources)
                source = self._sources[turn]
                recent.append(self._fresh(source, number, name, rng))
                if not source.emitter.speed_m_s:
                    standing.append(recent[-1])
                yield recent[-1]

    def _prepare(self) -> list[_Source]:
        """The emitters; those of one modulation and bandwidth share their tables."""
        network, options = self._network, self._network.simulation
        jitter_s = _SIGMAS * 2 * (network.timing_sigma_us * 1e-6 + float(self._clock_ns.max()) * 1e-9)
        jitter_s += 2 * float(np.abs(self._unstated_ns).max()) * 1e-9
        travel_s = self._paths.longest_baseline_m() / network.speed_m_s
        longest_s = float((np.array(self._counts) / self.rates_hz).max())
        span_s = longest_s + options.start_spread_us * 1e-6 + travel_s + jitter_s
        tables: dict[tuple[str, float], tuple[Waveform, Sampler]] = {}
        sources = []
        for emitter in network.emitters:
            key = emitter.modulation, emitter.bandwidth_hz
            if key not in tables:
                waveform = Waveform(emitter.modulation, emitter.bandwidth_hz, span_s)
                tables[key] = waveform, Sampler(waveform, self.rates_hz, max(self._counts))
            frequency = emitter.center_frequency_hz or network.center_frequency_hz
            sources.append(_Source(emitter, frequency, Track(emitter), *tables[key]))
        return sources

    def _time_us(self, number: int) -> int:
        return self._origin_us + round(number * self._network.simulation.interval_s * 1e6)

    def _fresh(self, source: _Source, number: int, name: str, rng: np.random.Generator) -> tuple[IqCapture, Truth]:
        options, receivers = self._network.simulation, self._network.receivers
        at_us = self._time_us(number)
        latitude, longitude = source.track.at(number * options.interval_s)
        lengths = self._paths.lengths_m(latitude, longitude, source.emitter.altitude_m)
        stated_ns = np.floor(rng.uniform(0, options.start_spread_us * 1e3, len(receivers)))
        true_s = (stated_ns - self._unstated_ns + self._clock_ns * _bounded(rng, len(receivers))) * 1e-9
        travel_s = lengths / self._network.speed_m_s
        travel_s += self._network.timing_sigma_us * 1e-6 * _bounded(rng, len(receivers))
        levels = self._levels(source.emitter, lengths)
        samples = source.sampler.sample(source.waveform.draw(rng), true_s - travel_s)
        phases = np.exp(2j * np.pi * rng.uniform(size=len(receivers)))
        samples *= (np.sqrt(levels) * phases)[:, None]
        noise = rng.standard_normal((len(receivers), 2 * max(self._counts)), np.float32)
        samples += np.float32(np.sqrt(0.5)) * noise.view(np.complex64)
        gains = np.floor(_LEVEL_DBFS - 10 * np.log10(1 + levels))  # whole decibels, as receivers have them
        samples *= 10 ** (gains / 20)[:, None]
        channels = self._channels(at_us * 1000 + stated_ns.astype(np.int64), gains, samples)
        if options.missing:
            # Two stay whatever the draw: a capture of one has no arrival times to compare.
            draw = rng.uniform(size=len(receivers))
            there = (draw >= options.missing) | (draw >= np.sort(draw)[-2])
            channels = tuple(channel for channel, kept in zip(channels, there.tolist(), strict=True) if kept)
        capture = IqCapture(name, self._network.name, at_us, source.center_frequency_hz, channels)
        return capture, Truth(name, source.emitter.name, latitude, longitude)

    def _channels(
        self, starts_ns: NDArray[np.int64], gains_db: NDArray[np.float64], samples: NDArray[np.complex128]
    ) -> tuple[Channel, ...]:
        options = self._network.simulation
        columns = zip(
            self._network.receivers,
            starts_ns.tolist(),
            self.rates_hz.tolist(),
            self._clock_ns.tolist(),
            gains_db.tolist(),
            samples,
            self._counts,
            strict=True,
        )
        channels = []
        for receiver, start_ns, rate_hz, sigma_ns, gain_db, row, count in columns:
            datatype = receiver.datatype or options.datatype
            [(data, overload)] = quantise(row[None, :count], datatype)
            channels.append(
                Channel(
                    receiver_id=receiver.receiver_id,
                    latitude=receiver.latitude,
                    longitude=receiver.longitude,
                    altitude_m=receiver.altitude_m,
                    start_time_ns=start_ns,
                    sample_rate_hz=rate_hz,
                    datatype=datatype,
                    sample_count=count,
                    samples=data,
                    start_sigma_ns=sigma_ns,
                    time_sync="GPS",
                    gain_db=gain_db,
                    overload=overload,
                )
            )
        return tuple(channels)

    def _levels(self, emitter: Emitter, lengths_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Signal power [R] over the noise's in the whole band that each receiver samples."""
        network = self._network
        distance = np.maximum(lengths_m, _CLOSEST_M) / network.simulation.reference_distance_m
        snr = 10 ** (emitter.snr_db / 10) * distance**-network.path_loss_exponent
        return np.asarray(snr * emitter.bandwidth_hz / self._nominal_hz)


def quantise(samples: NDArray[np.complex128], datatype: Datatype) -> list[tuple[bytes, bool]]:
    """Rows of samples [R, n], full scale ±1, as bytes of a SigMF datatype, and whether some were clipped."""
    parts = np.ascontiguousarray(samples).view(np.float64)
    if datatype == "cf32_le":
        return [(row.astype("<f4").tobytes(), False) for row in parts]
    kind, scale, zero = _FORMATS[datatype]
    limits = np.iinfo(kind)
    levels = np.rint(parts * scale + zero)
    overload = (levels.min(axis=1) < limits.min) | (levels.max(axis=1) > limits.max)
    levels = np.clip(levels, limits.min, limits.max).astype(kind)
    return [(row.tobytes(), bool(over)) for row, over in zip(levels, overload, strict=True)]


def _bounded(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return np.clip(rng.standard_normal(count), -_SIGMAS, _SIGMAS)
