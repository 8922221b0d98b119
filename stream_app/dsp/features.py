"""Feature extractors by name: what a model's metadata asks for is made here, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class ChannelLike(Protocol):
    """The part of a capture's channel that features depend on."""

    @property
    def start_time_ns(self) -> int: ...  # noqa: D102
    @property
    def sample_rate_hz(self) -> float: ...  # noqa: D102
    @property
    def datatype(self) -> str: ...  # noqa: D102
    @property
    def sample_count(self) -> int: ...  # noqa: D102
    @property
    def samples(self) -> bytes | memoryview: ...  # noqa: D102
    @property
    def gain_db(self) -> float | None: ...  # noqa: D102


class FeatureExtractor(Protocol):
    """Pure: the same channels give bit-equal features, whatever else is in the batch."""

    min_receivers: int
    max_receivers: int
    shape: tuple[int, ...]  # of one capture's features, without the batch axis

    def extract(self, batch: Sequence[Sequence[ChannelLike]]) -> NDArray[np.float32]:
        """Features float32 [N, ...] of N captures, padded to max_receivers.

        Raises FeatureError, which names the captures that have none, so that the rest can be tried again.
        """
        ...


class FeatureError(ValueError):
    """Captures of a batch that have no features: ``reasons`` maps their index in the batch to words."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"capture {index} of the batch: {why}" for index, why in reasons.items()))


def make_extractor(spec: Mapping[str, Any]) -> FeatureExtractor:
    """The extractor that ``spec`` (``{"extractor": name, **parameters}``) names.

    Raises ValueError for an unknown name or a parameter that does not fit.
    """
    from stream_app.dsp.spectrogram import Spectrogram
    from stream_app.dsp.tdoa import Tdoa

    extractors: dict[str, type[Tdoa] | type[Spectrogram]] = {"tdoa": Tdoa, "spectrogram": Spectrogram}
    parameters = dict(spec)
    name = parameters.pop("extractor", None)
    kind = extractors.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"unknown feature extractor {name!r}; known are {', '.join(extractors)}")
    try:
        return kind(**parameters)
    except TypeError as error:
        raise ValueError(f"feature extractor {name!r}: {error}".replace("__init__()", "it")) from error


def whole(name: str, value: object, minimum: int) -> int:
    """``value`` as a whole number of at least ``minimum``, else ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} must be a whole number of at least {minimum}, not {value!r}")
    return value


def positive(name: str, value: object) -> float:
    """``value`` as a finite number above zero, else ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a number above zero, not {value!r}")
    return float(value)
