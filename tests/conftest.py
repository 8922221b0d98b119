"""The real parts that tests run on, and the summary that says which they were."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from uuid import uuid4

import pytest

from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.servers import MlflowServer, RedisServer

_ran: dict[str, str] = {}


def say_part(part: str, what: str) -> None:
    """Notes a real part for the summary."""
    _ran[part] = what


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of this run."""
    with brokers.broker(brokers.choose(), tmp_path_factory.mktemp("kafka")) as found:
        say_part("Kafka", found.name)
        yield found


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server; a test that stops it starts it again."""
    if not RedisServer.installed():
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        say_part("Redis", "redis-server")
        yield server


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server; a test that stops it starts it again."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        say_part("MLflow server", f"mlflow {version('mlflow')} over SQLite")
        yield server


@pytest.fixture
def unique() -> str:
    """A name no other test has."""
    return f"t{uuid4().hex[:8]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last lines: which real parts ran, and what was skipped for want of them."""
    write = terminalreporter.write_line
    write("")
    for part in ("Kafka", "Redis", "MLflow server", "Chromium"):
        write(f"{part}: {_ran.get(part, 'not used by this run')}")
    skipped = terminalreporter.stats.get("skipped", [])
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        write(f"skipped: {report.nodeid}: {reason.removeprefix('Skipped: ')}")
    count = len(skipped)
    write(f"{count} test{'s were' if count > 1 else ' was'} skipped" if count else "no test was skipped")
