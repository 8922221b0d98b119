"""Models by alias, version and stage; from the cache on disk when the registry is away."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.errors import ModelError, ModelNotFound, RegistryUnavailable
from stream_app.models.registry import Registry
from tests.support.servers import MlflowServer


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'registry' / 'r.db'}"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "registry").mkdir()
    found = [tmp_path / f"{number}.onnx" for number in (1, 2)]
    for path in found:
        path.write_bytes(path.name.encode() * 100)
    return found


def _walk(registry: Registry, name: str, files: list[Path]) -> None:
    assert registry.register(name, files[0], alias="champion") == "1"
    assert registry.fetch(name, "@champion").path.read_bytes() == files[0].read_bytes()
    assert registry.register(name, files[1], alias="@champion") == "2"
    newest = registry.fetch(name, "@champion")
    assert (newest.version, newest.from_cache) == ("2", False)
    assert newest.path.read_bytes() == files[1].read_bytes()
    assert registry.fetch(name, "1").path.read_bytes() == files[0].read_bytes()
    for ref in ("@nobody", "3", "Production", "nonsense"):
        with pytest.raises(ModelNotFound, match=ref):
            registry.fetch(name, ref)


def test_alias_and_version_in_sqlite(uri: str, files: list[Path], tmp_path: Path) -> None:
    _walk(Registry(uri, tmp_path / "cache"), "m", files)


@pytest.mark.mlflow
def test_alias_version_and_stage_on_a_server(
    mlflow_server: MlflowServer, files: list[Path], tmp_path: Path, unique: str
) -> None:
    registry = Registry(mlflow_server.uri, tmp_path / "cache")
    _walk(registry, unique, files)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    client.transition_model_version_stage(unique, "1", "Production")
    assert registry.fetch(unique, "production").version == "1"

    mlflow_server.stop()
    try:
        kept = registry.fetch(unique, "@champion")
    finally:
        mlflow_server.start()
    assert (kept.version, kept.from_cache) == ("2", True)


def test_without_the_registry_the_cache_serves_and_says_so(
    uri: str, files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(uri, tmp_path / "cache")
    registry.register("m", files[0], alias="champion")
    registry.fetch("m", "@champion")
    gone = Registry("http://127.0.0.1:1", tmp_path / "cache")
    with pytest.raises(RegistryUnavailable, match="does not hold m @champion"):
        gone.fetch("m", "@champion")
    Path(uri.removeprefix("sqlite:///")).write_bytes(b"no database at all")
    with caplog.at_level(logging.WARNING):
        kept = registry.fetch("m", "@champion")
    assert (kept.version, kept.from_cache) == ("1", True)
    assert kept.path.read_bytes() == files[0].read_bytes()
    assert "from the cache" in caplog.text
    kept.path.write_bytes(b"damaged")
    with pytest.raises(RegistryUnavailable, match="damaged"):
        registry.fetch("m", "@champion")


def test_a_damaged_copy_is_fetched_again(uri: str, files: list[Path], tmp_path: Path) -> None:
    registry = Registry(uri, tmp_path / "cache")
    registry.register("m", files[0], alias="champion")
    registry.fetch("m", "@champion").path.write_bytes(b"damaged")
    assert registry.fetch("m", "@champion").path.read_bytes() == files[0].read_bytes()


def test_a_disk_that_takes_no_note_keeps_no_model_from_being_used(
    uri: str, files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(uri, tmp_path / "cache")
    registry.register("m", files[0], alias="champion")
    registry.fetch("m", "@champion")
    for note in (tmp_path / "cache").glob("*.json"):
        note.unlink()
        note.mkdir()
    assert registry.fetch("m", "@champion").path.read_bytes() == files[0].read_bytes()
    assert "cannot be noted" in caplog.text
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".json", ".onnx"}


def test_a_file_above_the_limit_is_refused(uri: str, files: list[Path], tmp_path: Path) -> None:
    Registry(uri, tmp_path / "writer").register("model", files[0], alias="champion")
    with pytest.raises(ModelError, match="FIXSTREAM_MAX_MODEL_BYTES"):
        Registry(uri, tmp_path / "models", max_bytes=files[0].stat().st_size - 1).fetch("model", "@champion")
    assert Registry(uri, tmp_path / "models", max_bytes=files[0].stat().st_size).fetch("model", "@champion")


def test_what_the_registry_knows_of_a_version(uri: str, files: list[Path], tmp_path: Path) -> None:
    registry = Registry(uri, tmp_path / "models")
    from mlflow import MlflowClient  # it takes a second to import

    version = registry.register("model", files[0], alias="champion")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.set_model_version_tag("model", version, "training_samples", "1200")
    client.log_metric(client.get_model_version("model", version).run_id, "accuracy_meters", 7.5)
    found = registry.details("model", version)
    assert (found.aliases, found.accuracy_m, found.training_samples) == (("champion",), 7.5, 1200)
    assert found.run_id
    assert found.created_at_us
    assert registry.resolve("model", "@champion") == version


_ASK = """
import sys
from pathlib import Path
from stream_app.errors import ModelNotFound
from stream_app.models.registry import Registry
try:
    Registry(sys.argv[1], Path(sys.argv[2])).fetch("nobody", "@champion")
except ModelNotFound:
    print("not found")
"""


def test_processes_that_meet_at_a_new_file_do_not_break_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ASK, f"sqlite:///{tmp_path / 'registry.db'}", str(tmp_path)]
    met = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in met] == ["not found"] * 3
