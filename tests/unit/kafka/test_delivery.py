"""Answers leave in the order in which their batches were taken, in whatever order they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import faust
import pytest

from stream_app.errors import DeliveryFailed
from stream_app.kafka.channel import CaptureChannel
from stream_app.kafka.delivery import Delivery
from stream_app.kafka.records import MicroBatch, Output, RawRecord
from stream_app.metrics import Metrics
from stream_app.settings import Guarantee, Settings

SETTINGS = Settings(delivery=Guarantee.AT_LEAST_ONCE)
SOURCE = ("iq.captures", 0)


class Line:
    """Stands for the broker: takes down what was sent, and refuses as often as it is told."""

    def __init__(self, refusals: int = 0) -> None:
        self.sent: list[list[bytes]] = []
        self.refusals = refusals

    async def send(self, outputs: Sequence[Output]) -> None:
        await asyncio.sleep(0)
        if self.refusals:
            self.refusals -= 1
            raise DeliveryFailed("the broker is away")
        self.sent.append([output.value or b"" for output in outputs])


def made(line: Line) -> tuple[Delivery, CaptureChannel]:
    channel = CaptureChannel(faust.App("delivery"), SETTINGS)
    return Delivery(SETTINGS, channel, line, Metrics(), "tested"), channel  # type: ignore[arg-type]


def batches_in(channel: CaptureChannel, count: int) -> list[MicroBatch]:
    """Batches of one record each, which the channel has handed out."""
    batches = [MicroBatch([RawRecord(b"", None, *SOURCE, number, 0.0)], "full") for number in range(count)]
    for batch in batches:
        channel._tracker.add(batch)
    return batches


def answer(number: int) -> list[Output]:
    return [Output("positions", None, str(number).encode(), [], SOURCE)]


@pytest.mark.parametrize("refusals", [0, 2])
def test_answers_go_in_the_order_of_their_batches_and_each_offset_after_its_answer(refusals: int) -> None:
    async def run() -> tuple[list[list[bytes]], dict[tuple[str, int], int]]:
        line = Line(refusals)
        delivery, channel = made(line)
        places = [delivery.enter(batch) for batch in batches_in(channel, 4)]
        waiting = [asyncio.create_task(delivery.deliver(places[n], answer(n))) for n in (2, 3, 1)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert line.sent == []
        assert channel._tracker.committable() == {}
        await asyncio.gather(delivery.deliver(places[0], answer(0)), *waiting)
        delivery.close()
        return line.sent, channel._tracker.committable()

    sent, committable = asyncio.run(run())
    assert [value for group in sent for value in group] == [b"0", b"1", b"2", b"3"]
    assert committable == {SOURCE: 4}


def test_answers_of_a_partition_that_was_lost_meanwhile_are_not_sent() -> None:
    async def run() -> list[list[bytes]]:
        line = Line()
        delivery, channel = made(line)
        [batch] = batches_in(channel, 1)
        place = delivery.enter(batch)
        channel._tracker.forget([SOURCE])
        await delivery.deliver(place, answer(0))
        assert channel.in_flight == 0
        return line.sent

    assert [value for group in asyncio.run(run()) for value in group] == []


class HeldLine(Line):
    """Acknowledges when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    async def send(self, outputs: Sequence[Output]) -> None:
        await self.told.wait()
        await super().send(outputs)


@pytest.mark.parametrize(("undelivered", "handed_out"), [(8, 2), (1, 1)])
def test_while_a_batch_is_delivered_the_next_is_worked_on(undelivered: int, handed_out: int) -> None:
    settings = SETTINGS.model_copy(update={"max_in_flight": 1, "max_undelivered": undelivered, "max_batch": 1})

    async def run() -> tuple[int, int]:
        line, loop = HeldLine(), asyncio.get_running_loop()
        channel = CaptureChannel(faust.App("delivery"), settings)
        delivery = Delivery(settings, channel, line, Metrics(), "tested")  # type: ignore[arg-type]
        handed: asyncio.Queue[MicroBatch] = asyncio.Queue()
        channel._loop, channel._listening, channel.put = loop, True, handed.put  # type: ignore[method-assign]
        for _ in range(3):
            channel.offer(RawRecord(b"", None, *SOURCE, 0, 0.0, reply=lambda _: None))
        first = await handed.get()
        before = channel.in_flight
        delivered = asyncio.create_task(delivery.deliver(delivery.enter(first), []))
        await asyncio.sleep(0)
        during = channel.in_flight
        line.told.set()
        await delivered
        delivery.close()
        return before, during

    assert asyncio.run(run()) == (1, handed_out)
