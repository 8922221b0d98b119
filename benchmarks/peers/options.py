"""The command line that all peers share, and how they are told to end."""

from __future__ import annotations

import argparse
import signal
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

WITHIN_S = 0.01  # how long a batch may wait to be full, where a peer has a say in it: FIXSTREAM_MAX_WAIT_MS's default


@dataclass(frozen=True)
class Options:
    """Where a peer reads, writes, and finds its model."""

    bootstrap: str
    input: str
    output: str
    group: str
    model: Path
    batch: int  # captures in one call of the model at most; of http_service, requests in flight

    @property
    def folder(self) -> Path:
        """For what a framework keeps on disk: the group's own, under TMPDIR, so that a restart finds it."""
        return Path(tempfile.gettempdir()) / f"peer-{self.group}"


def parse_options(doc: str | None) -> Options:
    """The options of this process; ``doc`` is its module's."""
    parser = argparse.ArgumentParser(description=doc)
    for name in ("bootstrap", "input", "output", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--batch", type=int, default=1)
    return Options(**vars(parser.parse_args()))


def on_sigterm() -> threading.Event:
    """An event that SIGTERM sets."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    return stopping
