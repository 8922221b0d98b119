"""One loaded version at work on the captures that are its own."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from stream_app.dsp.features import FeatureExtractor, make_extractor
from stream_app.locate.answer import Answer
from stream_app.locate.keys import model_part
from stream_app.locate.outputs import answers_of, on_rim
from stream_app.models.contract import INPUT_COUNT, INPUT_FEATURES, INPUT_POSITIONS, INPUT_TIMING
from stream_app.models.fleet import LoadedVersion
from stream_app.records.capture import IqCapture

_where = attrgetter("latitude", "longitude", "altitude_m")


class Lane:
    """What a version needs to answer: its features, its keys, its limits."""

    def __init__(self, version: LoadedVersion, border_mass_limit: float) -> None:
        self.version, self.model = version, version.model
        info = self.model.info
        self.extractor: FeatureExtractor = make_extractor(info.feature_spec)
        self.features_of = json.dumps(dict(info.feature_spec), sort_keys=True)  # equal for versions that can share
        self.by_time = info.feature_spec.get("extractor") == "tdoa"  # so that clocks matter
        self.model_part = model_part(self.model)
        limits = [self.extractor.max_receivers, *([] if info.max_receivers is None else [info.max_receivers])]
        self._fewest, self._most = self.extractor.min_receivers, min(limits)
        self._width = info.max_receivers or self.extractor.max_receivers
        self._border_mass_limit = border_mass_limit

    def refusal(self, capture: IqCapture) -> str:
        """Why the model cannot look at the capture, whatever its samples are; empty where it can."""
        count = len(capture.channels)
        if not self._fewest <= count <= self._most:
            return (
                f"it has {count} channel{'' if count == 1 else 's'}, but model {self.model.name!r} version "
                f"{self.model.version} takes {self._fewest} to {self._most}: send as many, or build it for others"
            )
        if self._fewest > 1 and all(map(_where(capture.channels[0]).__eq__, map(_where, capture.channels))):
            first = capture.channels[0]
            return (
                f"its {count} receivers are all at {first.latitude}, {first.longitude}, {first.altitude_m} m, where "
                f"every emitter is heard at once; model {self.model.name!r} needs arrival times at 2 places: check them"
            )
        return ""

    def infer(self, captures: Sequence[IqCapture], features: Sequence[NDArray[np.float32]]) -> list[Answer | str]:
        """An answer each, or in words what is wrong with it. Raises whatever the model raises."""
        inputs: dict[str, NDArray[np.generic]] = {INPUT_FEATURES: np.stack(features)}
        inputs.update(self._receivers(captures))
        found = answers_of(self.model.infer(inputs), len(captures))
        return [self.flag(each) if isinstance(each, Answer) else each for each in found]

    def flag(self, answer: Answer) -> Answer:
        """Sets the answer's border flag, by the settings of today."""
        if math.isnan(answer.border_mass):
            answer.border = on_rim(answer, self.model.info.area)
        else:
            answer.border = answer.border_mass > self._border_mass_limit
        return answer

    def _receivers(self, captures: Sequence[IqCapture]) -> dict[str, NDArray[np.generic]]:
        counts = np.array([len(capture.channels) for capture in captures], np.int64)
        there = np.arange(self._width) < counts[:, None]
        channels = [channel for capture in captures for channel in capture.channels]
        positions = np.zeros((*there.shape, 3))
        positions[there] = [_where(channel) for channel in channels]
        sigma = np.zeros(there.shape, np.float32)
        sigma[there] = [(channel.start_sigma_ns or 0.0) * 1e-9 for channel in channels]
        return {INPUT_POSITIONS: positions, INPUT_COUNT: counts, INPUT_TIMING: sigma}
