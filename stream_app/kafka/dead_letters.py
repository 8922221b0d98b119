"""Dead letters: read from their topic, and sent back to where they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_app.errors import DeliveryFailed, RecordTooLarge, UnreadableRecord
from stream_app.kafka.connection import connection
from stream_app.kafka.follow import TopicFollower
from stream_app.kafka.topics import check_broker, dead_letter_bytes
from stream_app.records.dead_letter import REPLAYED, REPLAYED_FROM, REPLAYED_TO, REPLAYS, DeadLetter, replayed_offset
from stream_app.settings import Settings

_SILENCE_S = 30.0  # longest wait for the next records of the topic
_OPEN_S = 30.0
_COMMIT_S = 30.0
# A replay that is killed holds readers of the captures up until the broker ends its transaction.
_TRANSACTION_S = 15.0
_FENCED = (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)
# What the next try would meet again; all else ends the replay.
_REFUSALS = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: where it is, since when (Unix, ms), what its headers say, the capture's key and bytes."""

    partition: int
    offset: int
    at_ms: int
    about: DeadLetter
    key: bytes | None
    value: bytes = field(repr=False)
    size: int  # of the value, bytes
    replayed: bool

    @property
    def place(self) -> str:
        """As in 3:1234, partition and offset in the dead letters' topic."""
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters; what is empty or None does not narrow them down. Times are Unix, ms."""

    reasons: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    version: str | None = None
    topic: str | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is one of them."""
        about = letter.about
        return (
            (not self.reasons or about.code in self.reasons)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
            and (self.until_ms is None or letter.at_ms < self.until_ms)
            and (self.version is None or self.version in about.versions)
            and (self.topic is None or about.topic == self.topic)
        )


def letters(settings: Settings, wanted: Wanted) -> Iterator[Letter]:
    """Those that were there when it was asked, in the order of each partition. Raises BrokerUnavailable.

    The topic is read twice, a part at a time: what marks a letter as replayed comes after it.
    """
    marks = (_mark_of(message) for message in _messages(settings, wanted.since_ms))
    replayed = {mark for mark in marks if mark is not None}
    for message in _messages(settings, wanted.since_ms):
        if _mark_of(message) is None:
            letter = _letter_of(message, replayed)
            if wanted.takes(letter):
                yield letter


def letter_at(settings: Settings, partition: int, offset: int) -> Letter | None:
    """The dead letter at that place; None where there is none. Raises BrokerUnavailable."""
    with closing(TopicFollower(settings, settings.dead_letter_topic)) as follower:
        if not follower.go_to(partition, offset):
            return None
        found = (message for part in follower.parts_to_end(_SILENCE_S) for message in part)
        first = next(found, None)
        if first is None or first.offset() != offset or _mark_of(first) is not None:
            return None
        return _letter_of(first, {mark for mark in map(_mark_of, found) if mark is not None})


