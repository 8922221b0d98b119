"""What may be done to a part's process to see how the others take it."""

from __future__ import annotations

import signal
import subprocess
from typing import Any


class Ailing:
    """Something with a process of its own, which can be killed, and frozen for a while."""

    process: subprocess.Popen[Any] | None = None

    def kill(self) -> None:
        """SIGKILL, to a frozen process too; returns when it has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
