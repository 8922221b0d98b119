"""Power over time and frequency of each receiver; two-sided, for IQ has negative frequencies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stream_app.dsp.features import ChannelLike, FeatureError, whole
from stream_app.dsp.samples import sample_bytes, to_complex64

_FLOOR = 1e-20  # of full-scale power: -200 dB, where silence is put
_CHUNK = 2**15  # samples worked on at once, about: they stay in the CPU's cache


class Spectrogram:
    """Features float32 [N, R, frames, bands], bands from the lowest (most negative) frequency to the highest.

    Short-time spectra (Hann window of n_fft samples, every hop samples) are averaged into ``frames`` equal
    spans of time, and the bins summed into ``bands``. The sum over the bands is the channel's mean power,
    full scale being 1, at the antenna where gain_db is known. ``db``: 10 log10 of it. ``normalisation``
    over the capture, so that what differs between its receivers stays: 'max' relative to the largest value,
    'zscore' zero mean and unit variance. Absent receivers are zeros.
    """

    def __init__(
        self,
        *,
        max_receivers: int,
        n_fft: int,
        hop: int,
        bands: int,
        db: bool = True,
        normalisation: str = "none",
        frames: int = 1,
    ) -> None:
        self.max_receivers, self.min_receivers = whole("max_receivers", max_receivers, 1), 1
        self._n_fft = whole("n_fft", n_fft, 2)
        self._hop = whole("hop", hop, 1)
        self._frames = whole("frames", frames, 1)
        if whole("bands", bands, 1) > n_fft:
            raise ValueError(f"bands must be at most n_fft = {n_fft}, not {bands}")
        if not isinstance(db, bool):
            raise ValueError(f"db must be true or false, not {db!r}")
        if normalisation not in ("none", "max", "zscore"):
            raise ValueError(f"normalisation must be 'none', 'max' or 'zscore', not {normalisation!r}")
        self._db = db
        self._normalisation = normalisation
        window = np.hanning(n_fft + 1)[:n_fft]
        self._window = (window / np.sqrt(n_fft * (window**2).sum())).astype(np.float32)
        self._edges = np.arange(bands) * n_fft // bands
        self.shape: tuple[int, ...] = (self.max_receivers, frames, bands)

    def extract(self, batch: Sequence[Sequence[ChannelLike]]) -> NDArray[np.float32]:
        """Features of N captures; FeatureError names those whose channels do not fit or are too short."""
        out = np.zeros((len(batch), *self.shape), np.float32)
        reasons: dict[int, str] = {}
        alike: dict[tuple[str, int], list[tuple[int, int, memoryview, float]]] = defaultdict(list)
        for index, channels in enumerate(batch):
            try:
                if len(channels) > self.max_receivers:
                    raise ValueError(f"{len(channels)} channels where the model takes {self.max_receivers}")
                for place, channel in enumerate(channels):
                    view = sample_bytes(channel.samples, channel.datatype, channel.sample_count)
                    self._check_length(channel.sample_count)
                    key = channel.datatype, channel.sample_count
                    alike[key].append((index, place, view, channel.gain_db or 0.0))
            except ValueError as error:
                reasons[index] = str(error)
        for (datatype, count), members in alike.items():
            edges, step = self._time_edges(count), max(1, _CHUNK // count)
            for at in range(0, len(members), step):
                indices, places, views, gains = zip(*members[at : at + step], strict=True)
                with np.errstate(invalid="ignore", over="ignore"):  # found below, and said in words
                    power = self._power(to_complex64(datatype, views), edges)
                    out[indices, places] = self._level(power, np.array(gains))
        for index in np.flatnonzero(~np.isfinite(out).all(axis=(1, 2, 3))).tolist():
            reasons.setdefault(index, "its samples are not finite, or too large for single precision")
        if reasons:
            raise FeatureError(reasons)
        if self._normalisation != "none":
            for index, channels in enumerate(batch):
                self._normalise(out[index, : len(channels)])
        return out

    def _check_length(self, count: int) -> None:
        need = self._n_fft + (self._frames - 1) * self._hop
        if count < need:
            raise ValueError(f"a channel has {count} samples; the spectrogram needs at least {need}")

    def _time_edges(self, count: int) -> NDArray[np.int64]:
        """Where each of the output's frames begins among the short-time spectra of ``count`` samples."""
        spectra = (count - self._n_fft) // self._hop + 1
        return np.arange(self._frames, dtype=np.int64) * spectra // self._frames

    def _power(self, samples: NDArray[np.complex64], starts: NDArray[np.int64]) -> NDArray[np.float32]:
        pieces = np.lib.stride_tricks.sliding_window_view(samples, self._n_fft, axis=-1)[:, :: self._hop]
        spectra = fft.fft(pieces * self._window, axis=-1, overwrite_x=True)
        power = spectra.real**2 + spectra.imag**2
        lengths = np.diff(np.append(starts, power.shape[1])).astype(np.float32)
        mean = np.add.reduceat(power, starts, axis=1) / lengths[:, None]
        result: NDArray[np.float32] = np.add.reduceat(fft.fftshift(mean, axes=-1), self._edges, axis=-1)
        return result

    def _level(self, power: NDArray[np.float32], gains_db: NDArray[np.float64]) -> NDArray[np.float64]:
        gains = gains_db[:, None, None]
        if self._db:
            return 10 * np.log10(np.maximum(power.astype(np.float64), _FLOOR)) - gains
        return power / 10 ** (gains / 10)

    def _normalise(self, values: NDArray[np.float32]) -> None:
        if self._normalisation == "max":
            if self._db:
                values -= values.max()
            elif values.max() > 0:
                values /= values.max()
        elif self._normalisation == "zscore":
            spread = values.std()
            values -= values.mean()
            if spread > 0:
                values /= spread
