"""What a client may do at the brokers, asked before it does it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from stream_app.errors import NotAuthorized
from stream_app.kafka.connection import principal
from stream_app.settings import Settings

REFUSALS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class Rights:
    """Topics to read from, topics to write to, consumer groups to be in."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def worker_rights(settings: Settings) -> Rights:
    """What a worker cannot do without."""
    return Rights(
        read=(settings.captures_topic, settings.control_topic, settings.worker_topic),
        write=(settings.positions_topic, settings.dead_letter_topic, settings.status_topic, settings.shadow_topic),
        groups=(settings.group_id, faust_group(settings)),
    )


def assembler_rights(settings: Settings) -> Rights:
    """What an assembler cannot do without; ``settings.group_id`` is its own."""
    return Rights(
        read=(settings.receptions_topic,),
        write=(settings.captures_topic, settings.dead_letter_topic),
        groups=(settings.group_id,),
    )


def tracker_rights(settings: Settings) -> Rights:
    """What a tracker cannot do without; ``settings.group_id`` is its own."""
    return Rights(
        read=(settings.positions_topic, settings.tracks_topic),
        write=(settings.tracks_topic,),
        groups=(settings.group_id,),
    )


def faust_group(settings: Settings) -> str:
    """The consumer group of Faust's own topic."""
    return f"{settings.group_id}-worker"


def describe_topics(admin: AdminClient, topics: list[str], timeout_s: float) -> dict[str, Any]:
    """By topic, confluent-kafka's TopicDescription or the KafkaError in its place."""
    futures = admin.describe_topics(
        TopicCollection(topics), include_authorized_operations=True, request_timeout=timeout_s
    )
    return _results(futures)


def check_rights(admin: AdminClient, settings: Settings, rights: Rights, timeout_s: float = 10.0) -> None:
    """Raises NotAuthorized, which names everything that is missing.

    What the brokers do not tell (a topic that is not there yet, a coordinator that moves) is taken for granted.
    """
    missing: list[str] = []
    wanted = [(topic, AclOperation.READ) for topic in rights.read]
    wanted += [(topic, AclOperation.WRITE) for topic in rights.write]
    if wanted:
        found = describe_topics(admin, sorted({topic for topic, _ in wanted}), timeout_s)
        missing += [f"{what.name} on topic {topic}" for topic, what in wanted if not _allows(found[topic], what)]
    if rights.groups:
        groups = admin.describe_consumer_groups(
            list(rights.groups), include_authorized_operations=True, request_timeout=timeout_s
        )
        for group, answer in _results(groups).items():
            if not _allows(answer, AclOperation.READ):
                missing.append(f"READ on group {group}")
    if missing:
        raise refused(settings, missing)


def refused(settings: Settings, missing: list[str]) -> NotAuthorized:
    """The error that names what is missing, such as ``READ on topic positions``."""
    return NotAuthorized(
        f"Kafka at {settings.bootstrap_servers} does not let {principal(settings)} do its work; missing are the ACLs "
        f"{', '.join(missing)}: docs/security.md says how to add them"
    )


def _allows(answer: Any, operation: AclOperation) -> bool:
    if isinstance(answer, KafkaError):
        return answer.code() not in REFUSALS
    # Brokers without ACLs may leave the operations out.
    return answer.authorized_operations is None or operation in answer.authorized_operations


def _results(futures: Mapping[str, Future[Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, future in futures.items():
        try:
            found[name] = future.result()  # the request's own time-out ends it
        except KafkaException as error:
            found[name] = error.args[0]
    return found
