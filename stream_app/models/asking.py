"""The registry, asked in a process of its own: MLflow's client takes a second or two to import, and 150 MB.

The process comes up beside the worker. It ends when nobody has asked for a while, or when the worker is gone.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from stream_app.errors import ModelError, ModelNotFound, RegistryUnavailable
from stream_app.models.registry import ModelFile, Registry, VersionDetails, registry_options

if TYPE_CHECKING:
    from stream_app.settings import Settings  # the process that asks goes without

_IDLE_S = 30.0
_ERRORS = {kind.code: kind for kind in (ModelError, ModelNotFound, RegistryUnavailable)}
_NOT_NEEDED = ("numpy", "pandas", "pyarrow", "scipy")  # where they are, MLflow imports them, which takes half a second
_LOG = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"  # as the worker's own


class RegistryProcess:
    """Answers as Registry does. For one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError, as Registry does."""
        self._options = registry_options(settings)
        self._registry = Registry(**self._options)
        self._process: subprocess.Popen[str] | None = None
        self._finish: Callable[[], object] | None = None

    def begin(self) -> subprocess.Popen[str]:
        """The process, started where none runs; until it is asked, it makes itself ready."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        if self._finish is not None:
            self._finish()
        process = self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stream_app.models.asking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
            start_new_session=True,  # Ctrl-C is for the worker
        )
        self._finish = weakref.finalize(self, _end, process)  # at the latest when this process ends
        with suppress(BrokenPipeError):  # seen when it is asked
            _send(process, self._options)
        return process

    def fetch(self, name: str, ref: str) -> ModelFile:
        """As Registry.fetch."""
        said = self._ask("fetch", name, ref)
        if said is None:
            return self._registry.remembered(name, ref, self._ended())
        return ModelFile(Path(said.pop("path")), **said)

    def details(self, name: str, version: str) -> VersionDetails:
        """As Registry.details."""
        said = self._ask("details", name, version)
        if said is None:
            raise self._ended()
        return VersionDetails(tuple(said.pop("aliases")), **said)

    def _ask(self, *question: str) -> dict[str, Any] | None:
        """The answer; None where the process ends before it gives one. Raises what Registry raised there."""
        answer = ""
        for _ in range(2):  # it may have ended just now, as nobody had asked for a while
            process = self.begin()
            with suppress(BrokenPipeError):
                _send(process, question)
                answer = cast("IO[str]", process.stdout).readline()
            if answer:
                break
            process.wait()
        else:
            return None
        said: dict[str, Any] = json.loads(answer)
        if "refused" in said:
            raise _ERRORS[said["code"]](said["refused"])
        return said

    def _ended(self) -> RegistryUnavailable:
        code = None if self._process is None else self._process.wait()
        return RegistryUnavailable(
            f"registry {self._registry.where} cannot be asked: the process that asks it ended with code {code}"
        )


def _send(process: subprocess.Popen[str], what: object) -> None:
    stdin = cast("IO[str]", process.stdin)
    stdin.write(json.dumps(what) + "\n")
    stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    with suppress(BrokenPipeError), process:  # closes the pipes, and waits
        pass


def _answer(registry: Registry, method: str, name: str, ref: str) -> dict[str, Any]:
    try:
        if method == "details":
            return asdict(registry.details(name, ref))
        found = asdict(registry.fetch(name, ref))
        return found | {"path": str(found["path"])}
    except ModelError as error:
        return {"refused": str(error), "code": error.code if error.code in _ERRORS else ModelError.code}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}", "code": ModelError.code}


def _serve() -> None:
    cast("dict[str, None]", sys.modules).update(dict.fromkeys(_NOT_NEEDED))  # as if they were not installed
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what MLflow prints must not get between the answers
    questions = os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # select does not see what is buffered
    logging.disable()  # what there is to say of the options, the worker has said
    registry = Registry(**json.loads(questions.readline()))
    logging.disable(logging.NOTSET)
    logging.basicConfig(format=_LOG, level=logging.WARNING)
    gc.disable()  # it would look through what is imported again and again: a quarter of the time
    registry.warm()
    gc.enable()
    while select.select([questions], [], [], _IDLE_S)[0]:
        question = questions.readline()
        if not question:
            return  # the worker is gone
        print(json.dumps(_answer(registry, *json.loads(question))), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
