"""What requests may take of a worker: bytes at once, time, and the event loop."""

from __future__ import annotations

import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from stream_app.records.json_text import parse_json
from stream_app.web import predict
from stream_app.web.body import BodyReader
from tests.support.worker import eventually
from tests.unit.web.serving import JSON, Served, serve

LIMIT = 64 * 1024


def begin(served: Served, length: int, body: bytes) -> socket.socket:
    """A request of which only a part is sent."""
    line = socket.create_connection(("127.0.0.1", served.port), 30)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n"
    line.sendall(head.encode() + body)
    return line


def test_bodies_under_way_hold_no_more_than_eight_of_the_largest() -> None:
    with serve(web_max_body_bytes=LIMIT) as served:
        with ExitStack() as stack:
            lines = [stack.enter_context(begin(served, LIMIT, b" " * (LIMIT - 1))) for _ in range(9)]
            answered, _, _ = select.select(lines, [], [], 30)
            head = answered[0].recv(4096)
            assert head.startswith(b"HTTP/1.1 429 ")
            assert b"Retry-After: " in head
        # Those who went away give back what they held.
        eventually(lambda: served.ask("POST", "/predict", b" " * LIMIT, JSON).status == 400, 30, "room for a body")
        for _ in range(20):
            assert served.ask("POST", "/predict", b" " * LIMIT, JSON).status == 400


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "BodyReader", partial(BodyReader, timeout_s=0.05))
    with serve() as served, begin(served, 10, b"{") as line:
        assert line.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_pages_are_answered_while_a_body_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, go_on = threading.Event(), threading.Event()

    def slow(body: bytes) -> Any:
        decoding.set()
        go_on.wait(30)
        return parse_json(body)

    monkeypatch.setattr(predict, "parse_json", slow)
    with serve() as served, ThreadPoolExecutor() as pool:
        answer = pool.submit(served.ask, "POST", "/predict/batch", b'{"captures": []}', JSON)
        assert decoding.wait(30)
        assert served.ask("GET", "/health/live").status == 200
        assert not answer.done()
        go_on.set()
        assert answer.result(30).status == 200
