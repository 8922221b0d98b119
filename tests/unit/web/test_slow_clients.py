"""Clients that take their time take nothing from the others."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from stream_app.records.json_text import parse_json
from stream_app.web import predict
from tests.unit.web.serving import JSON, serve

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = HEAD + b"Content-Length: 1000\r\n\r\n{"


def connect(port: int, sent: bytes = b"") -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), 30)
    line.sendall(sent)
    return line


def closed(line: socket.socket, timeout_s: float) -> bool:
    """Whether the other side has ended it, within the time; what it says before is thrown away."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        if select.select([line], [], [], left)[0]:
            try:
                if not line.recv(65536):
                    return True
            except ConnectionError:
                return True
    return False


@contextmanager
def dripping(lines: list[socket.socket]) -> Iterator[None]:
    """Sends a byte of a header on each line, again and again."""
    done = Event()

    def drip() -> None:
        while not done.wait(0.05):
            for line in lines:
                try:
                    line.send(b"X")
                except OSError:
                    continue

    thread = Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_connections_without_a_request_are_closed_in_time() -> None:
    with serve(web_idle_s=1.0) as served:
        silent, headers, kept = connect(served.port), connect(served.port, HEAD), connect(served.port)
        kept.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(4096).startswith(b"HTTP/1.1 200 ")
        with dripping([headers]):
            assert closed(headers, 20)
        assert closed(silent, 20)
        assert closed(kept, 20)


def test_a_client_that_does_not_read_its_answers_is_cut_off() -> None:
    with serve(web_idle_s=1.0) as served:
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", served.port))
        line.settimeout(30)
        try:
            while True:
                line.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        except ConnectionError:
            pass
        assert served.ask("GET", "/health/live").status == 200


def test_a_new_client_takes_the_place_of_the_oldest_that_has_not_asked() -> None:
    with serve(web_max_connections=10) as served:
        lines = [connect(served.port, (b"", HEAD, BODY)[number % 3]) for number in range(10)]
        assert served.ask("POST", "/predict", b"{}", JSON).status == 422
        assert closed(lines[0], 20)
        more = [connect(served.port, HEAD) for _ in range(50)]
        assert all(closed(line, 20) for line in [*lines[1:], *more[:40]])
        assert select.select(more[41:], [], [], 0)[0] == []
        assert served.ask("GET", "/health/live").status == 200


def test_a_request_that_is_being_answered_is_never_cut_off_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, go_on = Event(), Event()

    def slow(body: bytes) -> Any:
        decoding.set()
        go_on.wait(30)
        return parse_json(body)

    monkeypatch.setattr(predict, "parse_json", slow)
    with serve(web_max_connections=1, web_idle_s=0.1) as served, ThreadPoolExecutor() as pool:
        answer = pool.submit(served.ask, "POST", "/predict/batch", b'{"captures": []}', JSON)
        assert decoding.wait(30)
        assert closed(connect(served.port), 20)
        go_on.set()
        assert answer.result(30).status == 200
