"""A whole topic, for everyone who asks: no consumer group, no committed offsets."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from stream_app.errors import BrokerUnavailable
from stream_app.kafka.connection import connection
from stream_app.kafka.rights import Rights, check_rights
from stream_app.kafka.topics import check_broker
from stream_app.settings import Settings

log = logging.getLogger(__name__)
_GULP = 500
_TICK_S = 0.1
_METADATA_S = 10.0


class TopicFollower:
    """All partitions of one topic, from the beginning or from now on. Not thread-safe."""

    def __init__(self, settings: Settings, topic: str, from_start: bool = True) -> None:
        """Raises BrokerUnavailable where no broker answers or there is no such topic, NotAuthorized without READ."""
        self._where = f"topic {topic} at {settings.bootstrap_servers}"
        self._admin = check_broker(connection(settings))
        check_rights(self._admin, settings, Rights(read=(topic,)), _METADATA_S)
        found = self._admin.list_topics(timeout=_METADATA_S).topics.get(topic)
        if found is None:
            raise BrokerUnavailable(f"there is no {self._where}: start a worker, which creates it, or check its name")
        self._topic = topic
        self._away = False
        # Of each partition, the offset that is read next.
        self._positions = dict.fromkeys(found.partitions, 0)
        self._consumer = Consumer(
            {
                **connection(settings),
                "group.id": "fixstream-follow",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "enable.partition.eof": True,
                # librdkafka would repeat itself while a broker is away, and speak of idle connections; _say does not.
                "log_level": 0,
                "log.connection.close": False,
                "error_cb": self._say,
            }
        )
        # Not OFFSET_BEGINNING, which costs half a second; where 0 is gone already, auto.offset.reset takes over.
        where = 0 if from_start else OFFSET_END
        self._consumer.assign([TopicPartition(topic, partition, where) for partition in found.partitions])

    def to_end(self, timeout_s: float) -> list[Message]:
        """Everything up to the end offsets as they are now. Raises BrokerUnavailable where that takes too long."""
        deadline = time.monotonic() + timeout_s
        messages: list[Message] = []
        for found in self._parts_to(self._ends(deadline)):
            if time.monotonic() > deadline:
                raise self._not_read(timeout_s)
            messages += found
        return messages

    def parts_to_end(self, silence_s: float) -> Iterator[list[Message]]:
        """The same in parts, for topics too large to hold, however long that takes.

        Raises BrokerUnavailable where nothing comes for ``silence_s``.
        """
        deadline = time.monotonic() + silence_s
        for found in self._parts_to(self._ends(deadline)):
            if found:
                yield found
                deadline = time.monotonic() + silence_s
            elif time.monotonic() > deadline:
                raise self._not_read(silence_s)

    def go_to_time(self, at_ms: int, newest: int | None = None) -> None:
        """Goes on with each partition's first record of that time (Unix, ms) or later. Raises BrokerUnavailable.

        ``newest``: later still, where there are more records than these, the partitions taken alike.
        """
        try:
            places = self._consumer.offsets_for_times(
                [TopicPartition(self._topic, partition, at_ms) for partition in self._positions], timeout=_METADATA_S
            )
        except KafkaException as error:
            raise BrokerUnavailable(f"{self._where} cannot be searched by time: {error.args[0].str()}") from error
        if newest is not None:
            ends = self._ends(time.monotonic() + _METADATA_S)
            for place in places:
                if place.offset >= 0:
                    place.offset = max(place.offset, ends[place.partition] - newest // len(places))
        self._consumer.assign(places)

    def go_to(self, partition: int, offset: int) -> bool:
        """Goes on with that record and follows no other partition; False where there is no such partition."""
        if partition not in self._positions:
            return False
        self._positions = {partition: offset}
        self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        return True

    def held_back(self) -> bool:
        """Whether open transactions hold records back from ``to_end``. Raises BrokerUnavailable."""
        places = {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in self._positions}
        asked = self._admin.list_offsets(
            places, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_METADATA_S
        )
        try:
            return any(
                future.result(_METADATA_S).offset > self._positions[place.partition] for place, future in asked.items()
            )
        except KafkaException as error:
            raise BrokerUnavailable(f"the end of {self._where} is not known: {error.args[0].str()}") from error

    def poll(self, wait_s: float) -> list[Message]:
        """What came within ``wait_s``. While no broker answers, nothing comes; the log says so once."""
        messages = []
        deadline = time.monotonic() + wait_s
        while True:
            # One at a time at first: consume(n) would wait for company until its time is over.
            first = self._consumer.poll(max(0.0, deadline - time.monotonic()))
            if first is None:
                break
            for message in (first, *self._consumer.consume(_GULP, 0)):
                error = message.error()
                if error is None:
                    self._positions[message.partition()] = message.offset() + 1
                    messages.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._positions[message.partition()] = message.offset()
                else:
                    self._say(error)
            if messages:
                self._back()
                break
        return messages

    @property
    def problem(self) -> str:
        """In words, that no broker answers; empty where one does."""
        return f"{self._where} does not answer" if self._away else ""

    def close(self) -> None:
        """Leaves the broker."""
        self._consumer.close()

    def _ends(self, deadline: float) -> dict[int, int]:
        return {partition: self._end(partition, deadline) for partition in self._positions}

    def _parts_to(self, ends: dict[int, int]) -> Iterator[list[Message]]:
        # Positions, not counts: compaction and transactions leave holes, also before the end.
        while any(self._positions[partition] < end for partition, end in ends.items()):
            yield self.poll(_TICK_S)

    def _not_read(self, timeout_s: float) -> BrokerUnavailable:
        return BrokerUnavailable(f"{self._where} was not read to its end within {timeout_s:.0f} s: try again")

    def _end(self, partition: int, deadline: float) -> int:
        """The offset after the partition's last record; where nothing is kept, none is to be waited for."""
        place = TopicPartition(self._topic, partition)
        while True:
            left_s = max(0.1, deadline - time.monotonic())
            try:
                low, high = self._consumer.get_watermark_offsets(place, timeout=left_s)
                return int(high) if high > low else 0
            except KafkaException as error:  # also for a moment after the topic was made, or its leader moved
                if time.monotonic() + _TICK_S > deadline:
                    raise BrokerUnavailable(f"the end of {self._where} is not known: {error.args[0].str()}") from error
            time.sleep(_TICK_S)

    def _say(self, error: KafkaError) -> None:
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return  # librdkafka looks for the group's coordinator; nothing is asked of it here
        if not self._away:
            log.warning("Kafka, %s: %s; following it goes on", self._where, error.str())
        self._away = True

    def _back(self) -> None:
        if self._away:
            log.info("Kafka, %s: answers again", self._where)
        self._away = False
