"""The interface through which the pipeline meets a loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_app.models.contract import ModelInfo


class LocatingModel(Protocol):
    """A model that is loaded, checked and warm. ``stream_app.models.session.OnnxSession`` is the one that ships."""

    name: str
    version: str
    info: ModelInfo

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.floating]]:
        """Outputs by contract name for a batch of inputs by contract name. Inputs the model lacks are ignored."""
        ...
