"""The registry in a process of its own: the same answers, and none of MLflow's weight in the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.errors import ModelError, ModelNotFound, RegistryUnavailable
from stream_app.models.asking import RegistryProcess
from stream_app.models.registry import Registry
from stream_app.settings import Settings
from tests.support.worker import eventually

_CUT_SHORT = """
import os, signal, sys
from stream_app.models.asking import RegistryProcess
from stream_app.settings import Settings
asked = RegistryProcess(Settings(registry_uri=sys.argv[1], model_cache_dir=sys.argv[2]))
print(asked.fetch("m", "@champion").version, "mlflow" in sys.modules, asked.begin().pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a registry with one version of the model m."""
    found = Settings(
        registry_uri=f"sqlite:///{tmp_path / 'r.db'}", model_cache_dir=str(tmp_path / "cache"), registry_token="token"
    )
    (tmp_path / "m.onnx").write_bytes(b"a model")
    Registry.of(found).register("m", tmp_path / "m.onnx", alias="champion")
    return found


def test_it_answers_as_the_registry_does(settings: Settings) -> None:
    asked, registry = RegistryProcess(settings), Registry.of(settings)
    assert asked.fetch("m", "@champion") == registry.fetch("m", "@champion")
    assert asked.details("m", "1") == registry.details("m", "1")
    for ask in (asked.fetch, registry.fetch):
        with pytest.raises(ModelNotFound, match="has no model m @nobody"):
            ask("m", "@nobody")
    asked.begin().kill()  # as when nobody had asked for a while
    assert asked.fetch("m", "1").version == "1"


def test_what_is_refused_there_is_refused_here(settings: Settings, tmp_path: Path) -> None:
    asked = RegistryProcess(settings.model_copy(update={"max_model_bytes": 3, "registry_token": None}))
    with pytest.raises(ModelError, match=r"above FIXSTREAM_MAX_MODEL_BYTES \(3\)"):
        asked.fetch("m", "@champion")
    away = RegistryProcess(settings.model_copy(update={"registry_uri": "http://127.0.0.1:1"}))
    with pytest.raises(RegistryUnavailable, match=r"does not answer .* does not hold m @champion either"):
        away.fetch("m", "@champion")


def test_where_no_process_comes_up_the_cache_serves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    asked = RegistryProcess(settings)
    with pytest.raises(RegistryUnavailable, match=r"ended with code 1; the cache .* does not hold m @champion"):
        asked.fetch("m", "@champion")
    Registry.of(settings).fetch("m", "@champion")
    kept = asked.fetch("m", "@champion")
    assert (kept.version, kept.from_cache) == ("1", True)
    assert "going on with version 1 of m from the cache on disk" in caplog.text
    with pytest.raises(RegistryUnavailable, match="ended with code 1"):
        asked.details("m", "1")


def test_it_ends_with_whoever_asked_and_spares_it_mlflow(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CUT_SHORT, settings.registry_uri, settings.model_cache_dir],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    version, imported, pid = done.stdout.split()
    assert (version, imported) == ("1", "False")
    eventually(lambda: gone(int(pid)), 30, "its end")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()  # nobody may be there to collect it
