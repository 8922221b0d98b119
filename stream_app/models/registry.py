"""Models from an MLflow registry, with a cache on disk that a start without the registry works from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_app.errors import ModelError, ModelNotFound, RegistryUnavailable

log = logging.getLogger(__name__)
_DIGEST_TAG = "fixstream.sha256"
_EXPERIMENT = "fixstream-models"
_STAGES = ("Production", "Staging", "Archived", "None")
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "ENDPOINT_NOT_FOUND")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model on disk: which version it is, and whether the registry was asked or only the cache."""

    path: Path
    version: str
    digest: str  # sha256 of the file, hex
    from_cache: bool


@dataclass(frozen=True, slots=True)
class VersionDetails:
    """What the registry says of a version, where it says it."""

    aliases: tuple[str, ...] = ()
    stage: str | None = None
    created_at_us: int | None = None
    run_id: str | None = None
    accuracy_m: float | None = None  # metric or tag accuracy_meters
    training_samples: int | None = None  # parameter, metric or tag training_samples


class Registry:
    """An MLflow registry by URI: ``http(s)://`` of a server, or ``sqlite:///`` of a file of one's own."""

    def __init__(self, uri: str, cache_dir: Path, max_bytes: int | None = None) -> None:
        self._uri, self._cache, self._max_bytes = uri, cache_dir, max_bytes

    def fetch(self, name: str, ref: str) -> ModelFile:
        """The model that ``ref`` names now: an ``@alias``, a version number, or a stage such as Production.

        Where the registry does not answer, the version that ``ref`` named last, from the cache. Raises
        RegistryUnavailable where the cache lacks it too, ModelNotFound where the registry has no such model.
        """
        try:
            with _asking(self._uri):
                found = self._version(name, ref)
        except RegistryUnavailable as error:
            return self._remembered(name, ref, error)
        version, stated = str(found.version), dict(found.tags).get(_DIGEST_TAG)
        if stated is not None and self._intact(stated):
            self._remember(name, ref, version, stated)
            return ModelFile(self._path(stated), version, stated, from_cache=False)
        try:
            with _asking(self._uri):
                digest = self._download(name, found)
        except RegistryUnavailable as error:
            return self._remembered(name, ref, error)
        if stated is not None and digest != stated:
            raise ModelError(
                f"model {name} version {version}: its file's sha256 is {digest}, not {stated}: re-register"
            )
        self._remember(name, ref, version, digest)
        return ModelFile(self._path(digest), version, digest, from_cache=False)

    def resolve(self, name: str, ref: str) -> str:
        """The version number that ``ref`` names now. Raises ModelNotFound or RegistryUnavailable."""
        with _asking(self._uri):
            return str(self._version(name, ref).version)

    def details(self, name: str, version: str) -> VersionDetails:
        """What the registry says of a version. Raises ModelNotFound or RegistryUnavailable."""
        with _asking(self._uri):
            found = self._version(name, version)
            said = dict(found.tags)
            if found.run_id:
                run = _client(self._uri).get_run(found.run_id).data
                said = {**run.params, **run.metrics, **said}
        stage = found.current_stage
        samples = _number(said.get("training_samples"))
        return VersionDetails(
            aliases=tuple(found.aliases),
            stage=None if stage in (None, "None") else str(stage),
            created_at_us=int(found.creation_timestamp) * 1000,
            run_id=found.run_id or None,
            accuracy_m=_number(said.get("accuracy_meters")),
            training_samples=None if samples is None else int(samples),
        )

    def register(self, name: str, path: Path, alias: str | None = None) -> str:
        """Stores the ONNX file as a new version of ``name``, which ``alias`` names from then on; returns the version.

        Raises RegistryUnavailable.
        """
        with _asking(self._uri):
            client = _client(self._uri)
            _ensure_model(client, name)
            run = client.create_run(_experiment(client, self._uri))
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "model.onnx"
                shutil.copyfile(path, copy)
                client.log_artifact(run.info.run_id, str(copy), "model")
            client.set_terminated(run.info.run_id)
            version = client.create_model_version(
                name,
                f"{run.info.artifact_uri}/model",
                run.info.run_id,
                tags={_DIGEST_TAG: hashlib.sha256(path.read_bytes()).hexdigest()},
            )
            if alias is not None:
                client.set_registered_model_alias(name, alias.removeprefix("@"), version.version)
            return str(version.version)

    def _version(self, name: str, ref: str) -> Any:
        client = _client(self._uri)
        try:
            if ref.startswith("@"):
                return client.get_model_version_by_alias(name, ref[1:])
            if ref.isdecimal():
                return client.get_model_version(name, ref)
            if ref.capitalize() in _STAGES:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # stages are for older servers, and meant to be
                    found = client.get_latest_versions(name, [ref.capitalize()])
                if found:
                    return found[0]
        except Exception as error:
            if getattr(error, "error_code", None) not in _ABSENT:
                raise
        raise ModelNotFound(
            f"registry {self._uri} has no model {name} {ref} (an @alias, a version number or a stage name): "
            f"fixstream model register --name {name} --alias champion FILE puts one there"
        )

    def _download(self, name: str, version: Any) -> str:
        """Brings the version's file into the cache; returns its digest."""
        from mlflow.artifacts import download_artifacts

        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            uri = _client(self._uri).get_model_version_download_uri(name, version.version)
            found = Path(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self._uri))
            files = [found] if found.is_file() else sorted(found.rglob("*.onnx"))
            if len(files) != 1:
                raise ModelError(f"model {name} version {version.version} holds {len(files)} ONNX files, not one")
            size = files[0].stat().st_size
            if self._max_bytes is not None and size > self._max_bytes:
                raise ModelError(
                    f"model {name} version {version.version} has {size} bytes, above FIXSTREAM_MAX_MODEL_BYTES "
                    f"({self._max_bytes})"
                )
            digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
            files[0].replace(self._path(digest))
        return digest

    def _path(self, digest: str) -> Path:
        return self._cache / f"{digest}.onnx"

    def _intact(self, digest: str) -> bool:
        path = self._path(digest)
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest

    def _index(self, name: str, ref: str) -> Path:
        key = hashlib.sha256(f"{self._uri}\n{name}\n{ref}".encode()).hexdigest()[:32]
        return self._cache / f"{key}.json"

    def _remember(self, name: str, ref: str, version: str, digest: str) -> None:
        index = self._index(name, ref)
        fresh = index.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"name": name, "ref": ref, "version": version, "digest": digest}))
        fresh.replace(index)  # whole or not at all, whoever reads it meanwhile

    def _remembered(self, name: str, ref: str, error: RegistryUnavailable) -> ModelFile:
        try:
            found = json.loads(self._index(name, ref).read_text())
            version, digest = str(found["version"]), str(found["digest"])
        except (OSError, ValueError, KeyError):
            raise RegistryUnavailable(f"{error}; the cache {self._cache} does not hold {name} {ref} either") from error
        if not self._intact(digest):
            raise RegistryUnavailable(f"{error}; the cached file of {name} {ref} is missing or damaged") from error
        log.warning("%s; going on with version %s of %s from the cache on disk", error, version, name)
        return ModelFile(self._path(digest), version, digest, from_cache=True)


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


@contextmanager
def _asking(uri: str) -> Iterator[None]:
    """Turns whatever MLflow raises into RegistryUnavailable."""
    # A worker must not wait minutes for a registry that is away: it has the cache.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        raise RegistryUnavailable(f"registry {uri} does not answer ({type(error).__name__}: {words[:200]})") from error


def _client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _ensure_model(client: Any, name: str) -> None:
    try:
        client.create_registered_model(name)
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
            raise


def _experiment(client: Any, uri: str) -> str:
    """The experiment whose runs hold the files. Beside a SQLite file, not in whatever the working directory is."""
    found = client.get_experiment_by_name(_EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    place = None
    if uri.startswith("sqlite:///"):
        place = (Path(uri.removeprefix("sqlite:///")).absolute().parent / "artifacts").as_uri()
    return str(client.create_experiment(_EXPERIMENT, artifact_location=place))
