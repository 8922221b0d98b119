"""A registry that asks for a token, and files in it that are not what they should be."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stream_app.errors import ModelError, RegistryUnavailable, SettingsError
from stream_app.models.access import RegistryAccess
from stream_app.models.registry import Registry
from stream_app.settings import Settings
from tests.support.proxy import guarded
from tests.support.servers import MlflowServer

TOKEN = "open-sesame"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'r.db'}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.onnx"
    path.write_bytes(b"model" * 100)
    return path


@pytest.fixture
def stored(uri: str, file: Path, unique: str, tmp_path: Path) -> Callable[[], Path]:
    """Registers the file under the test's name; gives the folder where the registry keeps it."""

    def register() -> Path:
        Registry(uri, tmp_path / "writer").register(unique, file, alias="champion")
        source: str = client(uri).get_model_version(unique, "1").source
        return Path(source.removeprefix("file://"))

    return register


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.mark.mlflow
def test_a_server_that_asks_for_a_token(
    mlflow_server: MlflowServer, file: Path, unique: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with guarded(mlflow_server.port, TOKEN) as uri:
        settings = Settings(
            registry_uri=uri, registry_token=SecretStr(f"{TOKEN}\n"), model_cache_dir=str(tmp_path / "models")
        )
        right = Registry.of(settings)
        assert right.register(unique, file, alias="champion") == "1"
        assert right.fetch(unique, "@champion").path.read_bytes() == file.read_bytes()
        assert right.details(unique, "1").aliases == ("champion",)
        assert "MLFLOW_TRACKING_TOKEN" not in os.environ

        for token, words in (("wrong-token", "check FIXSTREAM_REGISTRY_TOKEN"), (None, "set FIXSTREAM_REGISTRY_TOKEN")):
            with pytest.raises(RegistryUnavailable, match=f"refuses to answer.*401.*{words}"):
                Registry(uri, tmp_path / "empty", token=token).fetch(unique, "@champion")
            caplog.clear()
            with caplog.at_level(logging.DEBUG):
                kept = Registry(uri, tmp_path / "models", token=token).fetch(unique, "@champion")
            assert (kept.version, kept.from_cache) == ("1", True)
            [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            assert words in line
            assert "\n" not in line
            assert "wrong-token" not in caplog.text


def test_a_token_goes_in_the_clear_only_with_a_warning_and_never_to_another_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for uri in ("https://mlflow.example.org", "http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000"):
        RegistryAccess(uri, TOKEN)
    RegistryAccess("http://mlflow.example.org")
    assert not caplog.records
    access = RegistryAccess("http://mlflow.example.org:5000", TOKEN)
    assert [record.getMessage() for record in caplog.records] == [
        "The token for the registry goes to http://mlflow.example.org:5000 in the clear: use https://"
    ]
    for own in ("mlflow-artifacts:/1/a", "mlflow-artifacts://mlflow.example.org:5000/1", "s3://bucket/1", "/srv/1"):
        access.check_source(own, "m")
    for other in (
        "http://evil.example.org/1",
        "mlflow-artifacts://evil.example.org:5000/1",
        "https://mlflow.example.org",
    ):
        with pytest.raises(ModelError, match="not at the registry"):
            access.check_source(other, "m")
    with pytest.raises(ModelError, match="not at the registry"):
        RegistryAccess("https://m:1", TOKEN).check_source("http://m:1/a", "m")


@pytest.mark.parametrize("token", ["", " ", "two words", "line\nbreak", "schlüssel"])
def test_a_token_that_no_header_can_carry_is_refused_without_saying_it(token: str) -> None:
    with pytest.raises(SettingsError, match="FIXSTREAM_REGISTRY_TOKEN") as raised:
        RegistryAccess("https://mlflow.example.org", token)
    assert token.strip() == "" or token not in str(raised.value)


def test_a_password_in_the_registry_s_uri_is_in_no_error(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match=r"registry http://\*\*\*@127\.0\.0\.1:1 does not answer") as raised:
        Registry("http://reader:hunter2@127.0.0.1:1", tmp_path).fetch("m", "1")
    assert "hunter2" not in str(raised.value)


def test_a_file_that_was_exchanged_in_the_registry_is_refused(
    uri: str, unique: str, stored: Callable[[], Path], tmp_path: Path
) -> None:
    (stored() / "model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"its file's sha256 is .*register it again"):
        Registry(uri, tmp_path / "models").fetch(unique, "@champion")


def test_without_a_stated_digest_the_first_file_counts_or_none(
    uri: str, unique: str, file: Path, stored: Callable[[], Path], tmp_path: Path
) -> None:
    folder = stored()
    client(uri).delete_model_version_tag(unique, "1", "fixstream.sha256")
    with pytest.raises(ModelError, match=r"no tag fixstream.sha256.*FIXSTREAM_REQUIRE_DIGEST"):
        Registry(uri, tmp_path / "models", require_digest=True).fetch(unique, "1")
    registry = Registry(uri, tmp_path / "models")
    found = registry.fetch(unique, "@champion")
    (folder / "model.onnx").write_bytes(b"other")
    assert registry.fetch(unique, "1").path.read_bytes() == file.read_bytes()
    found.path.unlink()
    with pytest.raises(ModelError, match="came first"):
        registry.fetch(unique, "1")
    client(uri).set_model_version_tag(unique, "1", "fixstream.sha256", "../../../etc/passwd")
    with pytest.raises(ModelError, match="sha256"):
        registry.fetch(unique, "1")


def test_a_file_above_the_limit_is_not_even_downloaded(
    uri: str, unique: str, stored: Callable[[], Path], tmp_path: Path
) -> None:
    os.truncate(stored() / "model.onnx", 2**43)  # a hole of 8 TB: to copy it would take days
    with pytest.raises(ModelError, match=r"has 8796093022208 bytes, above FIXSTREAM_MAX_MODEL_BYTES \(1000\)"):
        Registry(uri, tmp_path / "models", 1000).fetch(unique, "@champion")


def test_one_onnx_file_in_any_folder_is_found_and_two_are_refused(
    uri: str, unique: str, file: Path, stored: Callable[[], Path], tmp_path: Path
) -> None:
    folder = stored()
    (folder / "data").mkdir()
    (folder / "model.onnx").rename(folder / "data" / "net.onnx")
    (folder / "MLmodel").write_text("flavors: {}")
    registry = Registry(uri, tmp_path / "models")
    found = registry.fetch(unique, "1")
    assert found.path.read_bytes() == file.read_bytes()
    assert not found.path.is_symlink()
    found.path.unlink()
    shutil.copy(folder / "data" / "net.onnx", folder / "other.onnx")
    with pytest.raises(ModelError, match="holds 2 ONNX files, not one"):
        registry.fetch(unique, "1")
