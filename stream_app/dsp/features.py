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

    max_receivers: int

    def extract(self, batch: Sequence[Sequence[ChannelLike]]) -> NDArray[np.float32]:
        """Features float32 [N, ...] of N captures, padded to max_receivers."""
        ...


def make_extractor(spec: Mapping[str, Any]) -> FeatureExtractor:
    """The extractor that ``spec`` (``{"extractor": name, **parameters}``) names.

    Raises ValueError for an unknown name or a parameter that does not fit.
    """
    raise ValueError(f"unknown feature extractor {spec.get('extractor')!r}")
