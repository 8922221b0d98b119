"""``fixstream map`` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stream_app.kafka.embedded import free_port
from stream_app.settings import Settings
from tests.support.worker import environment_of, eventually


class MapServer:
    """Always on the same port; started again after ``stop`` it is another process."""

    process: subprocess.Popen[bytes]

    def __init__(self, settings: Settings, folder: Path, networks: Sequence[Path] = ()) -> None:
        self.port, self._log = free_port(), folder / "map.log"
        self._environment = os.environ | environment_of(settings)
        self._options = [part for file in networks for part in ("--network", str(file))]

    @property
    def address(self) -> str:
        """The page's."""
        return f"http://127.0.0.1:{self.port}/map"

    def start(self) -> None:
        """Returns when it serves."""
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream_app.cli.main", "map", "--port", str(self.port), *self._options],
                env=self._environment,
                stdout=out,
                stderr=out,
            )
        eventually(lambda: self.address in self.log(), what=f"the map's start ({self.log()})")

    def log(self) -> str:
        """What it printed."""
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)
