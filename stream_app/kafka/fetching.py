"""How a member of a consumer group fetches, and what it does with records that cannot be unpacked."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from stream_app.errors import UnreadableRecord
from stream_app.kafka.connection import ClientConfig, connection
from stream_app.kafka.records import Partition, RawRecord
from stream_app.kafka.topics import dead_letter_bytes
from stream_app.settings import Settings

_RECEIVE_BYTES = 100_000_000  # librdkafka's own default


def fetching(settings: Settings) -> ClientConfig:
    """The configuration of a consumer whose offsets are committed by hand, in ``settings.group_id``."""
    return {
        **connection(settings),
        "group.id": settings.group_id,
        "enable.auto.commit": False,
        "auto.offset.reset": settings.auto_offset_reset,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": settings.session_timeout_ms,
        "max.poll.interval.ms": settings.max_poll_interval_ms,
        "heartbeat.interval.ms": max(settings.session_timeout_ms // 10, 300),
        "fetch.wait.max.ms": 50,
        "fetch.message.max.bytes": 2_097_152,  # brokers send larger records all the same
        # Also what a zstd batch may become when it is unpacked: at least the largest record we answer to.
        "receive.message.max.bytes": min(max(_RECEIVE_BYTES, dead_letter_bytes(settings)), 2**31 - 1),
        # Bounds the memory of what librdkafka reads ahead, whatever the lag.
        "queued.max.messages.kbytes": 16_384,
        "fetch.queue.backoff.ms": 10,  # by default a full queue is not filled again for a second
    }


class Unpacking:
    """Messages as records. Behind one that cannot be unpacked, reading goes on at the next offset."""

    def __init__(self) -> None:
        self._passed: dict[Partition, int] = {}  # where reading goes on behind what cannot be unpacked

    def forget(self, partition: Partition) -> None:
        """The partition is another member's."""
        self._passed.pop(partition, None)

    @staticmethod
    def failed(message: Message) -> bool:
        """Whether the message stands for a batch that librdkafka could not unpack (zstd beyond its limit)."""
        error = message.error()
        return error is not None and error.code() == KafkaError._BAD_COMPRESSION

    @staticmethod
    def record(message: Message, place: Partition, now: float) -> RawRecord:
        """The record of a sound message."""
        return RawRecord(
            message.value(),
            message.key(),
            *place,
            message.offset() or 0,
            now,
            headers=message.headers(),
            at_ms=message.timestamp()[1],
        )

    def passed(self, consumer: Consumer, message: Message, place: Partition) -> RawRecord:
        """Stands for a record that would be met for ever; ``consumer`` goes on behind it.

        The error names the first offset of the record's batch, each time; nothing else of it can be had. What
        was read of the partition behind ``message`` comes again.
        """
        offset = max(self._passed.get(place, -1), message.offset() or 0)
        self._passed[place] = offset + 1
        consumer.seek(TopicPartition(*place, offset + 1))
        refusal = UnreadableRecord(
            f"the batch at offset {message.offset()} cannot be unpacked ({message.error()}): the record stays where it "
            "is in its topic; send less in one batch, or with less compression"
        )
        return RawRecord(None, None, *place, offset, time.perf_counter(), refusal=refusal)
