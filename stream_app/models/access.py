"""How MLflow is asked: as whom, for how long, and what its errors mean."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any
from urllib.parse import urlsplit

from stream_app.errors import ModelError, RegistryUnavailable, SettingsError
from stream_app.hosts import is_loopback
from stream_app.redact import redacted

log = logging.getLogger(__name__)
_TOKEN = "MLFLOW_TRACKING_TOKEN"  # noqa: S105
_environment = RLock()
# A worker must not wait minutes for a registry that is away: it has the cache.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class RegistryAccess:
    """The way to a registry; ``where`` is its URI without user and password, for logs and errors."""

    def __init__(self, uri: str, token: str | None = None) -> None:
        """Raises SettingsError for a token that no header can carry."""
        self._uri = uri
        self.where = redacted(uri)
        self._token = None if token is None else token.strip()
        if self._token is not None and not re.fullmatch(r"[!-~]+", self._token):
            raise SettingsError("FIXSTREAM_REGISTRY_TOKEN is empty, or holds more than printable ASCII without spaces")
        if self._token is not None and uri.startswith("http:") and not is_loopback(urlsplit(uri).hostname):
            log.warning("The token for the registry goes to %s in the clear: use https://", self.where)

    def client(self) -> Any:
        """MLflow's own client."""
        from mlflow.tracking import MlflowClient

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        with _alone(self._uri):
            client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
            if self._uri.startswith("sqlite:"):
                client.search_registered_models(max_results=1)  # now all tables are there
        return client

    @contextmanager
    def asking(self) -> Iterator[None]:
        """For all calls to MLflow: turns whatever it raises into RegistryUnavailable."""
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            with self._known():
                yield
        except ModelError:
            raise
        except Exception as error:
            words = redacted(" ".join(str(error).split()))[:600]  # MLflow quotes the whole URI
            if re.search(r"error code 40[13]|401 Client Error|403 Client Error", words):
                raise RegistryUnavailable(
                    f"registry {self.where} refuses to answer ({words}): "
                    + ("set FIXSTREAM_REGISTRY_TOKEN" if self._token is None else "check FIXSTREAM_REGISTRY_TOKEN")
                ) from error
            raise RegistryUnavailable(
                f"registry {self.where} does not answer ({type(error).__name__}: {words})"
            ) from error

    def check_source(self, uri: str, what: str) -> None:
        """Raises ModelError where an artifact lies at another server, which the token would be sent to."""
        source, own = urlsplit(uri), urlsplit(self._uri)
        if self._token is None or source.scheme not in ("http", "https", "mlflow-artifacts") or not source.netloc:
            return
        elsewhere = source.netloc.rpartition("@")[2] != own.netloc.rpartition("@")[2]
        if elsewhere or (source.scheme, own.scheme) == ("http", "https"):
            raise ModelError(
                f"{what} lies at {source.scheme}://{source.hostname}, not at the registry {self.where}, whose token "
                "MLflow would send there: register it with its file in the registry's own store"
            )

    @contextmanager
    def _known(self) -> Iterator[None]:
        """MLflow takes a token from nowhere but the environment: it is there for the time of a call only."""
        if self._token is None:
            yield
            return
        with _environment:
            before = os.environ.get(_TOKEN)
            os.environ[_TOKEN] = self._token
            try:
                yield
            finally:
                if before is None:
                    del os.environ[_TOKEN]
                else:
                    os.environ[_TOKEN] = before


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Two processes that make the tables of one new SQLite file leave it broken: one at a time."""
    place = urlsplit(uri).path[1:] if uri.startswith("sqlite:") else ""
    with ExitStack() as stack:
        if place and os.name == "posix":
            import fcntl

            with suppress(OSError):  # where nothing can be written no tables are made either
                lock = stack.enter_context(Path(f"{place}.lock").open("w", encoding="ascii"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
