"""A deployment becomes a fleet: its versions fetched, checked and warm before any of them sees a capture."""

from __future__ import annotations

import hashlib

from stream_app.breaker import CircuitBreaker
from stream_app.errors import ModelError
from stream_app.models.asking import RegistryProcess
from stream_app.models.base import LocatingModel
from stream_app.models.check import read_model
from stream_app.models.fleet import Fleet, LoadedVersion
from stream_app.models.registry import ModelFile, Registry, VersionDetails
from stream_app.models.session import OnnxSession
from stream_app.models.trial import try_model
from stream_app.models.trials import Trials
from stream_app.records.deployment import Deployment
from stream_app.settings import Settings


class Loader:
    """Blocking: not for the event loop."""

    def __init__(self, settings: Settings, registry: Registry | RegistryProcess) -> None:
        self._settings, self._registry = settings, registry
        self._trials = Trials(settings)

    def load(self, deployment: Deployment, running: Fleet | None = None) -> Fleet:
        """The fleet of a deployment; sessions of ``running`` are used again where the file is the same.

        Raises DeploymentRefused, ModelNotFound, ContractViolation, ModelRefused or ModelError where it cannot be
        applied, RegistryUnavailable where that cannot be said now.
        """
        deployment.check()
        known = {_key(v.model): v.model for v in running.versions} if running is not None else {}
        versions = []
        for route in deployment.routes:
            file = self._registry.fetch(deployment.model_name, route.version)
            key = (deployment.model_name, file.version, file.digest)
            if key not in known:
                known[key] = self._open(deployment.model_name, file)
            breaker = CircuitBreaker(self._settings.suspend_failures, self._settings.suspend_s)
            details = self._details(deployment.model_name, file.version)
            versions.append(LoadedVersion(route, known[key], breaker, details))
        return Fleet(deployment, versions)

    def _details(self, name: str, version: str) -> VersionDetails | None:
        try:
            return self._registry.details(name, version)
        except ModelError:
            return None  # nice to know, not needed

    def _open(self, name: str, file: ModelFile) -> LocatingModel:
        settings = self._settings
        try:
            data = read_model(file.path, settings.max_model_bytes)
            # These bytes are hashed, tried and opened: nobody can exchange the file in between.
            if hashlib.sha256(data).hexdigest() != file.digest:
                raise ModelError(f"{file.path} is not what was fetched: its sha256 is not {file.digest}")
            if not self._trials.passed(file.digest):
                try_model(data, str(file.path), settings)
                self._trials.remember(file.digest)
            return OnnxSession.from_bytes(
                data, str(file.path), name, file.version, settings.inference_threads, settings.max_batch
            )
        except ModelError as error:
            raise type(error)(f"model {name} version {file.version}: {error}") from error


def _key(model: LocatingModel) -> tuple[str, str, str]:
    return model.name, model.version, model.info.digest
