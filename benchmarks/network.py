"""The benchmark's network: the demo's with three receivers and one emitter."""

from __future__ import annotations

from stream_app.network.file import Network, load_network
from stream_app.resources import example_network

_DEMO = load_network(example_network("demo"))
BENCH_NETWORK: Network = _DEMO.model_copy(
    update={"name": "bench", "receivers": _DEMO.receivers[:3], "emitters": _DEMO.emitters[:1]}
)
