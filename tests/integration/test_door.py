"""Requests and the stream share a real worker: the same answers, and neither waits for the other."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

import onnx
import pytest

from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from tests.support.brokers import Broker
from tests.support.worker import TopicReader, WorkerProcess, eventually, send_all, settings_for

pytestmark = pytest.mark.kafka
CODECS = Codecs()


@pytest.fixture
def settings(broker: Broker, network: Network, unique: str, tmp_path: Path) -> Settings:
    return settings_for(
        broker.bootstrap,
        unique,
        registry_uri=f"sqlite:///{tmp_path / 'registry.db'}",
        model_cache_dir=str(tmp_path / "models"),
        model_name=unique,
        cache_url="none://",
    )


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], WorkerProcess]]:
    with ExitStack() as stack:

        def begin() -> WorkerProcess:
            worker = WorkerProcess(settings, tmp_path)
            stack.callback(worker.kill)
            return worker

        yield begin


@pytest.fixture
def model(settings: Settings, network: Network, tmp_path: Path) -> Callable[[], None]:
    def register() -> None:
        onnx.save(build_tdoa(network), str(tmp_path / "model.onnx"))
        Registry(settings.registry_uri, tmp_path / "models").register(
            settings.model_name, tmp_path / "model.onnx", "champion"
        )

    return register


def predict(worker: WorkerProcess, capture: IqCapture) -> tuple[int, Any]:
    """Status and body of POST /predict with the capture as Avro."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{worker.port}/predict",
        CODECS.encode_capture(capture),
        {"Content-Type": "application/octet-stream"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_requests_are_answered_as_the_stream_is_and_neither_waits_for_the_other(
    settings: Settings, network: Network, start: Callable[[], WorkerProcess], model: Callable[[], None]
) -> None:
    model()
    worker = start()
    worker.wait_ready()
    captures = [capture for capture, _ in Simulator(network, seed=3).captures(1200)]
    send_all(settings, [(key_of(each), CODECS.encode_capture(each)) for each in captures])
    reader = TopicReader(settings.bootstrap_servers, settings.positions_topic)
    try:
        eventually(lambda: len(reader.read()) > 0, what="the first fix")
        with ThreadPoolExecutor(24) as threads:
            answers = list(threads.map(lambda capture: predict(worker, capture), captures[:24]))
        assert [status for status, _ in answers] == [200] * 24
        taken = worker.metric("fixstream_captures_total")
        assert taken < len(captures), "requests were answered only after the whole backlog"
        eventually(lambda: len(reader.read()) >= len(captures), 90, "the stream's fixes")
        fixes = {fix.capture_id: fix for fix in (CODECS.decode_fix(m.value() or b"") for m in reader.read_out())}
        assert Counter(CODECS.decode_fix(m.value() or b"").capture_id for m in reader.messages) == Counter(
            capture.capture_id for capture in captures
        )
    finally:
        reader.close()
    for capture, (_, answer) in zip(captures, answers, strict=False):
        fix = fixes[capture.capture_id]
        assert answer["capture_id"] == capture.capture_id
        assert answer["position"]["lat"] == pytest.approx(fix.latitude, abs=1e-7)
        assert answer["position"]["lon"] == pytest.approx(fix.longitude, abs=1e-7)
        assert answer["uncertainty"]["sigma_x"] == pytest.approx(fix.sigma_x_m, rel=1e-3)
    status, body = worker.get("/model/info")
    assert status == 200
    assert json.loads(body)["inference_count"] == 1224
    assert worker.stop() == 0


def test_without_a_model_requests_are_told_to_come_again(
    start: Callable[[], WorkerProcess], network: Network, model: Callable[[], None]
) -> None:
    worker = start()
    eventually(lambda: worker.get("/health/live")[0] == 200, what="liveness")
    capture = next(iter(Simulator(network, seed=3).captures(1)))[0]
    status, body = predict(worker, capture)
    assert (status, body["error"]["code"]) == (503, "no-model")
    model()
    worker.wait_ready()
    assert predict(worker, capture)[0] == 200


def test_five_hundred_slow_clients_hold_up_neither_requests_nor_captures(
    settings: Settings,
    start: Callable[[], WorkerProcess],
    model: Callable[[], None],
    network: Network,
) -> None:
    settings.web_max_connections, settings.web_idle_s = 300, 8.0
    model()
    worker = start()
    worker.wait_ready()
    captures = [capture for capture, _ in Simulator(network, seed=12).captures(100)]
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
    ways = (b"", head, head + b"Content-Length: 99999\r\n\r\n{", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    lines = [socket.create_connection(("127.0.0.1", worker.port), 30) for _ in range(500)]
    over = Event()
    try:
        with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
            stack.callback(over.set)

            def drip() -> None:
                """Begins a request on each line, then sends a byte now and then."""
                for line, way in zip(lines, ways * 125, strict=True):
                    with suppress(OSError):
                        line.send(way)
                while not over.wait(0.2):
                    for line in lines:
                        with suppress(OSError):
                            line.send(b"X")

            pool.submit(drip)
            send_all(settings, [(key_of(capture), CODECS.encode_capture(capture)) for capture in captures])
            for capture in captures[:20]:
                assert worker.get("/health/live")[0] == 200
                assert predict(worker, capture)[0] == 200
            eventually(lambda: worker.metric("fixstream_captures_total") >= 120, 90, "the stream's fixes")
            descriptors = len(list(Path(f"/proc/{worker.process.pid}/fd").iterdir()))
            assert descriptors < 300 + 150
    finally:
        for line in lines:
            line.close()
    assert worker.stop() == 0
