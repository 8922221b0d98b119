"""What the tests on real parts share."""

from __future__ import annotations

import pytest

from stream_app.network.file import Network, load_network
from stream_app.resources import example_network


@pytest.fixture(scope="session")
def network() -> Network:
    """The demo network."""
    return load_network(example_network("demo"))


@pytest.fixture(scope="module")
def registry_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite registry of the module's own."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'registry.db'}"
