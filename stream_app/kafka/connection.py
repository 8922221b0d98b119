"""How every client of this project reaches the brokers."""

from __future__ import annotations

from stream_app.settings import Settings

ClientConfig = dict[str, str | int | float | bool]


def connection(settings: Settings) -> ClientConfig:
    """The part of a librdkafka configuration that says where the brokers are."""
    return {"bootstrap.servers": settings.bootstrap_servers}
