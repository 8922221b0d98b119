"""One loaded version at work on the captures that are its own."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_app.dsp.features import FeatureExtractor, make_extractor
from stream_app.locate.answer import Answer
from stream_app.locate.keys import model_part
from stream_app.locate.outputs import answers_of, on_rim
from stream_app.models.contract import INPUT_COUNT, INPUT_FEATURES, INPUT_POSITIONS, INPUT_TIMING
from stream_app.models.fleet import LoadedVersion
from stream_app.records.capture import IqCapture


class Lane:
    """What a version needs to answer: its features, its keys, its limits."""

    def __init__(self, version: LoadedVersion, border_mass_limit: float) -> None:
        self.version, self.model = version, version.model
        info = self.model.info
        self.extractor: FeatureExtractor = make_extractor(info.feature_spec)
        self.features_of = json.dumps(dict(info.feature_spec), sort_keys=True)  # equal for versions that can share
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
        if self._fewest > 1 and len({(c.latitude, c.longitude, c.altitude_m) for c in capture.channels}) == 1:
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
        return [self.flagged(each) if isinstance(each, Answer) else each for each in found]

    def flagged(self, answer: Answer) -> Answer:
        """The answer with its border flag set, by the settings of today."""
        if np.isnan(answer.border_mass):
            border = on_rim(answer, self.model.info.area)
        else:
            border = answer.border_mass > self._border_mass_limit
        return answer.with_border(bool(border))

    def _receivers(self, captures: Sequence[IqCapture]) -> dict[str, NDArray[np.generic]]:
        positions = np.zeros((len(captures), self._width, 3))
        sigma = np.zeros((len(captures), self._width), np.float32)
        for n, capture in enumerate(captures):
            for r, channel in enumerate(capture.channels):
                positions[n, r] = channel.latitude, channel.longitude, channel.altitude_m
                sigma[n, r] = (channel.start_sigma_ns or 0.0) * 1e-9
        counts = np.array([len(capture.channels) for capture in captures], np.int64)
        return {INPUT_POSITIONS: positions, INPUT_COUNT: counts, INPUT_TIMING: sigma}
