"""Sends a receiver's slots to Kafka: compressed, in batches, each acknowledged, with a bounded queue."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_app.errors import DeliveryFailed, InvalidReception, Overloaded, RecordTooLarge, SettingsError
from stream_app.kafka.connection import connection
from stream_app.kafka.environment import kafka_environment, receptions_topic
from stream_app.records.capture import BYTES_PER_SAMPLE, Channel, key_of
from stream_app.records.codec import Codecs
from stream_app.records.reception import IqReception
from stream_app.records.validate import check_reception

if TYPE_CHECKING:
    from typing_extensions import Buffer

log = logging.getLogger(__name__)
_TICK_S = 0.05
_AFTER_ERROR_S = 5.0
_LARGEST_BYTES = 16 * 2**20  # FIXSTREAM_MAX_MESSAGE_BYTES' default, which topics are made with


class WhenFull(StrEnum):
    """What ``send`` does when the queue is full, as brokers are away or slow."""

    WAIT = "wait"  # for room, and after a while raise Overloaded
    DROP_OLDEST = "drop_oldest"  # and count it: the newest matters most


class ReceptionSender:
    """One receiver's way to its network's topic. Use as a context: at its end all that was sent is acknowledged.

    Not thread-safe. Where the brokers are, and how they let this client in, is said by the environment, as for every
    FixStream command: FIXSTREAM_BOOTSTRAP_SERVERS and FIXSTREAM_KAFKA_*.
    """

    def __init__(
        self,
        bootstrap: str | None = None,
        *,
        network: str,
        receiver_id: str,
        latitude: float,
        longitude: float,
        altitude_m: float,
        sample_rate_hz: float,
        datatype: str,
        center_frequency_hz: float,
        start_sigma_ns: float | None = None,
        time_sync: str | None = None,
        gain_db: float | None = None,
        antenna_id: str | None = None,
        topic: str | None = None,
        when_full: WhenFull = WhenFull.WAIT,
        wait_s: float = 5.0,
        queue_bytes: int = 64 * 2**20,
        linger_ms: float = 20.0,
        compression: str = "none",
        delivery_timeout_s: float = 60.0,
        kafka: Mapping[str, Any] | None = None,
    ) -> None:
        """Fields are those of ``schemas/iq_reception``; those that change from slot to slot are given to ``send``.

        ``topic``: FIXSTREAM_RECEPTIONS_TOPIC if None. ``queue_bytes``: of what brokers have not acknowledged yet, at
        most. ``delivery_timeout_s``: after so long a reception is given up. ``kafka``: librdkafka options that go
        before all others. Raises SettingsError, or InvalidReception for fields that cannot be true.
        """
        if datatype not in BYTES_PER_SAMPLE:
            raise InvalidReception(f"datatype {datatype!r} is not known: use one of {', '.join(BYTES_PER_SAMPLE)}")
        if queue_bytes < 1:
            raise SettingsError(f"queue_bytes is {queue_bytes}: nothing could be sent")
        self._network, self._frequency = network, float(center_frequency_hz)
        self._fixed = {
            "receiver_id": receiver_id,
            "latitude": float(latitude),
            "longitude": float(longitude),
            "altitude_m": float(altitude_m),
            "datatype": datatype,
            "antenna_id": antenna_id,
            "time_sync": time_sync,
        }
        self._rate, self._sigma, self._gain = float(sample_rate_hz), start_sigma_ns, gain_db
        self._width = BYTES_PER_SAMPLE[datatype]
        self._codecs = Codecs()
        self._key = self._check()
        self._topic = topic or receptions_topic()
        self._when_full, self._wait_s, self._queue_bytes = WhenFull(when_full), wait_s, queue_bytes
        # What librdkafka has cannot be dropped any more: a quarter, where the oldest are to be.
        self._window = queue_bytes if self._when_full is WhenFull.WAIT else max(1, queue_bytes // 4)
        self._config: dict[str, Any] = {
            **connection(kafka_environment(bootstrap)),
            "enable.idempotence": True,
            "compression.type": compression,
            "linger.ms": linger_ms,
            "batch.size": 2**20,
            "message.max.bytes": _LARGEST_BYTES,
            # What is queued is bounded here.
            "queue.buffering.max.kbytes": 2**21 - 1,
            "delivery.timeout.ms": round(delivery_timeout_s * 1e3),
            # librdkafka would repeat itself while brokers are away; _heard does not.
            "log_level": 0,
            **(kafka or {}),
            "on_delivery": self._delivered,
            "error_cb": self._heard,
        }
        self._producer = self._made()
        self._queue: deque[bytes] = deque()  # oldest first
        self._queued = self._under_way = 0  # bytes that wait here, and that librdkafka has
        self._failed, self._why, self._last_heard = 0, "", ""
        self.sent = 0  # receptions that brokers have acknowledged
        self.dropped = 0  # receptions that gave way to newer ones

    def __enter__(self) -> Self:
        """The sender."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes; after an exception without another one."""
        if error is None:
            self.close()
            return
        try:
            self.close(_AFTER_ERROR_S)
        except DeliveryFailed as failure:
            log.warning("%s", failure)

    def send(
        self,
        *,
        slot_at_us: int,
        start_time_ns: int,
        samples: Buffer,
        sample_rate_hz: float | None = None,
        start_sigma_ns: float | None = None,
        gain_db: float | None = None,
        loss_ratio: float | None = None,
        overload: bool | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Puts a slot into the queue; what is not given is the constructor's. ``samples``: whole I/Q samples.

        Floats are not looked at: the worker refuses what is not finite. Raises DeliveryFailed for earlier receptions
        that were not acknowledged, each once, and Overloaded where the queue stayed full: in both cases this one was
        not taken. Raises InvalidReception or RecordTooLarge where this one cannot be sent.
        """
        data = samples if isinstance(samples, bytes) else bytes(memoryview(samples))
        count, rest = divmod(len(data), self._width)
        if rest or count < 2:
            raise InvalidReception(f"{len(data)} bytes are no 2 or more samples of {self._width} bytes")
        channel = Channel(
            **self._fixed,  # type: ignore[arg-type]
            start_time_ns=start_time_ns,
            sample_rate_hz=self._rate if sample_rate_hz is None else sample_rate_hz,
            sample_count=count,
            samples=data,
            start_sigma_ns=self._sigma if start_sigma_ns is None else start_sigma_ns,
            gain_db=self._gain if gain_db is None else gain_db,
            loss_ratio=loss_ratio,
            overload=overload,
        )
        value = self._codecs.encode_reception(
            IqReception(self._network, self._frequency, slot_at_us, channel, dict(metadata or {}))
        )
        self._poll(0)
        self._raise_failures()
        if self._when_full is WhenFull.WAIT:
            self._wait_for_room(len(value))
            self._produce(value)
        else:
            self._push(value)

    def flush(self, timeout_s: float = 60.0) -> None:
        """Returns when all is acknowledged. Raises DeliveryFailed for what was not, or not in time."""
        deadline = time.monotonic() + timeout_s
        while self._queue or self._under_way:
            self._pump()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                waiting = self._queued + self._under_way
                raise DeliveryFailed(
                    f"{waiting} bytes of receptions were not acknowledged within {timeout_s:.0f} s{self._hint()}"
                )
            # Not Producer.flush, which would not see the queue that is kept here.
            self._poll(min(left_s, _TICK_S))
        self._raise_failures()

    def close(self, timeout_s: float = 60.0) -> None:
        """Waits for what is under way. Raises DeliveryFailed."""
        try:
            self.flush(timeout_s)
        finally:
            self._queue.clear()
            self._producer.purge()
            self._producer.flush(1)
            self._queued = self._under_way = 0

    def _check(self) -> bytes:
        """The key, if all that is fixed can be true."""
        probe = Channel(
            **self._fixed | {"datatype": "cu8"},  # type: ignore[arg-type]
            start_time_ns=0,
            sample_rate_hz=self._rate,
            sample_count=2,
            samples=bytes(4),
            start_sigma_ns=self._sigma,
            gain_db=self._gain,
        )
        reception = IqReception(self._network, self._frequency, 0, probe)
        check_reception(reception)
        self._codecs.encode_reception(reception)
        return key_of(reception)

    def _made(self) -> Producer:
        try:
            return Producer(self._config, logger=log)
        except (KafkaException, TypeError, ValueError) as error:
            raise SettingsError(f"the options of the connection to Kafka cannot be used: {error}") from error

    def _push(self, value: bytes) -> None:
        self._queue.append(value)
        self._queued += len(value)
        self._pump()
        while self._queued > self._queue_bytes - self._window and len(self._queue) > 1:
            self._queued -= len(self._queue.popleft())
            self.dropped += 1

    def _pump(self) -> None:
        while self._queue and (not self._under_way or self._under_way + len(self._queue[0]) <= self._window):
            value = self._queue.popleft()
            self._queued -= len(value)
            self._produce(value)

    def _wait_for_room(self, size: int) -> None:
        deadline = time.monotonic() + self._wait_s
        while self._under_way and self._under_way + size > self._window:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise Overloaded(
                    f"no room for a reception within {self._wait_s:g} s: {self._under_way} bytes wait for the brokers"
                    f"{self._hint()}; send less, or choose WhenFull.DROP_OLDEST"
                )
            self._poll(min(left_s, _TICK_S))

    def _produce(self, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, self._key)
                break
            except BufferError:  # librdkafka's own limit on the number of messages
                self._poll(_TICK_S)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise RecordTooLarge(
                        f"a reception of {len(value)} bytes is larger than a record may be: send shorter slots", [value]
                    ) from error
                raise DeliveryFailed(f"a reception for {self._topic} cannot be sent: {error.args[0].str()}") from error
        self._under_way += len(value)

    def _poll(self, wait_s: float) -> None:
        try:
            self._producer.poll(wait_s)
        except KafkaException as error:  # a fatal one: nothing more comes of this producer
            self._why = self._why or f"the producer failed for good: {error.args[0].str()}"
            self._failed += len(self._producer)
            self._under_way = 0
            self._producer = self._made()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        self._under_way -= len(message)
        if error is None:
            self.sent += 1
            if self._last_heard:
                log.info("Kafka answers again")
                self._last_heard = ""
        elif error.code() == KafkaError._MSG_TIMED_OUT and self._when_full is WhenFull.DROP_OLDEST:
            self.dropped += 1
        elif error.code() != KafkaError._PURGE_QUEUE:
            self._failed += 1
            self._why = self._why or error.str()

    def _heard(self, error: KafkaError) -> None:
        if not self._last_heard:
            log.warning("Kafka: %s; sending is tried again", error.str())
        self._last_heard = error.str()

    def _raise_failures(self) -> None:
        if self._failed:
            failed, why = self._failed, self._why
            self._failed, self._why = 0, ""
            raise DeliveryFailed(f"{failed} receptions for {self._topic} were not acknowledged: {why}{self._hint()}")

    def _hint(self) -> str:
        return f" (last heard: {self._last_heard})" if self._last_heard else ""
