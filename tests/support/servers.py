"""Real Redis and MLflow servers on free ports, which tests may stop and start again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

import redis

from stream_app.kafka.embedded import free_port
from tests.support.certificates import Authority
from tests.support.process import Ailing
from tests.support.worker import eventually


class _Server(Ailing):
    """A server process; a context manager that starts and stops it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()

    def __enter__(self) -> Self:
        """Starts it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops it."""
        self.stop()

    def start(self) -> None:
        """Returns when it answers."""
        with (self.folder / "server.log").open("ab") as out:
            self.process = subprocess.Popen(self._command(), cwd=self.folder, stdout=out, stderr=out)
        eventually(self._answers, 90, f"an answer of {type(self).__name__}")

    def stop(self) -> None:
        """Ends it with SIGTERM."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


class RedisServer(_Server):
    """Debian's redis-server, without persistence."""

    @staticmethod
    def installed() -> bool:
        """Whether this machine has it."""
        return shutil.which("redis-server") is not None

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> Sequence[str]:
        return ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no"]

    def _answers(self) -> bool:
        try:
            return bool(redis.Redis(port=self.port).ping())
        except redis.ConnectionError:
            return False


class SecureRedisServer(RedisServer):
    """redis-server that speaks TLS alone, asks for a password, and for a client's certificate too if told so."""

    user, password = "default", "se:cr/et@%"

    def __init__(self, folder: Path, authority: Authority, *, ask_clients: bool = False) -> None:
        super().__init__(folder)
        self.authority, self._ask_clients = authority, ask_clients
        self._cert, self._key = authority.issue("redis")

    @property
    def uri(self) -> str:
        """Where it is, with the password."""
        return f"rediss://{self.user}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """A client of the test's own."""
        return redis.Redis.from_url(
            self.uri, ssl_ca_certs=str(self.authority.ca_file), ssl_certfile=str(self._cert), ssl_keyfile=str(self._key)
        )

    def _command(self) -> Sequence[str]:
        return [
            "redis-server", "--port", "0", "--tls-port", str(self.port), "--save", "", "--appendonly", "no",
            "--tls-cert-file", str(self._cert), "--tls-key-file", str(self._key),
            "--tls-ca-cert-file", str(self.authority.ca_file),
            "--tls-auth-clients", "yes" if self._ask_clients else "no",
            "--requirepass", self.password,
        ]  # fmt: skip

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.ConnectionError:
            return False


class MlflowServer(_Server):
    """The real MLflow server over SQLite, which serves its artifacts itself."""

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> Sequence[str]:
        return [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
