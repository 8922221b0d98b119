"""Files that ship: inside an installed package, else at the root of the repository."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def example_network(name: str) -> Path:
    """The example network file of that name, without ``.yaml``."""
    installed = _PACKAGE / "_examples"
    return (installed if installed.is_dir() else _PACKAGE.parent / "examples") / f"{name}.yaml"
