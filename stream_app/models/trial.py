"""A model's first run: in a process of its own with bounds on memory and time, before a worker opens it.

An allocation that fails, or a crash, ends that process and not the worker with its captures in flight. The process has
none of the worker's environment, and no way to write files.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_app.errors import ContractViolation, ModelError, ModelRefused
from stream_app.models.contract import ModelInfo

if TYPE_CHECKING:
    from stream_app.settings import Settings  # what the process of its own needs not is not imported there

_ORPHAN_S = 5
_NO_MEMORY = ("allocate memory", "bad_alloc", "bad allocation")


def try_model(data: bytes, where: str, settings: Settings) -> ModelInfo:
    """What the file holds, after all checks in the process of its own.

    Raises ContractViolation as check_model does, ModelRefused where it asks for more than a model may have.
    """
    limits = {
        "where": where,
        "batch": settings.max_batch,
        "memory_bytes": settings.max_model_memory_bytes,
        "seconds": math.ceil(settings.model_check_s),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "stream_app.models.trial"],
            input=json.dumps(limits).encode() + b"\n" + data,
            capture_output=True,
            timeout=settings.model_check_s,
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelRefused(
            f"{where}: its trial took longer than FIXSTREAM_MODEL_CHECK_S ({settings.model_check_s:g} s)"
        ) from None
    try:
        said = json.loads(done.stdout)
    except ValueError:
        raise ModelRefused(
            f"{where}: its trial ended with {_ending(done)}; {_memory_words(settings.max_model_memory_bytes)}"
        ) from None
    if "refused" in said:
        known: type[ModelError] = ContractViolation if said["code"] == ContractViolation.code else ModelRefused
        raise known(said["refused"])
    info = ModelInfo(**said)
    return replace(info, inputs=tuple(info.inputs), outputs=tuple(info.outputs))


def _memory_words(limit: int) -> str:
    return f"it may take FIXSTREAM_MAX_MODEL_MEMORY_BYTES ({limit}) of memory for a batch of FIXSTREAM_MAX_BATCH"


def _ending(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return " ".join([f"exit code {done.returncode}", *last])[:300]


def _confine(memory_bytes: int, seconds: int) -> None:
    import resource

    bounds = {
        resource.RLIMIT_CPU: seconds + _ORPHAN_S,  # ends it where nobody is left to wait for it
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":  # elsewhere a bound on addresses is not kept, or cannot be set
        # What is mapped already, mostly libraries, is not the model's.
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        bounds[resource.RLIMIT_AS] = mapped + memory_bytes
    for what, bound in bounds.items():
        resource.setrlimit(what, (bound, bound))


def _run(where: str, batch: int, memory_bytes: int, seconds: int) -> dict[str, Any]:
    # Before the limits: these libraries are no part of what a model takes.
    from stream_app.dsp import spectrogram, tdoa  # noqa: F401
    from stream_app.models.check import check_session, open_session

    _confine(memory_bytes, seconds)
    try:
        data = sys.stdin.buffer.read()
        return asdict(check_session(open_session(data, where, 1), data, where, batch))
    except (ModelError, MemoryError) as error:
        words = str(error)
        if isinstance(error, MemoryError) or any(sign in words for sign in _NO_MEMORY):
            return {"refused": f"{where} runs out of memory: {_memory_words(memory_bytes)}", "code": ModelRefused.code}
        return {"refused": words, "code": error.code}


if __name__ == "__main__":
    print(json.dumps(_run(**json.loads(sys.stdin.buffer.readline()))))
