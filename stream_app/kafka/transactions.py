"""Transactions of one worker: its answers and the offsets of what they answer become visible together or not at all."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stream_app.errors import BrokerUnavailable, DeliveryFailed, RecordTooLarge
from stream_app.kafka.connection import connection
from stream_app.kafka.offsets import Place, places_of
from stream_app.kafka.records import Output, Partition
from stream_app.kafka.rights import REFUSALS, refused
from stream_app.kafka.topics import dead_letter_bytes
from stream_app.settings import Settings

log = logging.getLogger(__name__)
_FLUSH_S = 1.0
_GRACE_S = 2.0
_OPEN_S = 15.0
_OFFSETS_S = 5.0
_FULL_PAUSE_S = 0.01
_NO_NOTES: Mapping[Partition, str] = {}


class Transactions:
    """One transactional producer, made anew when one of its transactions fails. Blocking, and for one thread at a time.

    Zombies are fenced by the consumer group's generation, which goes along with the offsets (KIP-447). So the
    transactional id is new with every start, and two workers of one name cannot fence each other for ever.
    """

    def __init__(self, settings: Settings, worker: str) -> None:
        self._settings = settings
        self._id = f"{settings.group_id}-{worker}-{uuid4().hex[:8]}"
        self._producer: Producer | None = None
        # Only asks for the group's offsets: the channel's own consumer does not answer while its thread polls, and an
        # admin client that goes while the broker is away may take the process along (librdkafka 2.16).
        self._offsets: Consumer | None = None
        self._timeout_s = settings.transaction_timeout_ms / 1e3  # then the broker ends it, whoever waits

    def open(self) -> None:
        """Returns when the transaction coordinator knows this worker. Raises BrokerUnavailable or NotAuthorized."""
        try:
            self._opened()
        except DeliveryFailed as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].code() in REFUSALS:
                ids = f"WRITE on transactional ids that begin with {self._settings.group_id}"
                raise refused(self._settings, [ids]) from error
            raise BrokerUnavailable(str(error)) from error

    def commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[Partition, int],
        member: object,
        notes: Mapping[Partition, str] = _NO_NOTES,
    ) -> None:
        """Sends ``outputs`` and commits ``offsets`` in one transaction, as ``member`` of the consumer group.

        ``notes``: the metadata of a partition's offset, text of at most 4096 bytes (offset.metadata.max.bytes).

        Raises RecordTooLarge or DeliveryFailed, after which nothing is visible, or, where the broker fell silent at
        the very end, perhaps all: the group's committed offsets tell.
        """
        producer, too_large = self._opened(), list[Output]()
        try:
            producer.begin_transaction()
            for output in outputs:
                self._produce(producer, output, too_large)
            places = [TopicPartition(*place, offset, notes.get(place, "")) for place, offset in offsets.items()]
            self._finish(producer, places, member)
        except queue.Empty:
            self._renew()
            raise DeliveryFailed("the client library did not come back from a transaction") from None
        except KafkaException as error:
            self._give_up(producer, error.args[0])
            if too_large:
                raise RecordTooLarge("the broker refused records for their size", too_large) from error
            raise DeliveryFailed(f"a transaction was given up: {error.args[0].str()}") from error

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The group's offsets as the broker has them, see ``places``."""
        return {partition: place.offset for partition, place in self.places(partitions).items()}

    def places(self, partitions: Sequence[Partition]) -> dict[Partition, Place]:
        """The group's offsets and their notes as the broker has them; transactions that are open are waited for.

        Raises DeliveryFailed where the broker does not say.
        """
        self._opened()  # ends what was begun before: it must not be committed after the answer
        if self._offsets is None:
            self._offsets = Consumer(
                {**connection(self._settings), "group.id": self._settings.group_id, "log_level": 2}
            )
        try:
            found = self._offsets.committed([TopicPartition(*place) for place in partitions], timeout=_OFFSETS_S)
        except KafkaException as error:
            raise DeliveryFailed(f"the group's offsets are not known: {error.args[0].str()}") from error
        if unknown := next((place.error for place in found if place.error is not None), None):
            raise DeliveryFailed(f"the group's offsets are not known: {unknown.str()}")
        return places_of(found)

    def _opened(self) -> Producer:
        if self._producer is not None:
            return self._producer
        producer = Producer(
            {
                **connection(self._settings),
                "transactional.id": self._id,
                "transaction.timeout.ms": self._settings.transaction_timeout_ms,
                "compression.type": "lz4",
                "linger.ms": 20,  # the commit sends what lingers; sent singly, each record wakes a thread
                # A transaction that follows at once is put off until the broker has ended the one before, some
                # milliseconds; by default it is asked again after 100. Doubles with each retry.
                "retry.backoff.ms": 5,
                "log_level": 2,  # what goes wrong is raised, and said by whoever tries again
                "message.max.bytes": dead_letter_bytes(self._settings),
            },
            logger=log,
        )
        try:
            # Also ends what an earlier producer of this id has left open.
            producer.init_transactions(_OPEN_S)
        except KafkaException as error:
            raise DeliveryFailed(f"no transaction can be begun: {error.args[0].str()}") from error
        self._producer = producer
        return producer

    def _produce(self, producer: Producer, output: Output, too_large: list[Output]) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(output)

        while True:
            try:
                producer.produce(
                    output.topic,
                    output.value,
                    output.key,
                    output.partition,
                    timestamp=output.at_ms,
                    headers=list(output.headers),
                    on_delivery=delivered,
                )
                return
            except BufferError:
                producer.poll(_FULL_PAUSE_S)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    too_large.append(output)
                raise

    def _finish(self, producer: Producer, places: list[TopicPartition], member: object) -> None:
        """The last two steps, in a thread that may be left behind: raises queue.Empty where they do not end.

        When its broker ends at the wrong moment, send_offsets_to_transaction never returns, whatever its time-out
        (librdkafka 2.16). The producer that takes over fences what is left behind.
        """
        outcome: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

        def steps() -> None:
            try:
                producer.send_offsets_to_transaction(places, member, self._timeout_s)
                producer.commit_transaction(self._timeout_s)
            except Exception as error:
                outcome.put(error)
            else:
                outcome.put(None)

        threading.Thread(target=steps, name="transaction", daemon=True).start()
        error = outcome.get(timeout=2 * self._timeout_s + _GRACE_S)
        if error is not None:
            raise error

    def _give_up(self, producer: Producer, error: KafkaError) -> None:
        """Ends the transaction by a new producer of the same id: after some errors an old one stays unusable."""
        log.info("A transaction ended with %s; its producer is made anew", error.name())
        producer.purge()
        if not error.fatal():  # then callbacks can no longer be served
            producer.flush(_FLUSH_S)  # every record's fate is told: which were too large
        self._renew()

    def _renew(self) -> None:
        self._producer = None
        with suppress(DeliveryFailed):  # then the broker ends the transaction when its time is over
            self._opened()
