"""A network of its own for a worker, joined to this one by a cable that can be cut. Needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Self

_PREFIX = "10.213.77"


class Namespace:
    """A network namespace with a pair of virtual interfaces; a context manager that takes both away again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outside, self.inside = f"{_PREFIX}.1", f"{_PREFIX}.2"  # addresses of the cable's two ends
        self.command = ("ip", "netns", "exec", name)
        self._cable = f"{name[:12]}-a", f"{name[:12]}-b"

    @staticmethod
    def lacking() -> str:
        """Why this machine cannot have one; empty where it can."""
        if shutil.which("ip") is None:
            return "ip (iproute2) is not installed"
        if os.geteuid() != 0:
            return "network namespaces need root"
        name = f"fixprobe{os.getpid()}"
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        return f"network namespaces cannot be made here: {made.stderr.strip()}" if made.returncode else ""

    def __enter__(self) -> Self:
        """Makes it."""
        ours, theirs = self._cable
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
            _ip("link", "set", theirs, "netns", self.name)
            _ip("address", "add", f"{self.outside}/24", "dev", ours)
            _ip("link", "set", ours, "up")
            _ip("-n", self.name, "address", "add", f"{self.inside}/24", "dev", theirs)
            _ip("-n", self.name, "link", "set", "lo", "up")
            self.mend()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """The interfaces go with it."""
        _ip("netns", "delete", self.name)

    def cut(self) -> None:
        """Nothing passes, and nobody is told: no reset reaches either side."""
        _ip("-n", self.name, "link", "set", self._cable[1], "down")

    def mend(self) -> None:
        """Joins both ends again."""
        _ip("-n", self.name, "link", "set", self._cable[1], "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
