"""What may be done to a part's process to see how the others take it."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from typing import Any

import psutil


class Ailing:
    """Something with a process of its own and perhaps children, which can be killed, and frozen for a while."""

    process: subprocess.Popen[Any] | None = None

    def kill(self) -> None:
        """SIGKILL, to a frozen process too; returns when it has ended."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait(10)

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        parent = psutil.Process(self.process.pid)
        for each in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)
