"""Creates the topics with sensible configurations, and says clearly when no broker answers."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from stream_app.errors import BrokerUnavailable
from stream_app.settings import Settings

_DAY_MS = 86_400_000
_HEADERS_BYTES = 65_536


def dead_letter_bytes(settings: Settings) -> int:
    """The largest dead letter: the largest capture, that may have come better compressed, and its headers."""
    return 2 * settings.max_message_bytes + _HEADERS_BYTES


def check_broker(bootstrap: str, timeout_s: float = 5.0) -> AdminClient:
    """An admin client of a cluster that answers. Raises BrokerUnavailable."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "socket.timeout.ms": int(timeout_s * 1e3), "log_level": 0})
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise BrokerUnavailable(
            f"no Kafka broker answers at {bootstrap} within {timeout_s:.0f} s: start one, "
            "or set FIXSTREAM_BOOTSTRAP_SERVERS to where it is"
        ) from error
    return admin


def ensure_topics(settings: Settings, timeout_s: float = 10.0) -> None:
    """Creates what is missing; topics that exist stay as they are. Raises BrokerUnavailable."""
    admin = check_broker(settings.bootstrap_servers, timeout_s)
    day = {"retention.ms": str(_DAY_MS)}
    compacted = {"cleanup.policy": "compact"}
    # Topic: its partitions, and its configuration.
    wanted: dict[str, tuple[int, dict[str, str]]] = {
        settings.captures_topic: (
            settings.partitions,
            {"max.message.bytes": str(settings.max_message_bytes), **day},
        ),
        settings.positions_topic: (settings.partitions, {"retention.ms": str(7 * _DAY_MS)}),
        settings.shadow_topic: (settings.partitions, day),
        settings.dead_letter_topic: (
            settings.partitions,
            {"max.message.bytes": str(dead_letter_bytes(settings)), "retention.ms": str(30 * _DAY_MS)},
        ),
        # The lag keeps earlier deployments, which a rollback and a fresh worker may need.
        settings.control_topic: (1, {**compacted, "min.compaction.lag.ms": str(30 * _DAY_MS)}),
        settings.status_topic: (1, {**compacted, "delete.retention.ms": str(_DAY_MS)}),
        settings.worker_topic: (1, day),
    }
    missing = set(wanted) - set(admin.list_topics(timeout=timeout_s).topics)
    new = [
        NewTopic(
            topic,
            num_partitions=wanted[topic][0],
            replication_factor=settings.replication_factor,
            config=wanted[topic][1],
        )
        for topic in sorted(missing)
    ]
    if not new:
        return
    for topic, future in admin.create_topics(new, operation_timeout=timeout_s).items():
        try:
            future.result(timeout_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerUnavailable(f"topic {topic} cannot be created: {error.args[0].str()}") from error
