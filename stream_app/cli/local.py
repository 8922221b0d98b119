"""A whole FixStream on this machine: embedded broker, SQLite registry, one worker process."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import onnx

from stream_app.cli.fixes import FixReader, SeenFix
from stream_app.cli.sending import Timed
from stream_app.errors import WorkerFailed
from stream_app.kafka.embedded import EmbeddedBroker, free_port
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.records import Output
from stream_app.kafka.topics import ensure_topics
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network
from stream_app.network.truth import Truth
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.settings import SECRETS, Settings

_START_S = 60.0
_ADDRESS = re.compile(r"http://\S+/map$", re.MULTILINE)


class LocalSystem:
    """A context manager; the network's reference model is built, registered and served by the worker."""

    def __init__(self, network: Network, folder: Path) -> None:
        self._network, self._folder = network, folder
        self._truths: dict[str, Truth] = {}
        self._codecs = Codecs()

    def __enter__(self) -> LocalSystem:
        """Returns when the worker is ready. Raises BrokerUnavailable, ModelError or WorkerFailed."""
        with ExitStack() as stack:
            bootstrap = stack.enter_context(EmbeddedBroker())
            self._settings = Settings(
                bootstrap_servers=bootstrap,
                kafka_security_protocol="PLAINTEXT",
                registry_uri=f"sqlite:///{self._folder / 'registry.db'}",
                model_cache_dir=str(self._folder / "models"),
                model_name=self._network.name,
                # The embedded broker holds a join for the whole rebalance timeout: keep it short.
                session_timeout_ms=3000,
                max_poll_interval_ms=3000,
                partitions=2,
                web_host="127.0.0.1",
                web_port=free_port(),
            )
            ensure_topics(self._settings)
            self._register()
            self._process = self._spawn("worker")
            stack.callback(_stop, self._process)
            self._reader = FixReader(self._settings, from_start=True)
            stack.callback(self._reader.close)
            self._publisher = Publisher(self._settings)
            stack.callback(self._publisher.close)
            self._wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops everything."""
        self._stack.close()

    def start_map(self, network_files: Sequence[Path]) -> str | None:
        """Serves the map in a process of its own; its address, or None where it does not come up."""
        process = self._spawn("map", *(part for file in network_files for part in ("--network", str(file))), "--port=0")
        self._stack.callback(_stop, process)
        deadline = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < deadline:
            found = _ADDRESS.search(self._log("map").read_text(errors="replace"))
            if found is not None:
                return found[0]
            time.sleep(0.1)
        return None

    def send(self, captures: Sequence[Timed]) -> None:
        """Sends captures and remembers their truths. Raises DeliveryFailed."""
        for item in captures:
            if item.truth is not None:
                self._truths[item.capture.capture_id] = item.truth
        topic = self._settings.captures_topic
        outputs = [Output(topic, key_of(c.capture), self._codecs.encode_capture(c.capture), []) for c in captures]
        asyncio.run(self._publisher.send(outputs))

    def fixes(self, wait_s: float) -> Iterator[SeenFix]:
        """Fixes that came within ``wait_s``, beside the truth where it is known. Raises WorkerFailed."""
        if self._process.poll() is not None:
            raise WorkerFailed(f"the worker ended: {self.complaint()}")
        for fix in self._reader.read(wait_s):
            yield SeenFix(fix, self._truths.pop(fix.capture_id, None))

    def complaint(self, of: str = "worker") -> str:
        """The last warning or error of a process's log (the worker's or the map's), or its last line."""
        lines = self._log(of).read_text(errors="replace").splitlines()
        bad = [line for line in lines if "WARN" in line or "ERROR" in line]
        return (bad or lines or ["it printed nothing"])[-1]

    def _register(self) -> None:
        file = self._folder / "model.onnx"
        onnx.save(build_tdoa(self._network), str(file))
        Registry(self._settings.registry_uri, self._folder / "models").register(
            self._settings.model_name, file, alias="champion"
        )

    def _log(self, of: str) -> Path:
        return self._folder / f"{of}.log"

    def _spawn(self, command: str, *options: str) -> subprocess.Popen[bytes]:
        values = self._settings.model_dump(exclude_none=True, exclude=set(SECRETS))  # those it finds where we did
        with self._log(command).open("wb") as out:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "stream_app.cli.main", command, *options],
                env=os.environ | {f"FIXSTREAM_{name.upper()}": str(value) for name, value in values.items()},
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops its processes
            )

    def _wait_ready(self) -> None:
        url, deadline = f"http://127.0.0.1:{self._settings.web_port}/health/ready", time.monotonic() + _START_S
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else str(error)
                    raise WorkerFailed(f"the worker is not ready ({said}): {self.complaint()}") from error
            time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
