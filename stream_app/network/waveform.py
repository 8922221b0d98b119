"""What simulated emitters send: periodic random waveforms, given as tones, so that any instant has an exact value."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stream_app.network.file import Modulation

Coefficients = NDArray[np.complex128]

_ROLLOFF = 0.25  # of qpsk's root-raised-cosine pulses
_GMSK_BT = 0.25
_GMSK_WIDTH = 0.86  # bandwidth of 99 % of the power over the bit rate at BT 0.25 (Murota and Hirade 1981)
_FSK_INDEX = 0.7  # modulation index
_AM_DEPTH = 0.4  # RMS of the modulation over the carrier
_OVERSAMPLE = 4  # samples a symbol while a phase is integrated


class Waveform:
    """A modulation in a bandwidth. Its period is ``span_s`` at least: what is seen of it does not repeat.

    All power lies within bandwidth_hz: what a modulation has outside, the transmitter's filter takes away.
    ``tones_hz`` float64 [K], symmetric about 0, ``spacing_hz`` apart.
    """

    def __init__(self, modulation: Modulation, bandwidth_hz: float, span_s: float) -> None:
        self._modulation = modulation
        per_hertz = {"qpsk": 1 / (1 + _ROLLOFF), "gmsk": 1 / _GMSK_WIDTH, "fsk": 1 / (1 + _FSK_INDEX)}
        symbol_rate = bandwidth_hz * per_hertz.get(modulation, 1.0)  # fsk by Carson's rule
        self._symbols = int(fft.next_fast_len(max(8, math.ceil(span_s * symbol_rate))))
        self._bandwidth = bandwidth_hz
        self.spacing_hz = symbol_rate / self._symbols
        self.reach = int(bandwidth_hz / 2 / self.spacing_hz)  # of the tones -reach..reach
        self.tones_hz: NDArray[np.float64] = np.asarray(
            np.arange(-self.reach, self.reach + 1) * self.spacing_hz, np.float64
        )

    def draw(self, rng: np.random.Generator) -> Coefficients:
        """Amplitudes complex128 [K] of one random waveform of unit mean power."""
        if self._modulation == "qpsk":
            values = self._qpsk(rng)
        elif self._modulation in ("gmsk", "fsk"):
            values = self._continuous_phase(rng)
        elif self._modulation == "am":
            values = self._am(rng)
        else:
            values = _normal(rng, 2 * self.reach + 1)
        return np.asarray(values / np.sqrt(np.vdot(values, values).real))

    def _qpsk(self, rng: np.random.Generator) -> Coefficients:
        symbols = 1j ** rng.integers(0, 4, self._symbols)
        spectrum = fft.fft(symbols)[np.arange(-self.reach, self.reach + 1)]
        rate = self.spacing_hz * self._symbols
        # Root of the raised cosine: flat up to (1 - rolloff) / 2 of the symbol rate, a quarter of a cosine from there.
        edge = np.clip((np.abs(self.tones_hz) / rate - (1 - _ROLLOFF) / 2) / _ROLLOFF, 0, 1)
        return np.asarray(spectrum * np.cos(np.pi / 2 * edge))

    def _continuous_phase(self, rng: np.random.Generator) -> Coefficients:
        bits = 2.0 * rng.integers(0, 2, self._symbols) - 1
        frequency = np.repeat(bits, _OVERSAMPLE)
        if self._modulation == "gmsk":
            pulse = _gaussian()
            half = len(pulse) // 2
            frequency = np.convolve(np.concatenate((frequency[-half:], frequency, frequency[:half])), pulse, "valid")
        index = 0.5 if self._modulation == "gmsk" else _FSK_INDEX
        phase = np.cumsum(frequency) * (np.pi * index / _OVERSAMPLE)
        # A period must end on the phase it began with: less than half a turn goes into the carrier's frequency.
        excess = phase[-1] - 2 * np.pi * round(phase[-1] / (2 * np.pi))
        phase -= np.arange(1, len(phase) + 1) * (excess / len(phase))
        return np.asarray(fft.fft(np.exp(1j * phase))[np.arange(-self.reach, self.reach + 1)])

    def _am(self, rng: np.random.Generator) -> Coefficients:
        upper = _normal(rng, self.reach)
        upper *= _AM_DEPTH / np.sqrt(2 * np.vdot(upper, upper).real)
        return np.concatenate((upper[::-1].conj(), [1], upper))


def _normal(rng: np.random.Generator, count: int) -> Coefficients:
    return np.asarray(rng.standard_normal(2 * count).view(np.complex128))


def _gaussian() -> NDArray[np.float64]:
    """GMSK's Gaussian filter, over two symbols to each side."""
    sigma = math.sqrt(math.log(2)) / (2 * math.pi * _GMSK_BT)  # symbols
    t = np.arange(-2 * _OVERSAMPLE, 2 * _OVERSAMPLE + 1) / _OVERSAMPLE
    pulse = np.exp(-0.5 * (t / sigma) ** 2)
    return np.asarray(pulse / pulse.sum())


class Sampler:
    """Values of a waveform on several receivers' own sampling grids, exact to rounding.

    The sum over the tones at t_m = start + m / rate is a chirp-z transform (Bluestein 1970), whose convolution
    kernel is prepared once for each rate. ``rates_hz`` [R].
    """

    def __init__(self, waveform: Waveform, rates_hz: NDArray[np.float64], count: int) -> None:
        reach = waveform.reach
        step = (waveform.spacing_hz / np.asarray(rates_hz, np.float64))[:, None]  # turns a tone and sample
        self._tones = waveform.tones_hz
        self._first, self._count = 2 * reach, count
        self._size = int(fft.next_fast_len(count + 2 * reach))
        self._before = _turns(_half_squares(np.arange(-reach, reach + 1)) * step)
        self._before[np.abs(self._tones) > np.asarray(rates_hz)[:, None] / 2] = 0  # the receiver's filter
        self._kernel = fft.fft(_turns(-_half_squares(np.arange(-reach, count + reach)) * step), self._size)
        self._after = _turns(_half_squares(np.arange(count)) * step)

    def sample(self, values: Coefficients, starts_s: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Samples complex128 [R, count]; row r begins at the waveform's time ``starts_s[r]``."""
        shifted = values * _turns(starts_s[:, None] * self._tones) * self._before
        spectrum = fft.fft(shifted, self._size)
        spectrum *= self._kernel
        long = fft.ifft(spectrum, overwrite_x=True)
        return np.asarray(long[:, self._first : self._first + self._count] * self._after)


def _half_squares(n: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * n.astype(np.float64) ** 2)


def _turns(angle: NDArray[np.float64]) -> NDArray[np.complex128]:
    """e^{2 pi j angle}."""
    out = np.empty(angle.shape, np.complex128)
    radians = 2 * np.pi * (angle - np.rint(angle))
    np.cos(radians, out=out.real)
    np.sin(radians, out=out.imag)
    return out
