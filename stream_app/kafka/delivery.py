"""The answers of micro-batches on their way to Kafka: in order, and each promise kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stream_app.errors import DeliveryFailed, RecordTooLarge
from stream_app.kafka.channel import CaptureChannel
from stream_app.kafka.letter import without_value
from stream_app.kafka.offsets import Claim
from stream_app.kafka.publisher import Publisher
from stream_app.kafka.records import MicroBatch, Output
from stream_app.kafka.transactions import Transactions
from stream_app.metrics import Metrics
from stream_app.settings import Guarantee, Settings

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0


@dataclass(slots=True, eq=False)
class Place:
    """A batch's place in the order of delivery."""

    batch: MicroBatch
    delivered: asyncio.Future[None]
    outputs: list[Output] | None = None  # None: not answered yet


class Delivery:
    """Sends answers in the order in which their batches were taken. All methods are called on the event loop.

    While one group of batches is being acknowledged or committed, later ones are computed; what is ready then goes
    together. Exactly once: answers, dead letters and offsets in one transaction. At least once: the offsets of a
    batch may be committed after its answers are acknowledged. Answers to partitions that were lost meanwhile are
    dropped in both: whoever owns them now answers.
    """

    def __init__(
        self, settings: Settings, channel: CaptureChannel, publisher: Publisher, metrics: Metrics, worker: str
    ):
        self._settings, self._channel = settings, channel
        self._publisher, self._metrics = publisher, metrics
        exactly = settings.delivery is Guarantee.EXACTLY_ONCE
        self._transactions = Transactions(settings, worker) if exactly else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transactions")
        self._places: deque[Place] = deque()
        self._task: asyncio.Task[None] | None = None
        self.problem = ""  # what keeps answers from being delivered now, in words

    async def open(self) -> None:
        """Makes sure that transactions can be begun. Raises BrokerUnavailable."""
        if self._transactions is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._transactions.open)

    def enter(self, batch: MicroBatch) -> Place:
        """The next place is this batch's: it goes after those that entered before, however soon it is answered."""
        place = Place(batch, asyncio.get_running_loop().create_future())
        self._places.append(place)
        return place

    async def deliver(self, place: Place, outputs: list[Output]) -> None:
        """Returns when the answers are safe and their offsets committed, or sure to be."""
        place.outputs = outputs
        self._channel.answered(place.batch)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        await place.delivered

    def close(self) -> None:
        """Gives up what is under way: it stays uncommitted."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        """Sends group after group until the next batch in line has no answers yet."""
        while self._places and self._places[0].outputs is not None:
            group: list[Place] = []
            while self._places and self._places[0].outputs is not None:
                group.append(self._places.popleft())
            begun = time.perf_counter()
            await self._send(group)
            self._metrics.latency.labels("delivery").observe(time.perf_counter() - begun)
            for place in group:
                self._channel.done(place.batch)
                if not place.delivered.done():
                    place.delivered.set_result(None)

    async def _send(self, group: Sequence[Place]) -> None:
        """Tries until it succeeds."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await self._attempt(group, again=bool(self.problem))
                break
            except RecordTooLarge as error:
                _shorten(group, error.refused)
                problem: Exception = error
            except DeliveryFailed as error:
                problem = error
            except Exception as error:
                log.exception("Sending failed in an unexpected way")
                problem = error
            self._metrics.errors.labels(getattr(problem, "code", "internal")).inc()
            if str(problem) != self.problem:
                self.problem = str(problem)
                log.warning("%s; trying again, nothing is committed until then", self.problem)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        if self.problem:
            self.problem = ""
            log.warning("Delivery goes on")

    async def _attempt(self, group: Sequence[Place], again: bool) -> None:
        batches, loop = [place.batch for place in group], asyncio.get_running_loop()
        claim = self._channel.claim(batches)
        if again and self._transactions is not None and claim.offsets:
            # A commit whose outcome was not heard may have been one.
            settled = await loop.run_in_executor(self._thread, self._transactions.committed, list(claim.offsets))
            claim = self._channel.claim(batches).without(settled)
        outputs = [output for place in group for output in claim.owed(place.batch, place.outputs or ())]
        if self._transactions is None:
            await self._publisher.send(outputs)
        elif claim.offsets:
            await self._transact(self._transactions, outputs, claim)

    async def _transact(self, transactions: Transactions, outputs: list[Output], claim: Claim) -> None:
        if claim.member is None:
            raise DeliveryFailed("this worker is no member of its consumer group now")
        loop, outcome = asyncio.get_running_loop(), "aborted"
        try:
            await loop.run_in_executor(self._thread, transactions.commit, outputs, claim.offsets, claim.member)
            outcome = "committed"
        finally:
            self._metrics.transactions.labels(outcome).inc()


def _shorten(group: Sequence[Place], refused: Sequence[object]) -> None:
    """The largest dead letter that was refused goes without its value: better than holding up all that follows."""
    letters = [
        (len(output.value or b""), place.outputs, number)
        for place in group
        if place.outputs is not None
        for number, output in enumerate(place.outputs)
        if output.headers and any(output is each for each in refused)
    ]
    if letters:
        _, outputs, number = max(letters, key=lambda letter: letter[0])
        outputs[number] = without_value(outputs[number])
