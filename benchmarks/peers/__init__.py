"""What FixStream is measured beside: each the way its own documentation has a good user write it.

All do the same work on a capture (``work.Work``) and differ only in how records come and go. Each is a process that
serves until SIGTERM: ``python -m benchmarks.peers.MODULE --bootstrap HOST:PORT --input TOPIC --output TOPIC
--group GROUP --model FILE.onnx [--batch N]``.

Quix Streams wants an older confluent-kafka than FixStream's lock has: what this environment lacks is looked for in
build/bench-venv, which ``make peers`` makes. A peer runs with the repository's root as its directory.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCH_PYTHON = ROOT / "build" / "bench-venv" / "bin" / "python"

PEERS: dict[str, tuple[str, list[str]]] = {
    "faust-streaming, one by one": ("plain_faust", ["--batch", "1"]),
    "faust-streaming, take 32": ("plain_faust", ["--batch", "32"]),
    "Quix Streams": ("quix", []),
    "confluent-kafka, one by one": ("confluent_loop", ["--batch", "1"]),
    "confluent-kafka, batch 32": ("confluent_loop", ["--batch", "32"]),
    "aiokafka, batch 32": ("aiokafka_loop", ["--batch", "32"]),
    "FastAPI, 32 requests in flight": ("http_service", ["--batch", "32"]),
    "Bytewax, batch 32": ("bytewax_flow", ["--batch", "32"]),
}
_NEEDS = {  # what a module imports; FixStream itself depends on faust, aiohttp and confluent-kafka
    "plain_faust": ["faust"],
    "quix": ["quixstreams"],
    "confluent_loop": ["confluent_kafka"],
    "aiokafka_loop": ["aiokafka"],
    "http_service": ["fastapi", "uvicorn", "uvloop", "httptools", "aiokafka", "aiohttp"],
    "bytewax_flow": ["bytewax"],
}


@cache
def python_of(module: str) -> str | None:
    """The interpreter that has what the peer needs: this one, else build/bench-venv's; None: neither has it."""
    needs = _NEEDS[module]
    if all(name in sys.modules or find_spec(name) for name in needs):  # faust, once imported, has no spec
        return sys.executable
    ask = f"from importlib.util import find_spec; raise SystemExit(not all(map(find_spec, {needs!r})))"
    if BENCH_PYTHON.exists() and subprocess.run([BENCH_PYTHON, "-c", ask], check=False).returncode == 0:
        return str(BENCH_PYTHON)
    return None
