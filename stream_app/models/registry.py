"""Models from an MLflow registry, with a cache on disk that a start without the registry works from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from stream_app.errors import ModelError, ModelNotFound, RegistryUnavailable
from stream_app.models.access import RegistryAccess
from stream_app.models.artifact import download_model

if TYPE_CHECKING:
    from stream_app.settings import Settings  # the process that asks goes without

log = logging.getLogger(__name__)
_DIGEST_TAG = "fixstream.sha256"
_DIGEST = re.compile("[0-9a-f]{64}")
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
    """An MLflow registry by URI: ``http(s)://`` of a server, or ``sqlite:///`` of a file of one's own.

    ``where`` is the URI without user and password.
    """

    def __init__(
        self,
        uri: str,
        cache_dir: Path | str,
        max_bytes: int | None = None,
        *,
        token: str | None = None,
        require_digest: bool = False,
    ) -> None:
        """``token`` is for a server; ``require_digest`` refuses versions whose file's sha256 is not stated.

        Raises SettingsError for a token that no header can carry.
        """
        self._access = RegistryAccess(uri, token)
        self._uri, self.where = uri, self._access.where
        self._cache, self._max_bytes, self._require_digest = Path(cache_dir), max_bytes, require_digest

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """The registry that the settings name. Raises SettingsError."""
        return cls(**registry_options(settings))

    def warm(self) -> None:
        """Imports and opens what asking needs, which takes a second or two; where that fails, asking will say so."""
        with suppress(RegistryUnavailable), self._access.asking():
            self._access.client()

    def fetch(self, name: str, ref: str) -> ModelFile:
        """The model that ``ref`` names now: an ``@alias``, a version number, or a stage such as Production.

        A version's file is the one whose digest the registry states, else the one that came first. Where the registry
        does not answer, the version that ``ref`` named last, from the cache. Raises RegistryUnavailable where the cache
        lacks it too, ModelNotFound where the registry has no such model, ModelError where its file is not to be had.
        """
        try:
            with self._access.asking():
                found = self._version(name, ref)
                version, expected = str(found.version), self._expected(name, found)
                digest = expected if self._intact(expected) else self._download(name, found)
        except RegistryUnavailable as error:
            return self.remembered(name, ref, error)
        if expected not in (None, digest):
            raise ModelError(
                f"model {name} version {version}: its file's sha256 is {digest}, not {expected}, as it was when it was "
                "registered or came first: register it again"
            )
        self._remember(name, ref, version, digest)
        self._remember(name, _pin(found), version, digest)
        return ModelFile(self._path(digest), version, digest, from_cache=False)

    def remembered(self, name: str, ref: str, error: RegistryUnavailable) -> ModelFile:
        """What ``ref`` named last, from the cache, as the registry has answered with ``error``. Raises as ``fetch``."""
        known = self._known(name, ref)
        if known is None:
            raise RegistryUnavailable(f"{error}; the cache {self._cache} does not hold {name} {ref} either") from error
        version, digest = known
        if not self._intact(digest):
            raise RegistryUnavailable(f"{error}; the cached file of {name} {ref} is missing or damaged") from error
        log.warning("%s; going on with version %s of %s from the cache on disk", error, version, name)
        return ModelFile(self._path(digest), version, digest, from_cache=True)

    def resolve(self, name: str, ref: str) -> str:
        """The version number that ``ref`` names now. Raises ModelNotFound or RegistryUnavailable."""
        with self._access.asking():
            return str(self._version(name, ref).version)

    def details(self, name: str, version: str) -> VersionDetails:
        """What the registry says of a version. Raises ModelNotFound or RegistryUnavailable."""
        with self._access.asking():
            found = self._version(name, version)
            said = dict(found.tags)
            if found.run_id:
                run = self._access.client().get_run(found.run_id).data
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
        with self._access.asking():
            client = self._access.client()
            _ensure_model(client, name)
            run = client.create_run(_experiment(client, self._uri))
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "model.onnx"
                shutil.copyfile(path, copy)
                digest = _sha256(copy)
                client.log_artifact(run.info.run_id, str(copy), "model")
            client.set_terminated(run.info.run_id)
            version = client.create_model_version(
                name,
                f"{run.info.artifact_uri}/model",
                run.info.run_id,
                tags={_DIGEST_TAG: digest},
            )
            if alias is not None:
                client.set_registered_model_alias(name, alias.removeprefix("@"), version.version)
            return str(version.version)

    def _version(self, name: str, ref: str) -> Any:
        client = self._access.client()
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
            f"registry {self.where} has no model {name} {ref} (an @alias, a version number or a stage name): "
            f"fixstream model register --name {name} --alias champion FILE puts one there"
        )

    def _expected(self, name: str, version: Any) -> str | None:
        """The digest that the version's file must have, where that is known."""
        stated = dict(version.tags).get(_DIGEST_TAG)
        if stated is None and self._require_digest:
            raise ModelError(
                f"model {name} version {version.version} has no tag {_DIGEST_TAG}, and FIXSTREAM_REQUIRE_DIGEST is "
                "set: register it with fixstream model register"
            )
        if stated is not None:
            return str(stated)
        known = self._known(name, _pin(version))
        return None if known is None else known[1]

    def _download(self, name: str, version: Any) -> str:
        """Brings the version's file into the cache; returns its digest."""
        what = f"model {name} version {version.version}"
        uri = self._access.client().get_model_version_download_uri(name, version.version)
        self._access.check_source(uri, what)
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            found = download_model(uri, self._uri, Path(folder), what, self._max_bytes)
            digest = _sha256(found)
            found.replace(self._path(digest))
        return digest

    def _path(self, digest: str) -> Path:
        return self._cache / f"{digest}.onnx"

    def _intact(self, digest: str | None) -> TypeGuard[str]:
        if digest is None or _DIGEST.fullmatch(digest) is None:
            return False
        path = self._path(digest)
        return path.is_file() and _sha256(path) == digest

    def _index(self, name: str, ref: str) -> Path:
        key = hashlib.sha256(f"{self.where}\n{name}\n{ref}".encode()).hexdigest()[:32]
        return self._cache / f"{key}.json"

    def _remember(self, name: str, ref: str, version: str, digest: str) -> None:
        index = self._index(name, ref)
        fresh = index.with_suffix(f".{os.getpid()}")
        try:
            fresh.write_text(json.dumps({"name": name, "ref": ref, "version": version, "digest": digest}))
            fresh.replace(index)  # whole or not at all, whoever reads it meanwhile
        except OSError as error:
            # The file is there: a full disk must not keep a worker from starting.
            log.warning("%s: what %s %s is now cannot be noted for a start without the registry", error, name, ref)
            fresh.unlink(missing_ok=True)

    def _known(self, name: str, ref: str) -> tuple[str, str] | None:
        """Version and digest that ``_remember`` was told last."""
        try:
            found = json.loads(self._index(name, ref).read_text())
            return str(found["version"]), str(found["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def registry_options(settings: Settings) -> dict[str, Any]:
    """The arguments of the Registry that the settings name, as JSON holds them."""
    token = settings.registry_token
    return {
        "uri": settings.registry_uri,
        "cache_dir": str(Path(settings.model_cache_dir).expanduser()),
        "max_bytes": settings.max_model_bytes,
        "token": None if token is None else token.get_secret_value(),
        "require_digest": settings.require_digest,
    }


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pin(version: Any) -> str:
    """Stands for a version itself, whatever names it. With its time: a registry may be made anew."""
    return f"#{version.version} {version.creation_timestamp}"


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
