"""Complex coherence of each pair of receivers over a range of lags, and how many samples it rests on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

from stream_app.dsp.features import ChannelLike, FeatureError, positive, whole
from stream_app.dsp.lags import lag_transform
from stream_app.dsp.samples import bytes_per_sample, components, sample_bytes
from stream_app.dsp.scratch import scratch
from stream_app.dsp.transform import REMEMBERED, Complex, chirp, chirp_points, delays, padded, taper

MIN_OVERLAP = 16  # samples
DRIFT_LIMIT = 0.01  # samples of drift over a capture below which an FFT about its middle is good enough
_BLOCK = 8  # neighbouring bins over which a power spectrum is averaged
_SMOOTH = 64  # bins to either side over which a spectrum is averaged for its weights
_NOISE_QUANTILE = 0.25  # a signal may fill up to three quarters of the band
_DEGREES = 2 * (2 * _SMOOTH + 1)
# Where that quantile of noise alone lies: chi-squared's. scipy.stats would cost each start 0.6 s of imports.
_NOISE_LEVEL = 2 * float(special.gammaincinv(_DEGREES / 2, _NOISE_QUANTILE)) / _DEGREES
_SLOWEST = 64  # the model's rate over a channel's: a few bytes of a slow channel must not become a long transform
_MOST_POINTS = 2**24  # of the spectra of a capture's receivers together: 128 MiB of complex64
_POINTS = 3 * 2**16  # of the channels that are transformed at once: enough to hide Python's share
_PAIR_POINTS = 2**17  # of the cross-spectra that are transformed at once: they stay in the CPU's cache
_PAIRS = 128  # whose lags are finished at once


def lag_count(max_lag_s: float, sample_rate_hz: float, oversample: int) -> int:
    """How many lags a pair has: lag l is (l - (count - 1) / 2) / (sample_rate_hz * oversample) seconds."""
    return 2 * math.ceil(max_lag_s * sample_rate_hz * oversample) + 1


class _Part(NamedTuple):
    """The stretch of one channel that all channels of its capture share."""

    datatype: str
    rate_hz: float
    start_s: float  # time of the first sample after the capture's latest start; without drift: to suit the middle one
    length: int  # samples
    drifts: bool  # its own rate is too far from the model's for an FFT
    view: memoryview


class _Grid(NamedTuple):
    """A frequency grid: bins low..high and -high..-low of a transform of ``size`` points."""

    size: int
    low: int
    high: int


class Tdoa:
    """Features float32 [N, P, 2 L + 1] of the P = R (R - 1) / 2 pairs (0, 1), (0, 2), ..., (1, 2), ...

    Columns: L real parts and L imaginary parts of the coherence sum_k X_i conj(X_j) e^{j 2 pi f_k lag} /
    sqrt(E_i E_j), which peaks at lag = arrival at i minus arrival at j, then M, the number of independent
    samples. ``band_hz`` limits |baseband frequency|. A pair with an absent or silent receiver is zeros.

    M is the statistical bandwidth of the pair's spectra times the effective duration of the tapered capture,
    sum(S_i) sum(S_j) / sum(S_i S_j) * (sum w²)² / sum w⁴: for independent Gaussian signals the mean of
    |coherence|² is 1 / M (Bendat and Piersol, Random Data, chapter 8, statistical bandwidth). S is the power
    averaged over 8 bins; what that average still varies, where the channels are coherent, is taken out.
    With 'phat' every bin weighs the same, so that M is the whole band's. With 'coherence' spectra are made white
    and each bin weighs the coherence that its signal-to-noise ratio lets expect, so that a pair's bins weigh
    |gamma| / sqrt(P_i P_j) (Knapp and Carter 1976, The generalized correlation method, between SCOT and the
    maximum-likelihood weight). A coloured signal's correlation peak narrows, which parts the direct path from later
    ones, and bins of noise alone do not count. Noise is taken as white: the band must hold some of it.
    """

    def __init__(
        self,
        *,
        max_receivers: int,
        sample_rate_hz: float,
        max_lag_s: float,
        oversample: int = 2,
        band_hz: Sequence[float] | None = None,
        weighting: str = "none",
    ) -> None:
        self.max_receivers, self.min_receivers = whole("max_receivers", max_receivers, 2), 2
        self._rate = positive("sample_rate_hz", sample_rate_hz)
        self._max_lag = positive("max_lag_s", max_lag_s)
        self._oversample = whole("oversample", oversample, 1)
        self._band = _band(band_hz, self._rate)
        if weighting not in ("none", "phat", "coherence"):
            raise ValueError(f"weighting must be 'none', 'phat' or 'coherence', not {weighting!r}")
        self._weighting = weighting
        self._lags = lag_count(self._max_lag, self._rate, self._oversample)
        pairs = self.max_receivers * (self.max_receivers - 1) // 2
        self.shape: tuple[int, ...] = (pairs, 2 * self._lags + 1)

    def extract(self, batch: Sequence[Sequence[ChannelLike]]) -> NDArray[np.float32]:
        """Features of N captures; FeatureError names those whose channels do not fit or hardly overlap."""
        out = np.zeros((len(batch), *self.shape), np.float32)
        reasons: dict[int, str] = {}
        groups: dict[tuple[int, _Grid], list[tuple[int, list[_Part]]]] = defaultdict(list)
        for index, channels in enumerate(batch):
            try:
                parts = self._cut(channels)
                groups[len(parts), self._grid(parts)].append((index, parts))
            except ValueError as error:
                reasons[index] = str(error)
        for (receivers, grid), members in groups.items():
            columns = [pair_index(i, j, self.max_receivers) for i, j in combinations(range(receivers), 2)]
            step = max(1, _PAIRS // len(columns))
            for at in range(0, len(members), step):
                some = members[at : at + step]
                with np.errstate(invalid="ignore", over="ignore"):  # found below, and said in words
                    features = self._correlate([parts for _, parts in some], receivers, grid)
                out[np.array([index for index, _ in some])[:, None], columns] = features
                complete = np.isfinite(features.sum(axis=(1, 2)))
                heard = np.any(features[..., -1], axis=1)
                for (index, _), finite, found in zip(some, complete.tolist(), heard.tolist(), strict=True):
                    if not finite:
                        reasons[index] = "its samples are not finite, or too large for single precision"
                    elif not found:
                        reasons[index] = "no 2 of its channels hold a signal that single precision can tell from zero"
        if reasons:
            raise FeatureError(reasons)
        return out

    def _cut(self, channels: Sequence[ChannelLike]) -> list[_Part]:
        """The channels' common stretch of time, in each channel's own whole samples."""
        if len(channels) > self.max_receivers:
            raise ValueError(f"{len(channels)} channels where the model takes {self.max_receivers}")
        if len(channels) < 2:
            raise ValueError(f"{len(channels)} channel where arrival times need at least 2 receivers")
        rates = [positive("sample_rate_hz of a channel", channel.sample_rate_hz) for channel in channels]
        latest = max([channel.start_time_ns for channel in channels])
        starts = [(channel.start_time_ns - latest) * 1e-9 for channel in channels]
        end = min([s + c.sample_count / rate for s, c, rate in zip(starts, channels, rates, strict=True)])
        parts = []
        mute = 0
        widths = [bytes_per_sample(channel.datatype) for channel in channels]
        for start, channel, rate, width in zip(starts, channels, rates, widths, strict=True):
            view = sample_bytes(channel.samples, channel.datatype, channel.sample_count)
            skip = round(-start * rate)
            first = start + skip / rate
            count = min(round((end - first) * rate), channel.sample_count - skip)
            if count < MIN_OVERLAP:
                raise ValueError(
                    f"the channels share {max(count, 0)} samples of time by their start times and rates; "
                    f"at least {MIN_OVERLAP} are needed"
                )
            stretch = view[skip * width : (skip + count) * width]
            drifts = abs(count * (rate / self._rate - 1)) >= DRIFT_LIMIT
            if not drifts:
                first += count / 2 * (1 / rate - 1 / self._rate)
            parts.append(_Part(channel.datatype, rate, first, count, drifts, stretch))
            mute += stretch[width:] == stretch[:-width]  # ends at the first difference
        if len(parts) - mute < 2:
            raise ValueError(
                f"{mute} of its {len(parts)} channels hold one value throughout (a muted input, a dead converter), "
                "but arrival times need 2 that hear something"
            )
        return parts

    def _grid(self, parts: Sequence[_Part]) -> _Grid:
        longest = max([math.ceil(part.length / part.rate_hz * self._rate) for part in parts])
        # Zeros behind the samples, so that no lag in the window wraps around.
        slowest = min([part.rate_hz for part in parts])
        if slowest * _SLOWEST < self._rate:
            raise ValueError(
                f"its slowest channel came at {slowest:g} Hz, less than a {_SLOWEST}th of the model's {self._rate:g} Hz"
            )
        points = longest + math.ceil(self._max_lag * self._rate) + 1
        if points * len(parts) > _MOST_POINTS:
            raise ValueError(
                f"its {len(parts)} channels, {points} samples each at the model's {self._rate:g} Hz, are more than the "
                f"{_MOST_POINTS} samples that are worked on: send shorter or fewer ones"
            )
        size = fft.next_fast_len(points)
        low, high = self._band
        width = self._rate / size
        reach = min(high, slowest / 2)
        grid = _Grid(size, math.ceil(low / width), min(math.floor(reach / width), (size - 1) // 2))
        if grid.high < max(grid.low, 1):
            raise ValueError(f"the channels' sample rates reach {reach:g} Hz, below the band's {low:g} Hz")
        return grid

    def _spectra(self, captures: Sequence[Sequence[_Part]], receivers: int, grid: _Grid) -> Complex:
        """Complex64 [N, R, bins -high..high, and zeros up to a whole block], outside the band zero."""
        bins = 2 * grid.high + 1
        spectra = scratch("spectra", len(captures), receivers, _blocks(grid) * _BLOCK)
        spectra[..., bins:] = 0
        channels = [part for parts in captures for part in parts]
        alike: dict[tuple[int, float] | None, list[int]] = defaultdict(list)
        for row, part in enumerate(channels):
            alike[(part.length, part.rate_hz) if part.drifts else None].append(row)
        flat = spectra.reshape(len(channels), -1)
        for key, rows in alike.items():
            members = [channels[row] for row in rows]
            where = slice(None) if len(rows) == len(channels) else rows
            if key is None:
                found = fft.fft(self._tapered(members, grid.size), axis=-1, overwrite_x=True)[: len(rows)]
                flat[where, : grid.high] = found[:, grid.size - grid.high :]
                flat[where, grid.high : bins] = found[:, : grid.high + 1]
            else:
                count, rate = key
                work = self._tapered(members, chirp_points(count, grid.high))
                flat[where, :bins] = chirp(work, count, self._rate / grid.size / rate, grid.high)[: len(rows)]
        at = np.array([part.start_s for part in channels]).reshape(len(captures), receivers)
        late = at[:, 1:] - at[:, :1]  # pairs know differences only
        if late.any():
            spectra[:, 1:, :bins] *= delays(late, self._rate / grid.size, grid.high)
        spectra[:, :, grid.high - grid.low + 1 : grid.high + grid.low] = 0
        if self._weighting == "phat":
            size = np.abs(spectra)
            np.divide(spectra, size, out=spectra, where=size > 0)
        elif self._weighting == "coherence":
            spectra *= _coherence_weights(spectra, grid)
        return spectra

    def _tapered(self, parts: Sequence[_Part], size: int) -> Complex:
        """The parts' samples, tapered, and zeros behind and below: complex64 [padded(B), size], in no unit."""
        work = scratch("samples", padded(len(parts)), size)
        work[len(parts) :] = 0
        work[:, min(part.length for part in parts) :] = 0
        for row, part in zip(work.view(np.float32), parts, strict=False):
            samples = row[: 2 * part.length]
            components(part.view, part.datatype, samples)
            samples *= _weights(part.length, self._ramp(part.length))
        return work

    def _ramp(self, count: int) -> int:
        """Length of the taper's ramps: several lags long, at most 10 % of the capture together."""
        return min(math.ceil(4 * self._max_lag * self._rate), count // 20)

    def _correlate(self, captures: Sequence[Sequence[_Part]], receivers: int, grid: _Grid) -> NDArray[np.float32]:
        """Features float32 [N, pairs, 2 L + 1] of captures of equally many receivers on one grid."""
        pairs = list(combinations(range(receivers), 2))
        first, second = np.array(pairs).T
        lags = self._lags
        result = np.empty((len(captures), len(pairs), 2 * lags + 1), np.float32)
        power = np.empty((len(captures), receivers, _blocks(grid)), np.float32)
        step = max(1, _POINTS // (receivers * grid.size))
        for at in range(0, len(captures), step):
            spectra = self._spectra(captures[at : at + step], receivers, grid)
            parts = spectra.view(np.float32).reshape(*spectra.shape[:2], -1, 2 * _BLOCK)
            np.einsum("nrbk,nrbk->nrb", parts, parts, out=power[at : at + step])
            self._over_lags(spectra, pairs, grid, result[at : at + step])
        energy = power.sum(-1)
        product = energy[:, first].astype(np.float64) * energy[:, second]  # of faint or strong ones: beyond float32
        heard = (product > 0) | ~np.isfinite(product)
        scale = np.divide(1, np.sqrt(product), out=np.zeros_like(product), where=heard)
        result[..., :-1] *= scale.astype(np.float32)[..., None]
        for row, channels in zip(result[..., :-1], captures, strict=True):
            length = round(channels[0].length / channels[0].rate_hz * self._rate)
            shared = _overlap(length, self._ramp(length), lags, self._oversample)
            row[:, :lags] *= shared
            row[:, lags:] *= shared

        share = self._bins_to_samples(captures, grid)
        power /= np.where(energy > 0, energy, 1)[..., None]
        joint = np.einsum("npb,npb->np", (power * _block_weights(grid))[:, first], power[:, second])
        effective = np.divide(1, joint, out=np.zeros_like(joint), where=heard)
        if self._weighting != "phat":
            peak = (result[..., :lags] ** 2 + result[..., lags:-1] ** 2).max(-1)
            effective *= 1 + np.minimum(peak, 1) / np.maximum(_BLOCK * share[:, None], 1)
        result[..., -1] = effective * share[:, None]
        return result

    def _over_lags(
        self, spectra: Complex, pairs: Sequence[tuple[int, int]], grid: _Grid, out: NDArray[np.float32]
    ) -> None:
        """Real and imaginary parts of the pairs' cross-correlations into ``out`` [N, pairs, 2 L + 1]."""
        lags, bins = self._lags, 2 * grid.high + 1
        transform = lag_transform(bins, grid.size * self._oversample, lags // 2)
        other = np.conj(spectra[:, 1:], out=scratch("conjugates", len(spectra), spectra.shape[1] - 1, spectra.shape[2]))
        step = max(1, _PAIR_POINTS // (len(spectra) * transform.points))
        for at in range(0, len(pairs), step):
            some = pairs[at : at + step]
            cross = scratch("cross", len(spectra), len(some), transform.points)
            for p, (i, j) in enumerate(some):
                np.multiply(spectra[:, i, :bins], other[:, j - 1, :bins], out=cross[:, p, :bins])
            found = transform(cross)
            out[:, at : at + step, :lags] = found.real
            out[:, at : at + step, lags:-1] = found.imag

    def _bins_to_samples(self, captures: Sequence[Sequence[_Part]], grid: _Grid) -> NDArray[np.float32]:
        """Float32 [N]: how many independent samples a bin is worth, the padding and the taper considered."""
        firsts = [parts[0] for parts in captures]
        seconds = [_effective_count(part.length, self._ramp(part.length)) / part.rate_hz for part in firsts]
        return np.array([each * self._rate / grid.size for each in seconds], np.float32)


def _make_weights(count: int, ramp: int) -> NDArray[np.float32]:
    """The taper float32 [2 count], once for a sample's real part and once for its imaginary part."""
    weights = np.repeat(taper(count, ramp), 2)
    weights.setflags(write=False)
    return weights


_kept_weights = lru_cache(maxsize=64)(_make_weights)


def _weights(count: int, ramp: int) -> NDArray[np.float32]:
    return (_kept_weights if count <= REMEMBERED else _make_weights)(count, ramp)


@lru_cache(maxsize=64)
def _overlap(count: int, ramp: int, lags: int, oversample: int) -> NDArray[np.float32]:
    """Float32 [lags]: what makes up for tapers that lie a lag apart in the signal, at most 2.

    Without it coherence at 30 dB and a lag of a hundredth of the capture would look like 25 dB, and its peak would be
    drawn towards lag 0.
    """
    window = taper(count, ramp).astype(np.float64)
    size = fft.next_fast_len(2 * count, real=True)
    shared = fft.irfft(np.abs(fft.rfft(window, size)) ** 2, size)[:count]
    away = np.abs(np.arange(lags) - (lags - 1) // 2) / oversample
    share = np.maximum(np.interp(away, np.arange(count), shared / shared[0]), 0.5)
    return np.asarray(1 / share, np.float32)


@lru_cache(maxsize=1024)
def _effective_count(count: int, ramp: int) -> float:
    """(sum w²)² / sum w⁴ of the taper."""
    squares = taper(count, ramp).astype(np.float64) ** 2
    return float(squares.sum() ** 2 / (squares * squares).sum())


def _coherence_weights(spectra: Complex, grid: _Grid) -> NDArray[np.float32]:
    """Float32 [N, R, bins]: sqrt(snr / (1 + snr) / P), P the power averaged over neighbouring bins."""
    live = np.zeros(spectra.shape[-1], np.float32)
    live[: 2 * grid.high + 1] = 1
    live[grid.high - grid.low + 1 : grid.high + grid.low] = 0
    power = (spectra.real**2 + spectra.imag**2).astype(np.float64)
    mean = _moving_sum(power) / np.maximum(_moving_sum(live.astype(np.float64)), 1)
    noise = np.quantile(mean[..., live > 0], _NOISE_QUANTILE, axis=-1)[..., None] / _NOISE_LEVEL
    signal = np.maximum(mean - noise, 0)  # snr / (1 + snr) is signal / mean
    weights = np.divide(np.sqrt(signal), mean, out=np.zeros_like(mean), where=mean > 0)
    result: NDArray[np.float32] = (weights * live).astype(np.float32)
    return result


def _moving_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over _SMOOTH bins to either side along the last axis."""
    pad = [(0, 0)] * (values.ndim - 1) + [(_SMOOTH + 1, _SMOOTH)]
    total = np.cumsum(np.pad(values, pad), axis=-1)
    return np.asarray(total[..., 2 * _SMOOTH + 1 :] - total[..., : -2 * _SMOOTH - 1])


def _blocks(grid: _Grid) -> int:
    """Blocks of bins that a spectrum's power is summed over."""
    return -(-(2 * grid.high + 1) // _BLOCK)


def _block_weights(grid: _Grid) -> NDArray[np.float32]:
    """One over the number of bins of each block that lie in the band."""
    used = np.zeros((_blocks(grid), _BLOCK), np.float32)
    live = used.reshape(-1)
    live[: 2 * grid.high + 1] = 1
    live[grid.high - grid.low + 1 : grid.high + grid.low] = 0
    counts = used.sum(-1)
    weights: NDArray[np.float32] = np.divide(1, counts, out=np.zeros_like(counts), where=counts > 0)
    return weights


def pair_index(i: int, j: int, receivers: int) -> int:
    """Where the pair (i, j), i below j, stands among those of so many receivers."""
    return i * receivers - i * (i + 1) // 2 + j - i - 1


def _band(band_hz: Sequence[float] | None, rate: float) -> tuple[float, float]:
    if band_hz is None:
        return 0.0, rate / 2
    if not isinstance(band_hz, list | tuple) or len(band_hz) != 2:
        raise ValueError(f"band_hz must be [low, high] in Hz or null, not {band_hz!r}")
    low, high = float(band_hz[0]), float(band_hz[1])
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"band_hz {list(band_hz)!r} must rise within 0 and half the sample rate, {rate / 2:g} Hz")
    return low, high
