"""One micro-batch on its way through the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_app.errors import CaptureError
from stream_app.locate.answer import Answer
from stream_app.locate.lane import Lane
from stream_app.records.capture import IqCapture
from stream_app.records.fix import CacheOutcome


class Record(Protocol):
    """What the pipeline needs of a record: its bytes, its capture, or why there is neither; key, and time of arrival.

    ``received_at`` is perf_counter's, in seconds.
    """

    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def capture(self) -> IqCapture | None: ...  # noqa: D102
    @property
    def refusal(self) -> CaptureError | None: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def received_at(self) -> float: ...  # noqa: D102


@dataclass(slots=True, weakref_slot=True, eq=False)
class Item:
    """One capture's state: an answer or an error in the end, never neither."""

    received_at: float
    capture: IqCapture | None = None
    key: bytes | None = None
    error: CaptureError | None = None
    answer: Answer | None = None
    outcome: CacheOutcome = CacheOutcome.MISS
    lane: Lane | None = None  # the version that is to answer, or did
    others: Sequence[Lane] = ()  # those that stand in for it
    failures: tuple[str, ...] = ()  # what versions before this one did, in words
    tried: tuple[str, ...] = ()  # the versions that looked at it, this one too
    content: bytes = b""  # digest of what the answer depends on, made when the first version looks
    exact_key: bytes = b""
    feature_key: bytes = b""
    features: NDArray[np.float32] | None = None
    features_of: str = ""  # the parameters that ``features`` were made with
    same_as: Item | None = None  # the equal capture of this batch that is computed in its stead
    follows: Item | None = None  # the same, of a batch that is still under way
    settled: Event | None = None  # set when its batch has been inferred
    original: IqCapture | None = None  # as it came, where receivers of ``capture`` weigh less
    distrusted: tuple[str, ...] = ()  # those receivers

    @property
    def fallback(self) -> bool:
        """Whether another version than the drawn one answers."""
        return bool(self.failures)


@dataclass(slots=True)
class Batch:
    """Items in the order of the records, and when and how long the stages worked (seconds)."""

    items: list[Item]
    started_at: float
    shadow: bool = False  # beside the live answer: it is not counted as traffic
    features_s: float = 0.0
    inference_s: float = 0.0
    inferred: Event = field(default_factory=Event)

    def open_items(self) -> Sequence[tuple[Item, IqCapture]]:
        """Items that still need an answer of their own."""
        return [
            (item, item.capture)
            for item in self.items
            if item.capture is not None
            and item.error is None
            and item.answer is None
            and item.same_as is None
            and item.follows is None
        ]
