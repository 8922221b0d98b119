"""What is installed is what was locked: every requirement by version and hash, from wherever the machine installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = {
    "worker": PROJECT["dependencies"],
    "demo": PROJECT["dependencies"] + EXTRAS["embedded"],
    "dev": PROJECT["dependencies"] + EXTRAS["embedded"] + EXTRAS["dev"],
    "bench": PROJECT["dependencies"] + EXTRAS["bench"],
}


def requirements(name: str) -> list[str]:
    """The file's requirements, each with its hashes in one line."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", WANTED)
def test_every_requirement_is_pinned_with_hashes_and_none_is_missing(name: str) -> None:
    locked = set()
    for line in requirements(name):
        found = re.fullmatch(r"([A-Za-z0-9._-]+)==\S+( ; [^#]*?)?((\s+--hash=sha256:[0-9a-f]{64})+)\s*", line)
        assert found, f"{name}.txt: {line[:100]!r} is not pinned with hashes, or names an index"
        locked.add(normal(found[1]))
    for wanted in WANTED[name]:
        named = re.match(r"[A-Za-z0-9._-]+", wanted)
        assert named
        assert normal(named[0]) in locked, f"{name}.txt lacks {wanted}: make lock"


def test_a_peer_runs_what_fixstream_runs() -> None:
    """But for what quixstreams holds back: a difference of the benchmark must not be one of numpy or onnxruntime."""
    versions = {name: dict(line.split(" ")[0].split("==") for line in requirements(name)) for name in ("bench", "dev")}
    shared = versions["bench"].keys() & versions["dev"].keys()
    assert {name for name in shared if versions["bench"][name] != versions["dev"][name]} == {
        "confluent-kafka",
        "pydantic",
        "pydantic-core",
        "pydantic-settings",
    }


def test_the_smaller_sets_are_parts_of_the_largest() -> None:
    largest = set(requirements("dev"))
    for name in ("worker", "demo"):
        versions = {line.split(" ")[0] for line in requirements(name)}
        assert versions <= {line.split(" ")[0] for line in largest}
