"""Captures or receptions onto Kafka at their pace, every one acknowledged, with a progress bar on standard error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stream_app.errors import TruthFileError
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.records import Output
from stream_app.kafka.rights import Rights
from stream_app.kafka.topics import ensure_topics
from stream_app.network.truth import Truth, write_truths
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.records.reception import IqReception
from stream_app.settings import Settings

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Timed:
    """A capture, when it is to be sent (seconds after the first), and where its emitter was, if that is known."""

    due_s: float
    capture: IqCapture
    truth: Truth | None = None


@dataclass(frozen=True, slots=True)
class TimedReception:
    """A reception, and when it is to be sent."""

    due_s: float
    reception: IqReception


Item = Timed | TimedReception


def send_all(
    items: Iterable[Item],
    settings: Settings,
    total: int | None,
    truth_file: Path | None = None,
    topic: str | None = None,
) -> int:
    """Sends each record when it is due, its truth to ``truth_file`` once it is acknowledged; returns how many.

    ``topic``: the captures' topic if None. Raises BrokerUnavailable, DeliveryFailed, TruthFileError.
    """
    topic = topic or settings.captures_topic
    ensure_topics(settings, Rights(write=(topic,)))
    with ExitStack() as stack:
        truths = stack.enter_context(_opened(truth_file)) if truth_file is not None else None
        publisher = Publisher(settings)
        stack.callback(publisher.close)
        progress = stack.enter_context(_bar())
        task = progress.add_task(f"to {topic}", total=total)
        sent = 0
        for count in _sending(items, publisher, topic, truths):
            sent += count
            progress.update(task, completed=sent)
    return sent


def _sending(items: Iterable[Item], publisher: Publisher, topic: str, truths: TextIO | None) -> Iterator[int]:
    """Sends batch after batch; yields how many records each acknowledged one held."""
    codecs = Codecs()
    for batch in _due(items):
        outputs = [_output(codecs, topic, item) for item in batch]
        asyncio.run(publisher.send(outputs))
        if truths is not None:
            write_truths(truths, [item.truth for item in batch if isinstance(item, Timed) and item.truth is not None])
            truths.flush()
        yield len(batch)


def _output(codecs: Codecs, topic: str, item: Item) -> Output:
    if isinstance(item, Timed):
        return Output(topic, key_of(item.capture), codecs.encode_capture(item.capture), [])
    return Output(topic, key_of(item.reception), codecs.encode_reception(item.reception), [])


def _due(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Batches of what is due, none before its time."""
    begin = time.monotonic()
    batch: list[Item] = []
    for item in items:
        wait = begin + item.due_s - time.monotonic()
        if batch and (wait > 0 or len(batch) == _BATCH):
            yield batch
            batch = []
            wait = begin + item.due_s - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        batch.append(item)
        if wait > 0:
            yield batch
            batch = []
    if batch:
        yield batch


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise TruthFileError(f"{path}: cannot be written: {error.strerror}") from error


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
