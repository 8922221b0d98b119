"""When a signal came to each receiver of a capture, from the peaks of its pairs' coherences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from stream_app.dsp.features import ChannelLike
from stream_app.dsp.tdoa import Tdoa, lag_count, pair_index

# M |c|² of a peak. Of noise alone it is exponential with mean 1: of 1,000 lags one reaches this in 3 cases of 10,000.
_LEAST = 15.0
_CLOSURE = 4.0  # sigmas by which the lags of three receivers may miss their sum
_SQUARE = 1 - 1e-4  # coherence² stays below: what is coherent beyond that is limited by interpolation


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Arrival times by the receivers' own stamps, known up to a time that all share.

    ``seconds`` float64 [R] sums to zero; ``information`` float64 [R, R], 1/seconds², of noise alone: singular, for
    nothing is known of the shared time.
    """

    who: NDArray[np.int64]  # [R], the channels that hear the signal
    seconds: NDArray[np.float64]
    information: NDArray[np.float64]


class ArrivalMeter:
    """Measures captures of channels that share one emitter's signal."""

    def __init__(
        self,
        sample_rate_hz: float,
        max_lag_s: float,
        max_receivers: int,
        band_hz: Sequence[float] | None = None,
        weighting: str = "none",
        oversample: int = 4,
    ) -> None:
        """Parameters are those of Tdoa."""
        self._tdoa = Tdoa(
            max_receivers=max_receivers,
            sample_rate_hz=sample_rate_hz,
            max_lag_s=max_lag_s,
            oversample=oversample,
            band_hz=band_hz,
            weighting=weighting,
        )
        self._lags = lag_count(max_lag_s, sample_rate_hz, oversample)
        self._step_s = 1 / (sample_rate_hz * oversample)

    def measure(self, channels: Sequence[ChannelLike]) -> Arrivals | None:
        """None where fewer than two hear a common signal, or pairs contradict each other: noise, or two emitters.

        Raises ValueError where the channels do not fit, as Tdoa does.
        """
        features = self._tdoa.extract([channels])[0].astype(np.float64)
        who = self._hearing(features, len(channels))
        if len(who) < 2:
            return None
        count = len(who)
        pairs = list(combinations(range(count), 2))
        found = features[[pair_index(who[i], who[j], self._tdoa.max_receivers) for i, j in pairs]]
        square = found[:, : self._lags] ** 2 + found[:, self._lags : -1] ** 2
        peak = square.argmax(axis=1)
        if peak.min() == 0 or peak.max() == self._lags - 1:
            return None
        before, middle, after = (square[np.arange(len(pairs)), peak + step] for step in (-1, 0, 1))
        bend = 2 * middle - before - after  # above 0, but where the peak is flat
        if bend.min() <= 0:
            return None
        lag_s = (peak - (self._lags - 1) / 2 + (after - before) / (2 * bend)) * self._step_s
        # |c|² falls from its peak by (beta lag)² of itself, beta the spectrum's rms width in radians a second; a
        # pair's lag then has the information 2 M beta² |c|² / (1 - |c|²) (Knapp and Carter 1976).
        top = np.minimum(middle, _SQUARE)
        information = found[:, -1] * bend / self._step_s**2 / (1 - top)
        incidence = np.zeros((len(pairs), count))
        incidence[np.arange(len(pairs)), [i for i, _ in pairs]] = 1
        incidence[np.arange(len(pairs)), [j for _, j in pairs]] = -1
        weighted = incidence.T * information
        laplacian = weighted @ incidence
        seconds = np.linalg.pinv(laplacian, hermitian=True) @ (weighted @ lag_s)
        missed = lag_s - incidence @ seconds
        if np.any(missed**2 * information > _CLOSURE**2 * count / 2 + (0.25 * self._step_s) ** 2 * information):
            return None
        # R (R - 1) / 2 pairs of R channels count each channel's noise R / 2 times.
        return Arrivals(np.array(who), seconds, laplacian * (2 / count))

    def _hearing(self, features: NDArray[np.float64], count: int) -> list[int]:
        """The channels each two of which share a signal: the one that shares the fewest goes first."""
        square = features[:, : self._lags] ** 2 + features[:, self._lags : -1] ** 2
        shared = features[:, -1] * square.max(axis=1) >= _LEAST
        who = list(range(count))
        while who:
            silent = [
                sum(not shared[pair_index(min(i, j), max(i, j), self._tdoa.max_receivers)] for j in who if j != i)
                for i in who
            ]
            if not any(silent):
                break
            who.pop(int(np.argmax(silent)))
        return who
