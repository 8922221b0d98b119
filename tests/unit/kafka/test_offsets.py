"""Offsets are committed as the finished prefix of each partition, whatever order batches finish in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.offsets import Claim, OffsetTracker
from stream_app.kafka.records import MicroBatch, Output, RawRecord

TOPIC = "iq.captures"
# Each batch: how many records of each of three partitions.
BATCHES = st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any), min_size=1, max_size=8)


def batches_of(sizes: list[list[int]]) -> list[MicroBatch]:
    following = [5, 0, 100]
    batches = []
    for counts in sizes:
        records = []
        for partition, count in enumerate(counts):
            for _ in range(count):
                records.append(RawRecord(b"", None, TOPIC, partition, following[partition], 0.0))
                following[partition] += 1
        batches.append(MicroBatch(records, "full"))
    return batches


def offsets_of(batches: list[MicroBatch], partition: int) -> set[int]:
    return {r.offset for batch in batches for r in batch.records if r.partition == partition}


@given(BATCHES, st.randoms(use_true_random=False))
def test_only_what_is_done_is_committed_and_in_the_end_all_of_it(sizes: list[list[int]], random: object) -> None:
    batches, tracker = batches_of(sizes), OffsetTracker()
    for batch in batches:
        tracker.add(batch)
    left, committed = list(batches), {}
    random.shuffle(left)  # type: ignore[attr-defined]
    while left:
        tracker.done(left.pop())
        for (topic, partition), offset in tracker.committable().items():
            assert topic == TOPIC
            assert offset > committed.get(partition, -1)
            committed[partition] = offset
            assert all(open_offset >= offset for open_offset in offsets_of(left, partition))
        assert tracker.open_batches == len(left)
    for partition in range(3):
        handed_out = offsets_of(batches, partition)
        assert committed.get(partition) == (max(handed_out) + 1 if handed_out else None)
    assert tracker.committable() == {}


@given(BATCHES, st.integers(0, 2))
def test_a_partition_that_left_is_never_committed_nor_waited_for(sizes: list[list[int]], gone: int) -> None:
    batches, tracker = batches_of(sizes), OffsetTracker()
    for batch in batches:
        tracker.add(batch)
    assert tracker.waits_for([(TOPIC, gone)]) == bool(offsets_of(batches, gone))
    tracker.forget([(TOPIC, gone)])
    assert not tracker.waits_for([(TOPIC, gone)])
    for batch in batches:
        tracker.done(batch)
    assert set(tracker.committable()) == {(TOPIC, p) for p in range(3) if p != gone and offsets_of(batches, p)}


@given(BATCHES, st.integers(0, 2))
def test_a_claim_ends_with_the_partitions_tenure_and_does_not_come_back_with_it(
    sizes: list[list[int]], gone: int
) -> None:
    batches, tracker = batches_of(sizes), OffsetTracker()
    for batch in batches:
        tracker.add(batch)
    before = claim_of(tracker, batches)
    assert before.offsets == {(TOPIC, p): max(o) + 1 for p in range(3) if (o := offsets_of(batches, p))}
    tracker.forget([(TOPIC, gone)])
    again = batches_of(sizes)  # the partition is assigned anew, and read again
    for batch in again:
        tracker.add(batch)
    old, new = claim_of(tracker, batches), claim_of(tracker, again)
    assert set(old.offsets) == {(TOPIC, p) for p in range(3) if p != gone and offsets_of(batches, p)}
    assert set(new.offsets) == set(before.offsets)
    for batch in batches:
        outputs = [Output("positions", None, b"", [], record.source) for record in batch.records]
        assert {output.source for output in old.owed(batch, outputs)} == {
            record.source for record in batch.records if record.partition != gone
        }


def test_what_was_committed_before_is_neither_claimed_nor_owed() -> None:
    [first, second], tracker = batches_of([[2, 0, 0], [1, 1, 0]]), OffsetTracker()
    for batch in (first, second):
        tracker.add(batch)
    settled = {(TOPIC, 0): 8}  # partition 0 up to the end of both
    claim = claim_of(tracker, [first, second]).without(settled)
    assert claim.offsets == {(TOPIC, 1): 1}
    outputs = [Output("positions", None, b"", [], record.source) for record in second.records]
    assert [output.source for output in claim.owed(second, outputs)] == [(TOPIC, 1)]
    assert claim.owed(first, outputs[:1]) == []


def claim_of(tracker: OffsetTracker, batches: list[MicroBatch]) -> Claim:
    return Claim({batch.number: tracker.ends(batch) for batch in batches}, None)
