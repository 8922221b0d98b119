"""The benchmark's networks: the demo's with three receivers and one emitter, and circles of any number."""

from __future__ import annotations

import numpy as np

from stream_app.geo.geodesy import destination
from stream_app.network.file import Network, load_network
from stream_app.resources import example_network

_DEMO = load_network(example_network("demo"))
_MIDDLE, _RADIUS_M = (47.7475, 9.0075), 11_000.0  # of the demo's area
BENCH_NETWORK: Network = _DEMO.model_copy(
    update={"name": "bench", "receivers": _DEMO.receivers[:3], "emitters": _DEMO.emitters[:1]}
)


def circle(receivers: int) -> Network:
    """Receivers at equal distances around the emitter's neighbourhood."""
    azimuths = 360.0 * np.arange(receivers) / receivers
    latitudes, longitudes = destination(*_MIDDLE, azimuths, _RADIUS_M)
    made = [
        _DEMO.receivers[0].model_copy(update={"receiver_id": f"rx{n}", "latitude": lat, "longitude": lon})
        for n, (lat, lon) in enumerate(zip(latitudes.tolist(), longitudes.tolist(), strict=True))
    ]
    return BENCH_NETWORK.model_copy(update={"name": f"circle{receivers}", "receivers": made})


def with_samples(count: int, network: Network = BENCH_NETWORK) -> Network:
    """The network with captures of ``count`` samples."""
    return network.model_copy(update={"simulation": network.simulation.model_copy(update={"samples": count})})
