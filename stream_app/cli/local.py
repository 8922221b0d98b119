"""A whole FixStream on this machine: embedded broker, SQLite registry, and its processes."""

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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import onnx

from stream_app.cli.fixes import FixReader, SeenFix
from stream_app.cli.sending import Timed
from stream_app.errors import NetworkFileError, WorkerFailed
from stream_app.kafka.embedded import EmbeddedBroker, free_port
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.records import Output
from stream_app.kafka.topics import ensure_topics
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import load_network
from stream_app.network.receptions import receptions_of
from stream_app.network.truth import Truth
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.settings import SECRETS, Settings

_START_S = 60.0
_ADDRESS = re.compile(r"http://\S+/map$", re.MULTILINE)
_Moment = tuple[str, int, int]  # network, whole hertz, captured_at_us: by it an assembled capture is known again


@dataclass(frozen=True, slots=True)
class _Part:
    """A process, and what it prints."""

    name: str
    settings: Settings
    process: subprocess.Popen[bytes]
    log: Path

    def complaint(self) -> str:
        """The last warning or error that it printed, or the last line."""
        lines = self.log.read_text(errors="replace").splitlines()
        bad = [line for line in lines if "WARN" in line or "ERROR" in line]
        return (bad or lines or ["it printed nothing"])[-1]

    def wait_ready(self) -> None:
        """Raises WorkerFailed where it ends, or does not become ready."""
        url, deadline = f"http://127.0.0.1:{self.settings.web_port}/health/ready", time.monotonic() + _START_S
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else str(error)
                    raise WorkerFailed(f"the {self.name} is not ready ({said}): {self.complaint()}") from error
            time.sleep(0.1)


class LocalSystem:
    """A context manager: for each network an assembler, and a worker with its reference model; a tracker for all."""

    def __init__(self, network_files: Sequence[Path], folder: Path) -> None:
        """The first network has the topics of the settings' defaults, further ones their own before ``positions``."""
        self._files, self._folder = network_files, folder
        self._networks = [load_network(file) for file in network_files]
        self._truths: dict[_Moment, Truth] = {}
        self._codecs = Codecs()
        self._parts: list[_Part] = []

    def __enter__(self) -> LocalSystem:
        """Returns when all are ready. Raises BrokerUnavailable, ModelError or WorkerFailed."""
        with ExitStack() as stack:
            bootstrap = stack.enter_context(EmbeddedBroker())
            self._settings = Settings(
                bootstrap_servers=bootstrap,
                kafka_security_protocol="PLAINTEXT",
                registry_uri=f"sqlite:///{self._folder / 'registry.db'}",
                model_cache_dir=str(self._folder / "models"),
                # The embedded broker holds a join for the whole rebalance timeout: keep it short.
                session_timeout_ms=3000,
                max_poll_interval_ms=3000,
                partitions=2,
                web_host="127.0.0.1",
            )
            stack.callback(self._stop)
            self._topics: dict[str, str] = {}
            for number, network in enumerate(self._networks):
                settings = self._of_network(number)
                self._topics[network.name] = settings.receptions_topic
                ensure_topics(settings)
                self._register(number)
                self._spawn(settings, "worker")
                self._spawn(settings, "assemble", "--network", str(self._files[number]))
            self._spawn(self._settings, "track")
            self._reader = FixReader(self._settings, from_start=True)
            stack.callback(self._reader.close)
            self._publisher = Publisher(self._settings)
            stack.callback(self._publisher.close)
            for part in self._parts:
                part.wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops everything."""
        self._stack.close()

    def start_map(self) -> str:
        """Serves the map in a process of its own; its address. Raises WorkerFailed where it does not come up."""
        options = [part for file in self._files for part in ("--network", str(file))]
        part = self._spawn(self._settings, "map", *options, "--port=0")
        deadline = time.monotonic() + _START_S
        while part.process.poll() is None and time.monotonic() < deadline:
            found = _ADDRESS.search(part.log.read_text(errors="replace"))
            if found is not None:
                return found[0]
            time.sleep(0.1)
        raise WorkerFailed(f"the map does not come up: {part.complaint()}")

    def send(self, captures: Sequence[Timed]) -> None:
        """Sends what each receiver has of the captures, and remembers their truths.

        Raises DeliveryFailed, or NetworkFileError for a capture of a network that is not played.
        """
        outputs = []
        for item in captures:
            capture = item.capture
            if item.truth is not None:
                self._truths[capture.network, round(capture.center_frequency_hz), capture.captured_at_us] = item.truth
            if capture.network not in self._topics:
                raise NetworkFileError(f"capture {capture.capture_id} is of network {capture.network}: give its file")
            topic, key = self._topics[capture.network], key_of(capture)
            outputs += [
                Output(topic, key, self._codecs.encode_reception(reception), []) for reception in receptions_of(capture)
            ]
        asyncio.run(self._publisher.send(outputs))

    def fixes(self, wait_s: float) -> Iterator[SeenFix]:
        """Fixes that came within ``wait_s``, beside the truth where it is known. Raises WorkerFailed."""
        for part in self._parts:
            if part.process.poll() is not None:
                raise WorkerFailed(f"the {part.name} ended: {part.complaint()}")
        for fix in self._reader.read(wait_s):
            moment = fix.network, round(fix.center_frequency_hz), fix.captured_at_us
            yield SeenFix(fix, self._truths.pop(moment, None))

    def complaint(self) -> str:
        """What the first worker said last, if possible of what went wrong."""
        return self._parts[0].complaint()

    def _of_network(self, number: int) -> Settings:
        name = self._networks[number].name
        own = {"model_name": name, "network_file": str(self._files[number]), "worker_name": f"demo-{name}"}
        if number:
            own |= {
                "group_id": f"{self._settings.group_id}-{name}",
                "receptions_topic": f"{self._settings.receptions_topic}.{name}",
                "captures_topic": f"{self._settings.captures_topic}.{name}",
                "control_topic": f"{self._settings.control_topic}.{name}",
            }
        return self._settings.model_copy(update=own)

    def _register(self, number: int) -> None:
        network = self._networks[number]
        file = self._folder / f"{network.name}.onnx"
        onnx.save(build_tdoa(network), str(file))
        Registry(self._settings.registry_uri, self._folder / "models").register(network.name, file, alias="champion")

    def _spawn(self, settings: Settings, command: str, *options: str) -> _Part:
        settings = settings.model_copy(update={"web_port": free_port()})
        values = settings.model_dump(exclude_none=True, exclude=set(SECRETS))  # those it finds where we did
        log = self._folder / f"{len(self._parts)}-{command}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "stream_app.cli.main", command, *options],
                env=os.environ | {f"FIXSTREAM_{name.upper()}": str(value) for name, value in values.items()},
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops its processes
            )
        part = _Part(command, settings, process, log)
        self._parts.append(part)
        return part

    def _stop(self) -> None:
        for part in self._parts:
            part.process.terminate()
        for part in self._parts:
            try:
                part.process.wait(15)
            except subprocess.TimeoutExpired:
                part.process.kill()
