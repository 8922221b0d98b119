"""A deployment becomes a fleet: its versions fetched, checked and warm before any of them sees a capture."""

from __future__ import annotations

from stream_app.breaker import CircuitBreaker
from stream_app.errors import ModelError
from stream_app.models.base import LocatingModel
from stream_app.models.fleet import Fleet, LoadedVersion
from stream_app.models.registry import ModelFile, Registry, VersionDetails
from stream_app.models.session import OnnxSession
from stream_app.records.deployment import Deployment
from stream_app.settings import Settings


class Loader:
    """Blocking: not for the event loop."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings, self._registry = settings, registry

    def load(self, deployment: Deployment, running: Fleet | None = None) -> Fleet:
        """The fleet of a deployment; sessions of ``running`` are used again where the file is the same.

        Raises DeploymentRefused, ModelNotFound, ContractViolation or ModelError where it cannot be applied,
        RegistryUnavailable where that cannot be said now.
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
            return OnnxSession.load(file.path, name, file.version, settings.inference_threads, settings.max_batch)
        except ModelError as error:
            raise type(error)(f"model {name} version {file.version}: {error}") from error


def _key(model: LocatingModel) -> tuple[str, str, str]:
    return model.name, model.version, model.info.digest
