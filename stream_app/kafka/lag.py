"""How far behind a consumer group is, asked from outside of it."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_app.kafka.connection import connection
from stream_app.settings import Settings

_WAIT_S = 2.0
_AWAY = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)


class LagReader:
    """The lag of the workers' group on the captures topic. ``answers``: whether a broker did when it was last read."""

    def __init__(self, settings: Settings) -> None:
        self.answers = True
        self._topic = settings.captures_topic
        # A broker that is away is the followers' to report.
        quiet = {**connection(settings), "log_level": 0, "log.connection.close": False}
        self._admin = AdminClient(quiet)
        # It asks for the group's offsets and never joins it. librdkafka's admin client, asked for them, crashes while
        # the group's coordinator is not ready: rd_kafka_handle_OffsetFetch takes it for a member of a group.
        self._asker = Consumer({**quiet, "group.id": settings.group_id, "enable.auto.commit": False})

    def read(self) -> int | None:
        """Records that are not committed yet; None where that cannot be told, or nobody has committed."""
        try:
            found = self._admin.list_topics(self._topic, timeout=_WAIT_S).topics[self._topic]
            places = [TopicPartition(self._topic, partition) for partition in found.partitions]
            known = self._asker.committed(places, timeout=_WAIT_S) if places else []
            committed = {place.partition: place.offset for place in known if place.offset >= 0}
            latest = {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in committed}
            ends = self._admin.list_offsets(latest, request_timeout=_WAIT_S) if latest else {}
            lags = [max(0, end.result().offset - committed[place.partition]) for place, end in ends.items()]
        except KafkaException as error:
            self.answers = error.args[0].code() not in _AWAY
            return None
        self.answers = True
        return sum(lags) if lags else None

    def close(self) -> None:
        """Leaves the brokers."""
        self._asker.close()