class Replayer:
    """Sends dead letters back, each together with the mark that it was: both become visible, or neither does.

    There is one replay of a topic at a time: a later one fences an earlier one. Not thread-safe.
    """

    def __init__(self, settings: Settings, to: str | None = None) -> None:
        """``to``: another topic than the letters' own. Raises BrokerUnavailable."""
        topics = check_broker(connection(settings)).list_topics(timeout=_OPEN_S).topics
        self._partitions = {topic: len(found.partitions) for topic, found in topics.items()}
        self._letters_topic, self._to = settings.dead_letter_topic, to
        self._config = {
            **connection(settings),
            "transactional.id": f"fixstream-dlq-replay-{settings.dead_letter_topic}",
            "transaction.timeout.ms": int(_TRANSACTION_S * 1e3),
            "compression.type": "lz4",
            "message.max.bytes": dead_letter_bytes(settings),
            "log_level": 0,
            "log.connection.close": False,
        }

    def open(self) -> None:
        """To be called before the letters are read: it ends what an earlier replay has left open.

        Raises DeliveryFailed.
        """
        self._producer = Producer(self._config)
        try:
            self._producer.init_transactions(_OPEN_S)
        except KafkaException as error:
            raise DeliveryFailed(f"no replay can begin: {error.args[0].str()}") from error

    def target(self, letter: Letter) -> str:
        """The topic that the letter goes to."""
        return self._to or letter.about.topic or ""

    def why_not(self, letter: Letter) -> str | None:
        """Why the letter cannot be sent, in words; None where it can."""
        about, target = letter.about, self.target(letter)
        if about.code in (RecordTooLarge.code, UnreadableRecord.code) and not letter.value:
            return f"it does not hold the capture's bytes ({about.code}); its headers name the original"
        if not target:
            return "its headers do not name a source topic; --to says where it goes"
        if target not in self._partitions:
            return f"there is no topic {target}; --to says where it goes instead"
        return None

    def send(self, batch: Sequence[Letter]) -> list[tuple[Letter, str]]:
        """Returns when the broker has committed the batch; those that it refused, and why. Raises DeliveryFailed."""
        refused: list[str] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None and error.code() in _REFUSALS:
                refused.append(error.str())

        try:
            self._commit(batch, delivered)
            return []
        except KafkaException as error:
            cause = error.args[0]
            self._abort(cause)
            if not refused:
                raise DeliveryFailed(f"the replay was given up: {cause.str()}") from error
        self.open()  # a refused record leaves a gap in the old producer's sequence numbers
        if len(batch) == 1:
            return [(batch[0], f"the broker refused it: {refused[0]}")]
        return [pair for letter in batch for pair in self.send([letter])]

    def _commit(self, batch: Sequence[Letter], delivered: Callable[[KafkaError | None, Message], None]) -> None:
        self._producer.begin_transaction()
        try:
            for letter in batch:
                self._produce(letter, delivered)
            self._producer.commit_transaction(_COMMIT_S)
        except KeyboardInterrupt:
            with suppress(KafkaException):  # it may be committed already
                self._producer.abort_transaction(_COMMIT_S)
            raise

    def _produce(self, letter: Letter, delivered: Callable[[KafkaError | None, Message], None]) -> None:
        about, target, produce = letter.about, self.target(letter), self._producer.produce
        # The original's partition where it is still there: the producer may have chosen it in another way than we do.
        back = about.partition is not None and target == about.topic and about.partition < self._partitions[target]
        where = {"partition": about.partition} if back else {}
        headers = [
            (REPLAYED_FROM, f"{self._letters_topic}-{letter.partition}-{letter.offset}".encode()),
            (REPLAYS, str(about.replays + 1).encode()),
        ]
        produce(target, letter.value, letter.key, headers=headers, on_delivery=delivered, **where)
        # In the letter's own partition: there it cannot leave before the letter does.
        mark = [(REPLAYED, str(letter.offset).encode()), (REPLAYED_TO, target.encode())]
        produce(self._letters_topic, headers=mark, partition=letter.partition, on_delivery=delivered)
        self._producer.poll(0)

    def _abort(self, cause: KafkaError) -> None:
        """Raises DeliveryFailed where this producer can do no more."""
        again = "run it again: what went back is marked and does not go twice"
        if cause.code() in _FENCED:
            raise DeliveryFailed(f"another replay of {self._letters_topic} has begun, which ended this one")
        if cause.fatal() or cause.retriable():
            raise DeliveryFailed(f"whether the last batch went back is not known ({cause.str()}); {again}")
        try:
            self._producer.abort_transaction(_COMMIT_S)
        except KafkaException as error:
            raise DeliveryFailed(f"a transaction cannot be ended: {error.args[0].str()}; {again}") from error


def _messages(settings: Settings, since_ms: int | None) -> Iterator[Message]:
    with closing(TopicFollower(settings, settings.dead_letter_topic)) as follower:
        if since_ms is not None:
            follower.go_to_time(since_ms)
        for part in follower.parts_to_end(_SILENCE_S):
            yield from part


def _mark_of(message: Message) -> tuple[int, int] | None:
    """Partition and offset of the dead letter that the record marks as replayed, if it is such a mark."""
    offset = replayed_offset(message.headers())
    return None if offset is None else (message.partition(), offset)


def _letter_of(message: Message, replayed: set[tuple[int, int]]) -> Letter:
    partition, offset, value = message.partition(), message.offset(), message.value() or b""
    return Letter(
        partition,
        offset,
        message.timestamp()[1],
        DeadLetter.from_headers(message.headers()),
        message.key(),
        value,
        len(value),
        (partition, offset) in replayed,
    )
