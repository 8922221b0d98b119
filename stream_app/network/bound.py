"""The Cramér-Rao bound of a position: how well any unbiased method could do with the samples that were taken.

The signal is a Gaussian process of unknown realisation, flat over its band, that reaches receiver r with its own
delay, amplitude and carrier phase in white noise. What its spectra tell of the delays is the Fisher information of
Hahn and Tretter (1973, Optimum processing for delay-vector estimation in passive signal arrays, IEEE Trans. Inf.
Theory 19, 608-614; for two receivers it is the bound of Carter 1987, Coherence and time delay estimation, Proc. IEEE
75, 236-255). There the carrier's phase is known; here it is not, and takes the mean frequency's part with it, so that
the band counts by its root mean square width about its middle (as in Stein 1981, Algorithms for ambiguity function
processing, IEEE Trans. ASSP 29, 588-599).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream_app.geo.geodesy import destination
from stream_app.network.file import Network
from stream_app.network.motion import Paths

_STEP_M = 10.0
_OPEN = 1e-12  # of the information across: what rounding leaves along a direction that nothing is known of

Array = NDArray[np.float64]


def delay_information(snr: ArrayLike, bandwidth_hz: float, duration_s: float) -> Array:
    """Fisher information float64 [R, R], 1/s², of the delays at receivers with signal-to-noise ratios ``snr`` [R].

    A bin's phases have the information 2 snr_i snr_j / (1 + sum snr) between i and j, as weights of a graph's
    Laplacian: what all share is unknown. A delay turns bin f by 2 pi f, whose mean square over a flat band about its
    middle is (2 pi B)² / 12; there are B T independent bins.
    """
    ratio = np.asarray(snr, np.float64)
    pairs = 2 * np.outer(ratio, ratio) / (1 + ratio.sum())
    bins = bandwidth_hz * duration_s
    return np.asarray((np.diag(pairs.sum(1)) - pairs) * bins * (2 * math.pi * bandwidth_hz) ** 2 / 12)


def position_bound(slopes: ArrayLike, information: ArrayLike, timing_sigma_s: ArrayLike) -> Array:
    """The smallest covariance float64 [2, 2], m² east/north; infinite where the delays leave a direction open.

    Args:
        slopes: [R, 2] how delays change with the position, s/m east and north.
        information: [R, R] of the delays, 1/s².
        timing_sigma_s: [R] independent Gaussian errors of the receivers' arrival times.
    """
    slope, known = np.asarray(slopes, np.float64), np.asarray(information, np.float64)
    variance = np.diag(np.asarray(timing_sigma_s, np.float64) ** 2)
    # (J^-1 + S)^-1 without J's inverse: what all delays share, the time of sending, is unknown and J singular.
    left = known @ np.linalg.inv(np.eye(len(known)) + variance @ known)
    fisher = slope.T @ (left + left.T) / 2 @ slope
    least, most = np.linalg.eigvalsh(fisher)
    if least <= _OPEN * most:
        return np.full((2, 2), np.inf)
    return np.asarray(np.linalg.inv(fisher))


def delay_slopes(network: Network, latitude: float, longitude: float, altitude_m: float | None = None) -> Array:
    """How the delays to the network's receivers change with an emitter's place: float64 [R, 2], s/m east and north."""
    paths = Paths(network)
    ends = []
    for azimuth in (90.0, 0.0):
        ahead, behind = (destination(latitude, longitude, azimuth + turn, _STEP_M) for turn in (0.0, 180.0))
        far, near = (paths.lengths_m(float(at[0]), float(at[1]), altitude_m) for at in (ahead, behind))
        ends.append((far - near) / (2 * _STEP_M * network.speed_m_s))
    return np.stack(ends, -1)


def rms_m(covariance: ArrayLike) -> float:
    """Root of the mean square distance, metres, of a covariance [2, 2] in m²."""
    east, _, _, north = np.asarray(covariance, np.float64).ravel().tolist()
    return math.sqrt(east + north)
