"""What the features cost, beside a plain loop over frames and beside the bare FFTs of the plain algorithm.

python -m benchmarks.features [--rounds 15] [--receivers 3] [--samples 4480]
CPU seconds of one thread for one batch, medians over interleaved rounds; the ratios are the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from benchmarks.network import BENCH_NETWORK, circle, with_samples
from stream_app.dsp.features import make_extractor
from stream_app.dsp.lags import lag_transform
from stream_app.models.contract import META_FEATURES
from stream_app.models.reference import build_tdoa
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import Channel, IqCapture

BATCH = 32
_BLOCK = 8  # bins over which the plain loop averages a power spectrum, as the features do
Complex = NDArray[np.complex64]


def loop(captures: Sequence[IqCapture], spec: Mapping[str, Any]) -> NDArray[np.float32]:
    """Features [N, P, 2 L + 1] a capture, a channel and a pair at a time, in plain NumPy with numpy.fft.

    For ci16_le channels of nearly the model's rate and 'none' for weighting: the benchmark's captures.
    """
    return np.stack([_one_capture(capture.channels, spec) for capture in captures])


def _one_capture(channels: Sequence[Channel], spec: Mapping[str, Any]) -> NDArray[np.float32]:
    rate, size = spec["sample_rate_hz"], _size(channels, spec)
    half = math.ceil(spec["max_lag_s"] * rate * spec["oversample"])
    low, high = _bins(size, spec)
    bins = np.arange(-high, high + 1)
    live = np.abs(bins) >= low
    spectra, powers, windows = [], [], []
    for channel, (skip, begin, count) in zip(channels, _cuts(channels), strict=True):
        window = _window(count, min(math.ceil(4 * spec["max_lag_s"] * rate), count // 20))
        values = np.frombuffer(channel.samples, "<i2").astype(np.float32) / np.float32(2**15)
        samples = values.view(np.complex64)[skip : skip + count] * window
        middle = begin + count / 2 * (1 / channel.sample_rate_hz - 1 / rate)
        shift = np.exp(-2j * np.pi * middle * rate / size * bins).astype(np.complex64)
        spectrum = np.fft.fft(samples, size)[bins] * shift * live
        spectra.append(spectrum)
        powers.append(_blocks(np.abs(spectrum) ** 2))
        windows.append(window)

    window = windows[0].astype(float)
    share = np.sum(window**2) ** 2 / np.sum(window**4) / channels[0].sample_rate_hz * rate / size
    used = np.maximum(_blocks(live.astype(np.float32)), 1)
    shared = np.correlate(window, window, "full")[len(window) - 1 :] / np.sum(window**2)
    away = np.abs(np.arange(-half, half + 1)) / spec["oversample"]
    overlap = np.maximum(np.interp(away, np.arange(len(window)), shared), 0.5).astype(np.float32)
    rows = []
    for i, j in combinations(range(len(channels)), 2):
        long = np.zeros(size * spec["oversample"], np.complex64)
        long[bins] = spectra[i] * spectra[j].conj()
        over_lags = np.fft.ifft(long, norm="forward")[np.arange(-half, half + 1)]
        energy = powers[i].sum(dtype=float) * powers[j].sum(dtype=float)
        coherence = over_lags / np.float32(np.sqrt(energy)) / overlap
        effective = energy / np.sum(powers[i] / used * powers[j], dtype=float)
        peak = min(float(np.max(np.abs(coherence)) ** 2), 1)
        effective *= (1 + peak / max(_BLOCK * share, 1)) * share
        rows.append(np.concatenate((coherence.real, coherence.imag, [effective])).astype(np.float32))
    return np.stack(rows)


def _window(count: int, ramp: int) -> NDArray[np.float32]:
    window = np.ones(count, np.float32)
    window[:ramp] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
    window[count - ramp :] = window[:ramp][::-1]
    return window


def _blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(values, (0, -len(values) % _BLOCK)).reshape(-1, _BLOCK).sum(axis=-1)


def _cuts(channels: Sequence[Channel]) -> list[tuple[int, float, int]]:
    """(first sample, its time, samples) of each channel in the time that all channels share."""
    latest = max(channel.start_time_ns for channel in channels)
    starts = [(channel.start_time_ns - latest) * 1e-9 for channel in channels]
    end = min(s + channel.sample_count / channel.sample_rate_hz for s, channel in zip(starts, channels, strict=True))
    cuts = []
    for start, channel in zip(starts, channels, strict=True):
        skip = round(-start * channel.sample_rate_hz)
        begin = start + skip / channel.sample_rate_hz
        cuts.append((skip, begin, min(round((end - begin) * channel.sample_rate_hz), channel.sample_count - skip)))
    return cuts


def _size(channels: Sequence[Channel], spec: Mapping[str, Any]) -> int:
    rate = spec["sample_rate_hz"]
    cuts = _cuts(channels)
    longest = max(math.ceil(n / c.sample_rate_hz * rate) for c, (_, _, n) in zip(channels, cuts, strict=True))
    size: int = fft.next_fast_len(longest + math.ceil(spec["max_lag_s"] * rate) + 1)
    return size


def _bins(size: int, spec: Mapping[str, Any]) -> tuple[int, int]:
    low, high = spec["band_hz"] or (0, spec["sample_rate_hz"] / 2)
    width = spec["sample_rate_hz"] / size
    return math.ceil(low / width), min(math.floor(high / width), (size - 1) // 2)


def plain_transforms(captures: Sequence[IqCapture], spec: Mapping[str, Any]) -> list[Complex]:
    """Work arrays of the plain algorithm's FFTs: [channels, size], then [pairs, size * oversample], by size."""
    arrays = []
    for size, channels, pairs in _sizes(captures, spec):
        arrays += [_noise(channels, size), _noise(pairs, size * spec["oversample"])]
    return arrays


