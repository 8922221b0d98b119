"""Creates the topics with sensible configurations, and says clearly when no broker answers."""

from __future__ import annotations

import re
import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from stream_app.errors import AuthenticationFailed, BrokerUnavailable, SettingsError
from stream_app.kafka.connection import ClientConfig, connection
from stream_app.kafka.rights import REFUSALS, Rights, check_rights, describe_topics, refused
from stream_app.settings import Settings

_DAY_MS = 86_400_000
_HEADERS_BYTES = 65_536
_LOOK_S = 1.0  # how often the reasons of a refusal are looked at
_PAUSE_S = 0.05
_NO_RIGHTS = Rights()


def dead_letter_bytes(settings: Settings) -> int:
    """The largest dead letter: the largest capture, that may have come better compressed, and its headers."""
    return 2 * settings.max_message_bytes + _HEADERS_BYTES


def check_broker(where: ClientConfig, timeout_s: float = 5.0) -> AdminClient:
    """An admin client of a cluster that answers. Raises BrokerUnavailable, AuthenticationFailed or SettingsError."""
    said: list[KafkaError] = []
    options = {"socket.timeout.ms": int(timeout_s * 1e3), "log_level": 0, "error_cb": said.append}
    try:
        admin = AdminClient({**where, **options})
    except KafkaException as error:  # a file of keys or certificates that OpenSSL does not take
        raise SettingsError(f"the options of Kafka's security cannot be used: {error.args[0].str()}") from error
    address, deadline = where["bootstrap.servers"], time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        try:
            admin.list_topics(timeout=max(0.1, min(left_s, _LOOK_S)))
            return admin
        except KafkaException as error:
            admin.poll(_PAUSE_S)  # fills ``said``
            refusal = _refusal(said, final=left_s <= _LOOK_S)
            if refusal is not None:
                user = f" (user {where['sasl.username']})" if "sasl.username" in where else ""
                raise AuthenticationFailed(
                    f"Kafka at {address} and this client{user} do not accept each other: {refusal}; check "
                    "FIXSTREAM_KAFKA_SECURITY_PROTOCOL and the options beside it"
                ) from error
            if left_s <= _LOOK_S:
                raise BrokerUnavailable(
                    f"no Kafka broker answers at {address} within {timeout_s:.0f} s "
                    f"({where.get('security.protocol', 'PLAINTEXT')}): start one, or set FIXSTREAM_BOOTSTRAP_SERVERS "
                    "to where it is and FIXSTREAM_KAFKA_SECURITY_PROTOCOL to what it speaks"
                ) from error


def _refusal(said: list[KafkaError], final: bool) -> str | None:
    """What librdkafka said of credentials, without its own decoration. Only at the end, what may be passing, too."""
    for error in said:
        words = error.str()
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL) or (final and "SSL" in words):
            plain = re.sub(r"^\S+/\S+: | \(after [^)]*\)$", "", words)
            return plain.replace("ssl.ca.location", "FIXSTREAM_KAFKA_CA_FILE")
    return None


def ensure_topics(settings: Settings, rights: Rights = _NO_RIGHTS, timeout_s: float = 10.0) -> None:
    """Creates what is missing, then checks ``rights``; topics that exist stay as they are.

    A topic that this client may not see or make is its affair only where ``rights`` name it. Raises BrokerUnavailable,
    AuthenticationFailed or NotAuthorized.
    """
    admin = check_broker(connection(settings), timeout_s)
    _create_missing(admin, settings, rights, timeout_s)
    check_rights(admin, settings, rights, timeout_s)


def _create_missing(admin: AdminClient, settings: Settings, rights: Rights, timeout_s: float) -> None:
    day = {"retention.ms": str(_DAY_MS)}
    compacted = {"cleanup.policy": "compact"}
    # Topic: its partitions, and its configuration.
    wanted: dict[str, tuple[int, dict[str, str]]] = {
        settings.receptions_topic: (
            settings.partitions,
            {"max.message.bytes": str(settings.max_message_bytes), **day},
        ),
        settings.captures_topic: (
            settings.partitions,
            {"max.message.bytes": str(settings.max_message_bytes), **day},
        ),
        settings.positions_topic: (settings.partitions, {"retention.ms": str(7 * _DAY_MS)}),
        # As many partitions as positions has: a track is in the partition that its fixes are in.
        settings.tracks_topic: (
            settings.partitions,
            # Small segments, compacted soon: a tracker that starts reads its partitions whole.
            {
                "cleanup.policy": "compact,delete",
                "retention.ms": str(7 * _DAY_MS),
                "segment.bytes": str(16 * 2**20),
                "segment.ms": str(_DAY_MS // 24),
                "min.cleanable.dirty.ratio": "0.2",
            },
        ),
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
    found = describe_topics(admin, list(wanted), timeout_s)
    new = [
        NewTopic(topic, num_partitions=partitions, replication_factor=settings.replication_factor, config=config)
        for topic, (partitions, config) in wanted.items()
        if isinstance(found[topic], KafkaError) and found[topic].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    ]
    if not new:
        return
    forbidden = []
    for topic, future in admin.create_topics(new, operation_timeout=timeout_s).items():
        try:
            future.result(timeout_s)
        except KafkaException as error:
            code = error.args[0].code()
            if code in REFUSALS:
                forbidden += [topic] if topic in (*rights.read, *rights.write) else []
            elif code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerUnavailable(f"topic {topic} cannot be created: {error.args[0].str()}") from error
    if forbidden:
        raise refused(settings, [f"CREATE on topic {topic}, which is not there" for topic in forbidden])
