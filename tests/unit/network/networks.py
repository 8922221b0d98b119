"""Small networks for tests."""

from __future__ import annotations

from typing import Any

from stream_app.network.file import Network


def network(
    simulation: dict[str, Any] | None = None, emitters: list[dict[str, Any]] | None = None, **more: Any
) -> Network:
    """Three receivers some 10 km apart, exact clocks, one emitter, unless told otherwise."""
    standing = {"name": "mast", "latitude": 47.75, "longitude": 9.05, "bandwidth_hz": 500e3, "snr_db": 60.0}
    values = {
        "name": "test",
        "receivers": [
            {"receiver_id": "a", "latitude": 47.80, "longitude": 9.00, "altitude_m": 400},
            {"receiver_id": "b", "latitude": 47.75, "longitude": 9.15, "altitude_m": 900},
            {"receiver_id": "c", "latitude": 47.70, "longitude": 9.00, "altitude_m": 450},
        ],
        "area": {"south": 47.6, "west": 8.9, "north": 47.9, "east": 9.2},
        "center_frequency_hz": 433.92e6,
        "sample_rate_hz": 1e6,
        "simulation": {"datatype": "cf32_le", "reference_distance_m": 10_000, **(simulation or {})},
        "emitters": emitters or [standing],
        **more,
    }
    return Network.model_validate(values)
