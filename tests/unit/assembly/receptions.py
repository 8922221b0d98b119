"""Small receptions of a small network, and a partition's life: read, committed, interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stream_app.assembly.note import decode_note
from stream_app.assembly.slots import Assembled, PartitionSlots, Result, Rules
from stream_app.network.file import Area, Network, Receiver
from stream_app.records.capture import Channel
from stream_app.records.reception import IqReception

RATE_HZ = 1e6
COUNT = 64
SLOT_US = 100_000
EPOCH_US = 1_700_000_000_000_000
NAMES = ("north", "east", "south")
NETWORK = Network(
    name="tri",
    receivers=tuple(Receiver(receiver_id=name, latitude=50 + i, longitude=8 + i) for i, name in enumerate(NAMES)),
    area=Area(south=49, west=7, north=53, east=12),
    center_frequency_hz=433.92e6,
    sample_rate_hz=RATE_HZ,
)
NETWORKS: Mapping[str, Network] = {NETWORK.name: NETWORK}
RULES = Rules(patience_us=3 * SLOT_US, lateness_us=2 * SLOT_US)


def reception(receiver: str = "north", slot: int = 0, late_ns: int = 0, **more: Any) -> IqReception:
    """One of slot number ``slot``; its channel begins ``late_ns`` after the slot. ``more``: fields of both records."""
    at_us = EPOCH_US + slot * SLOT_US
    channel = Channel(
        receiver_id=receiver,
        latitude=50.0,
        longitude=8.0,
        altitude_m=0.0,
        start_time_ns=at_us * 1000 + late_ns,
        sample_rate_hz=RATE_HZ,
        datatype="ci16_le",
        sample_count=COUNT,
        samples=bytes([len(receiver), slot % 256, 0, 1]) * COUNT,
    )
    fields = {name: more.pop(name) for name in list(more) if name in Channel.__dataclass_fields__}
    made = IqReception("tri", 433.92e6, at_us, replace(channel, **fields))
    return replace(made, **more)


def told(results: Iterable[Result]) -> list[tuple[Any, ...]]:
    """What came of receptions, in a form that can be compared: captures with their members, refusals with codes."""
    return [
        (r.capture.capture_id, tuple(held.record for held in r.held))
        if isinstance(r, Assembled)
        else (r.record, r.error.code)
        for r in results
    ]


def read_all(log: Sequence[IqReception], rules: Rules = RULES, at_end: bool = True) -> PartitionSlots:
    """A partition that holds ``log``, read in one go; records are known by their offsets."""
    slots = PartitionSlots(NETWORKS, rules)
    for offset, each in enumerate(log):
        slots.add(each, offset, offset, 100)
    if at_end:
        slots.pass_time(rules.idle_s)
    return slots


def read_with_deaths(
    log: Sequence[IqReception], steps: Sequence[tuple[int, bool]], rules: Rules = RULES
) -> list[Result]:
    """The same in steps of so many records, each of which is committed, or else lost with the process."""
    committed: list[Result] = []
    offset, note = 0, ""
    slots, position = PartitionSlots(NETWORKS, rules), 0
    for count, survives in [*steps, (len(log), True), (len(log), True)]:
        for at in range(position, min(position + count, len(log))):
            slots.add(log[at], at, at, 100)
        position = min(position + count, len(log))
        if survives:
            note = slots.note()
            offset = slots.offset
            committed += slots.results
            slots.results = []
            continue
        read_to, marks = decode_note(note) if note else (0, [])
        slots = PartitionSlots(NETWORKS, rules, offset, read_to, marks)
        position = offset
    slots.pass_time(rules.idle_s)
    return committed + slots.results
