"""``fixstream record``: captures on Kafka to a folder of SigMF, to be replayed exactly."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_app.kafka.follow import TopicFollower
    from stream_app.records.capture import IqCapture


def record(
    folder: Annotated[Path, typer.Argument(help="a new folder, or an empty one")],
    from_start: Annotated[
        bool, typer.Option("--from-start", help="begin with the oldest capture that is kept")
    ] = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="stop after so long; default: at Ctrl-C")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="stop after so many captures")] = None,
    key: Annotated[str | None, typer.Option(help="only records with this key, such as demo/433920000")] = None,
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka brokers, host:port; default: FIXSTREAM_BOOTSTRAP_SERVERS")
    ] = None,
) -> None:
    """Record captures from Kafka as SigMF. fixstream replay FOLDER sends the same captures again."""
    from stream_app.kafka.follow import TopicFollower
    from stream_app.network.recorder import Recorder
    from stream_app.settings import load_settings

    settings = load_settings(bootstrap_servers=bootstrap)
    follower = TopicFollower(settings, settings.captures_topic, from_start)
    try:
        typer.echo(f"recording {settings.captures_topic} to {folder}; Ctrl-C ends it", err=True)
        with _asked_to_stop() as stop, Recorder(folder) as recorder:
            captures = _captures(follower, stop, seconds, key, settings.schema_dir)
            for capture in islice(captures, count):
                recorder.write(capture)
    finally:
        follower.close()
    typer.echo(f"{recorder.count} captures recorded to {folder}", err=True)


def _captures(
    follower: TopicFollower, stop: Event, seconds: float | None, key: str | None, schema_dir: str | None
) -> Iterator[IqCapture]:
    """What comes until it is to end. How many records hold none is said then."""
    from stream_app.errors import CaptureError
    from stream_app.records.codec import Codecs

    codecs, left_out = Codecs(schema_dir), 0
    wanted = None if key is None else key.encode()
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while not stop.is_set() and (end is None or time.monotonic() < end):
            for message in follower.poll(0.1):
                if wanted is not None and message.key() != wanted:
                    continue
                try:
                    yield codecs.decode_capture(message.value())
                except CaptureError:
                    left_out += 1
    finally:  # also where the reader has enough
        if left_out:
            typer.echo(f"{left_out} records that hold no sound capture were left out", err=True)


@contextmanager
def _asked_to_stop() -> Iterator[Event]:
    """Set by Ctrl-C or SIGTERM: nothing is torn apart in the middle, as an exception would."""
    stop = Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