def own_transforms(captures: Sequence[IqCapture], spec: Mapping[str, Any]) -> list[Complex]:
    """Work arrays of the FFTs that the features make today: a pair's is shorter than the plain algorithm's."""
    arrays = []
    half = math.ceil(spec["max_lag_s"] * spec["sample_rate_hz"] * spec["oversample"])
    for size, channels, pairs in _sizes(captures, spec):
        short = lag_transform(2 * _bins(size, spec)[1] + 1, size * spec["oversample"], half).short
        arrays += [_noise(channels, size), _noise(pairs, short)]
    return arrays


def _sizes(captures: Sequence[IqCapture], spec: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """(size, channels, pairs) of the captures whose transforms have one size."""
    found: dict[int, tuple[int, int]] = {}
    for capture in captures:
        size, receivers = _size(capture.channels, spec), len(capture.channels)
        channels, pairs = found.get(size, (0, 0))
        found[size] = channels + receivers, pairs + math.comb(receivers, 2)
    return [(size, channels, pairs) for size, (channels, pairs) in found.items()]


def _noise(rows: int, points: int) -> Complex:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 2 * points), np.float32).view(np.complex64)


def ffts_alone(arrays: Sequence[Complex]) -> None:
    """The FFT of each array's rows, in place, on one thread: what no algorithm with these transforms can be below."""
    for array in arrays:
        fft.fft(array, axis=-1, norm="ortho", overwrite_x=True)


def model_spec(network: Network) -> dict[str, Any]:
    """The feature parameters of the network's reference model."""
    meta = {prop.key: prop.value for prop in build_tdoa(network).metadata_props}
    spec: dict[str, Any] = json.loads(meta[META_FEATURES])
    return spec


def measure(
    rounds: int, network: Network = BENCH_NETWORK, batch: int = BATCH, spec: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """Median CPU seconds for one batch of a network's captures, over interleaved rounds, and their ratios.

    ``spec`` is that of the network's own model unless given.
    """
    spec = spec or model_spec(network)
    captures = [capture for capture, _ in Simulator(network, seed=1).captures(batch)]
    channels = [capture.channels for capture in captures]
    extractor = make_extractor(spec)
    plain, own = plain_transforms(captures, spec), own_transforms(captures, spec)
    steps: dict[str, Callable[[], object]] = {
        "features_s": lambda: extractor.extract(channels),
        "loop_s": lambda: loop(captures, spec),
        "ffts_alone_s": lambda: ffts_alone(plain),
        "own_ffts_alone_s": lambda: ffts_alone(own),
    }
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            begin = time.thread_time()
            step()
            spent[name].append(time.thread_time() - begin)
    medians = {name: median(values[1:]) for name, values in spent.items()}  # the first round fills the tables
    return medians | {
        "features_over_loop": medians["loop_s"] / medians["features_s"],
        "features_cost_over_fft": medians["features_s"] / medians["ffts_alone_s"],
        "features_cost_over_own_fft": medians["features_s"] / medians["own_ffts_alone_s"],
    }


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--receivers", type=int, help="other than the benchmark's own")
    parser.add_argument("--samples", type=int, help="other than the benchmark's own")
    parser.add_argument("--batch", type=int, default=BATCH)
    options = parser.parse_args()
    network = BENCH_NETWORK
    if options.receivers or options.samples:
        ring = circle(options.receivers or len(network.receivers))
        network = with_samples(options.samples or network.simulation.samples, ring)
    print(json.dumps({key: round(value, 6) for key, value in measure(options.rounds, network, options.batch).items()}))


if __name__ == "__main__":
    main()
