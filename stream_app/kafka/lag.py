"""How far behind a consumer group is, asked from outside of it."""

from __future__ import annotations

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_app.kafka.connection import connection
from stream_app.settings import Settings

_WAIT_S = 2.0
_AWAY = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)


class LagReader:
    """The lag of the workers' group on the captures topic. ``answers``: whether a broker did when it was last read."""

    def __init__(self, settings: Settings) -> None:
        self.answers = True
        self._group, self._topic = settings.group_id, settings.captures_topic
        # A broker that is away is the followers' to report.
        self._admin = AdminClient({**connection(settings), "log_level": 0, "log.connection.close": False})

    def read(self) -> int | None:
        """Records that are not committed yet; None where that cannot be told, or nobody has committed."""
        try:
            asked = self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(self._group)], request_timeout=_WAIT_S
            )
            places = asked[self._group].result().topic_partitions
            committed = {p.partition: p.offset for p in places if p.topic == self._topic and p.offset >= 0}
            latest = {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in committed}
            ends = self._admin.list_offsets(latest, request_timeout=_WAIT_S) if latest else {}
            lags = [max(0, end.result().offset - committed[place.partition]) for place, end in ends.items()]
        except KafkaException as error:
            self.answers = error.args[0].code() not in _AWAY
            return None
        self.answers = True
        return sum(lags) if lags else None
