"""The capture that the OpenAPI document shows and its page sends: one that a model of the demo network answers."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

# The demo network's receivers (degrees), and how long a wave from 47.7600 N, 9.0600 E takes to each, nanoseconds.
_RECEIVERS = (
    ("north", 47.8420, 9.0100, 32888),
    ("east", 47.7480, 9.1690, 27631),
    ("south", 47.6540, 9.0060, 41584),
    ("west", 47.7520, 8.8470, 53369),
)
_STARTED_NS = 1_746_100_800_000_000_000
_SAMPLES = 512


def example_capture() -> dict[str, Any]:
    """Samples as base64. Each receiver starts as the wave arrives, so all hold the same but for their noise."""
    rng = np.random.default_rng(1)
    wave = rng.normal(0, 24, (_SAMPLES, 2))
    channels = []
    for name, latitude, longitude, delay_ns in _RECEIVERS:
        noisy = np.clip(wave + rng.normal(0, 6, wave.shape), -128, 127).round().astype(np.int8)
        channels.append(
            _channel(name, latitude, longitude, _STARTED_NS + delay_ns)
            | {"datatype": "ci8", "samples": base64.b64encode(noisy.tobytes()).decode()}
        )
    return _capture(channels)


def short_example() -> dict[str, Any]:
    """Samples as [I, Q] pairs, few enough to be read: what it looks like, not what can be answered."""
    pairs = [[0.0, 0.0], [0.5, -0.5], [1.0, 0.0], [-0.5, 0.5], [0.25, 0.25], [-1.0, 0.0], [0.5, 0.5], [0.0, -0.25]]
    return _capture(
        [
            _channel(name, latitude, longitude, _STARTED_NS + delay_ns) | {"samples": pairs}
            for name, latitude, longitude, delay_ns in _RECEIVERS
        ]
    )


def _capture(channels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "capture_id": "example-1",
        "network": "demo",
        "captured_at": "2025-05-01T12:00:00Z",
        "center_frequency_hz": 433.92e6,
        "channels": channels,
    }


def _channel(name: str, latitude: float, longitude: float, start_time_ns: int) -> dict[str, Any]:
    return {
        "receiver_id": name,
        "latitude": latitude,
        "longitude": longitude,
        "altitude_m": 450.0,
        "start_time_ns": str(start_time_ns),  # JavaScript's numbers would lose 256 ns of it
        "start_sigma_ns": 15.0,
        "sample_rate_hz": 1e6,
    }
