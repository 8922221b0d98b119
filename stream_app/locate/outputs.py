"""A model's output arrays as answers, each judged by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stream_app.locate.answer import Answer
from stream_app.models.contract import (
    OUTPUT_BORDER,
    OUTPUT_CONFIDENCE,
    OUTPUT_COVARIANCE,
    OUTPUT_POSITION,
    OUTPUT_SIGMA,
)

_RIM = 0.005  # of the area's side: the mean of a posterior that leans on the rim lies a little inside


def covariances(outputs: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
    """Covariances float64 [N, 2, 2], m², east/north, from whichever of the contract's outputs is there."""
    if OUTPUT_COVARIANCE in outputs:
        given = np.asarray(outputs[OUTPUT_COVARIANCE], np.float64)
        return (given + given.transpose(0, 2, 1)) / 2
    sigma = np.asarray(outputs[OUTPUT_SIGMA], np.float64)
    theta = sigma[:, 2] if sigma.shape[1] == 3 else np.zeros(len(sigma))
    turn = np.stack([np.cos(theta), -np.sin(theta), np.sin(theta), np.cos(theta)], 1).reshape(-1, 2, 2)
    return np.asarray((turn * sigma[:, None, :2] ** 2) @ turn.transpose(0, 2, 1))


def answers_of(outputs: Mapping[str, NDArray[np.floating]], count: int) -> list[Answer | str]:
    """``count`` answers, or in words what is wrong with one; border is left for the caller to set."""
    position = np.asarray(outputs[OUTPUT_POSITION], np.float64)
    cov = covariances(outputs)
    missing = np.full(count, math.nan)
    confidence = np.asarray(outputs.get(OUTPUT_CONFIDENCE, missing), np.float64).reshape(count)
    border = np.asarray(outputs.get(OUTPUT_BORDER, missing), np.float64).reshape(count)
    columns = (position[:, 0], position[:, 1], cov[:, 0, 0], cov[:, 1, 1], cov[:, 0, 1], confidence, border)
    results: list[Answer | str] = []
    for latitude, longitude, east, north, cross, sure, mass in zip(*[c.tolist() for c in columns], strict=True):
        if not all(map(math.isfinite, (latitude, longitude, east, cross, north))):
            results.append("gave a position or covariance that is not finite")
        elif abs(latitude) > 90 or abs(longitude) > 180:
            results.append(f"gave the impossible position {latitude}, {longitude}")
        elif east <= 0 or north <= 0 or east * north - cross * cross <= 0:
            results.append("gave a covariance that is not positive definite")
        else:
            results.append(Answer(latitude, longitude, east, north, cross, sure, mass, False))
    return results


def on_rim(answer: Answer, area: Mapping[str, float] | None) -> bool:
    """Whether the position lies on or beyond the rim of the area (degrees), where the model names one."""
    if area is None:
        return False
    high = area["north"] - area["south"]
    wide = area["east"] - area["west"]
    return not (
        area["south"] + _RIM * high < answer.latitude < area["north"] - _RIM * high
        and area["west"] + _RIM * wide < answer.longitude < area["east"] - _RIM * wide
    )
