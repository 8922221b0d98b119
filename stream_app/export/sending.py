"""Events straight to a receiver: over TCP one after the other, over UDP each in a datagram."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from stream_app.errors import ExportFailed

_CONNECT_S = 10.0


class _Datagrams(io.RawIOBase):
    """Each write is a datagram."""

    def __init__(self, where: socket.socket) -> None:
        self._where = where

    def write(self, data: object) -> int:
        return self._where.send(cast(bytes, data))


@contextmanager
def connected(url: str) -> Iterator[BinaryIO]:
    """A file whose writes go to udp://HOST:PORT or tcp://HOST:PORT. Raises ExportFailed."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("udp", "tcp") or not host or not port:
        raise ExportFailed(f"{url!r} is no receiver: give udp://HOST:PORT or tcp://HOST:PORT")
    try:
        if scheme == "tcp":
            connection = socket.create_connection((host, port), _CONNECT_S)
        else:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            connection = socket.socket(family, kind, protocol)
            connection.connect(address)
    except OSError as error:
        raise ExportFailed(f"{url}: nobody is there: {error.strerror}") from error
    with connection:
        if scheme == "udp":
            yield cast(BinaryIO, _Datagrams(connection))
        else:
            with connection.makefile("wb") as file:
                yield file
