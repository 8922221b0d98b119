"""Assemblers that are killed, frozen and cut off, with an account of each reception."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import Message

from stream_app.network.receptions import receptions_of
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.settings import Guarantee, Settings
from tests.faults.account import Account, Answer, Place, Sent
from tests.faults.captures import small_network
from tests.faults.scenario import Scenario
from tests.faults.stage import Answers, Rig, Stage
from tests.faults.workers import zombie
from tests.load.traffic import Numbered, Traffic
from tests.support.worker import AssemblerProcess, eventually

_CODECS = Codecs()
_RATE = 240.0  # receptions a second
_KEYS = 16
_INTERVAL_US = 250_000  # between slots of a key
_PARTIAL_EVERY, _POISON_EVERY = 10, 25  # slots
_NAME = "name"  # in a reception's metadata
_POISON = b"this is no reception: "


class ReceptionPool:
    """Receptions slot after slot over 16 frequencies. Every 10th slot lacks one, beside every 25th is poison."""

    def __init__(self) -> None:
        self._captures = [capture for capture, _ in Simulator(small_network(64), 5).captures(_KEYS)]
        self.sent: dict[str, Sent] = {}  # all that were ever given out

    def records(self) -> Iterator[Numbered]:
        """Without end, one slot's receivers in turns of order."""
        slot = 0
        while True:
            receptions = receptions_of(self._captures[slot % _KEYS])
            turn = slot % len(receptions)
            receptions = receptions[turn:] + receptions[:turn]
            if slot % _PARTIAL_EVERY == _PARTIAL_EVERY - 1:
                receptions.pop()
            for reception in receptions:
                later_us = slot // _KEYS * _INTERVAL_US
                channel = replace(reception.channel, start_time_ns=reception.channel.start_time_ns + 1000 * later_us)
                name = f"{slot}/{channel.receiver_id}"
                made = replace(
                    reception,
                    center_frequency_hz=433e6 + slot % _KEYS,
                    slot_at_us=self._captures[0].captured_at_us + later_us,
                    channel=channel,
                    metadata={_NAME: name},
                )
                key = f"{made.network}/{made.center_frequency_hz:.0f}".encode()
                yield self._noted(slot, name, key, _CODECS.encode_reception(made), len(receptions))
            if slot % _POISON_EVERY == 0:
                yield self._noted(slot, f"poison-{slot}", key, _POISON + f"poison-{slot}".encode(), 0)
            slot += 1

    def _noted(self, slot: int, name: str, key: bytes, value: bytes, receivers: int) -> Numbered:
        self.sent[name] = Sent(slot, key, 0, Place(0.0, 0.0, receivers) if receivers else None)
        return Numbered(name, key, value)


class Assembled(Answers):
    """What became of receptions: each channel of a capture is an answer, and each dead letter."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.model_copy(update={"positions_topic": settings.captures_topic}))

    def take(self, message: Message) -> None:
        """Remembers what it answers."""
        value, key, now_ms = message.value() or b"", message.key() or b"", time.time_ns() // 1_000_000
        if message.topic() == self._fixes:
            capture = _CODECS.decode_capture(value)
            assert key == key_of(capture)
            place = Place(0.0, 0.0, len(capture.channels))
            names = list(capture.metadata.values())
        else:
            place, names = None, [_refused_name(value)]
        for name in names:
            self.seen.append(Answer(name, key, now_ms, place))
            self.names.add(name)


def _refused_name(value: bytes) -> str:
    if value.startswith(_POISON):
        return value.removeprefix(_POISON).decode()
    return _CODECS.decode_reception(value).metadata[_NAME]


class AssemblyStage(Stage):
    """Assemblers in the workers' place, receptions in the captures'."""

    process = AssemblerProcess
    reading = Assembled

    def __init__(self, rig: Rig, delivery: Guarantee, short: bool, **more: Any) -> None:
        self._receptions = ReceptionPool()
        more = {"registry_uri": "none", "assembly_idle_ms": 4000, **more}
        super().__init__(rig, delivery, short, pool=self._receptions, **more)  # type: ignore[arg-type]

    @contextmanager
    def load(self, rate: float, fresh: bool = False) -> Iterator[Traffic]:
        """Sends receptions while the body runs."""
        topic = self.settings.model_copy(update={"captures_topic": self.settings.receptions_topic})
        with Traffic(topic, self._receptions.records(), rate) as traffic:
            eventually(lambda: self.answers.seen, 60, "the first answer")
            yield traffic
        self.expect(traffic.sent_ms, frozenset(traffic.failed))

    def expect(self, sent_ms: Mapping[str, int], unsure: frozenset[str] = frozenset()) -> None:
        """The slot that was cut off when the load ended is left out: who knows how many it had."""
        last = max(self._receptions.sent[name].number for name in sent_ms)
        self._sent = {
            name: replace(self._receptions.sent[name], sent_ms=at)
            for name, at in sent_ms.items()
            if self._receptions.sent[name].number < last
        }
        self._unsure = unsure | {name for name, sent in self._receptions.sent.items() if sent.number >= last}

    def settle(self) -> Account:
        """Captures leave when they are whole: no order of slots is promised."""
        return replace(super().settle(), out_of_order=[])

    @property
    def most_again(self) -> int:
        """What one commit holds, and what waits for its slot's end, at each disturbance."""
        return self.disturbances * 2000


def kill(stage: Stage, times: int) -> None:
    """In turn, each at a random moment after it has partitions again."""
    names = ("one", "two")
    stage.start(*names)
    with stage.load(_RATE):
        for number in range(times):
            victim = names[number % 2]
            eventually(stage.workers[victim].partitions, 60, "partitions for an assembler")
            time.sleep(stage.random.uniform(0.0, 2.0))
            stage.kill(victim)
            stage.launch(victim)


def restart_broker(stage: Stage, times: int) -> None:
    """The broker ends and comes back."""
    stage.start("one", "two")
    with stage.load(_RATE):
        for _ in range(times):
            time.sleep(stage.random.uniform(0.5, 1.5))
            stage.rig.kafka.stop()
            stage.disturbances += 1
            time.sleep(1.0)
            stage.rig.kafka.start()
            stage.wait_answering()


SCENARIOS = (
    Scenario(
        "assembler-killed",
        "kill -9 of two assemblers in turn, each within 2 s of having partitions, restarted at once",
        kill,
        50,
        2,
        stage=AssemblyStage,
    ),
    Scenario(
        "assembler-zombie",
        "SIGSTOP of one of two assemblers for twice its session timeout, SIGCONT",
        partial(zombie, rate=_RATE),
        10,
        1,
        stage=AssemblyStage,
    ),
    Scenario(
        "assembler-broker-restarted",
        "the only broker stopped and started again under two assemblers",
        restart_broker,
        10,
        1,
        stage=AssemblyStage,
    ),
)
