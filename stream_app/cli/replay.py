"""``fixstream replay``: recordings on disk to Kafka, at their own pace or another."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.cli.recordings import CaptureSeconds, Files, ReceiverNames, Start

if TYPE_CHECKING:
    from stream_app.cli.sending import Item
    from stream_app.records.capture import IqCapture
    from stream_app.records.reception import IqReception


class SentAs(StrEnum):
    """What becomes of recordings."""

    CAPTURES = "captures"
    RECEPTIONS = "receptions"


def replay(
    files: Files,
    network: Annotated[
        Path | None, typer.Option(help="the network's YAML file: where the receivers stand; a recorded folder knows it")
    ] = None,
    sent_as: Annotated[
        SentAs, typer.Option("--as", help="receptions: one record a receiver and slot, for the worker to assemble")
    ] = SentAs.CAPTURES,
    capture_seconds: CaptureSeconds = None,
    receiver: ReceiverNames = None,
    start: Start = None,
    speed: Annotated[float, typer.Option(min=0, help="1: as it was; 10: ten times that; 0: as fast as it goes")] = 1.0,
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka brokers, host:port; default: FIXSTREAM_BOOTSTRAP_SERVERS")
    ] = None,
) -> None:
    """Replay recordings as captures or receptions on Kafka. What fixstream record wrote comes back field by field."""
    from stream_app.cli.sending import send_all
    from stream_app.network.file import load_network
    from stream_app.network.sources import Given, captures_from, receptions_from
    from stream_app.settings import load_settings

    where = None if network is None else load_network(network)
    given = Given(tuple(receiver or ()), start)
    settings = load_settings(bootstrap_servers=bootstrap)
    items: Iterator[Item]
    if sent_as is SentAs.CAPTURES:
        total, captures = captures_from(files, where, capture_seconds, given)
        topic, items = settings.captures_topic, _timed_captures(captures, speed)
    else:
        total, receptions = receptions_from(files, where, capture_seconds, given)
        topic, items = settings.receptions_topic, _timed_receptions(receptions, speed)
    sent = send_all(items, settings, total, topic=topic)
    typer.echo(f"{sent} {sent_as} sent to {topic}", err=True)


def _timed_captures(captures: Iterator[IqCapture], speed: float) -> Iterator[Item]:
    from stream_app.cli.sending import Timed

    begin_us: int | None = None
    for capture in captures:
        begin_us = capture.captured_at_us if begin_us is None else begin_us
        yield Timed(_due_s(capture.captured_at_us - begin_us, speed), capture)


def _timed_receptions(receptions: Iterator[IqReception], speed: float) -> Iterator[Item]:
    from stream_app.cli.sending import TimedReception

    begin_us: int | None = None
    for reception in receptions:
        begin_us = reception.slot_at_us if begin_us is None else begin_us
        yield TimedReception(_due_s(reception.slot_at_us - begin_us, speed), reception)


def _due_s(after_first_us: int, speed: float) -> float:
    return after_first_us * 1e-6 / speed if speed else 0.0
