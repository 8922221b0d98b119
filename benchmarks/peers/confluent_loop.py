"""A loop on confluent-kafka, by its guide: consume, produce, flush, then commit asynchronously every so many messages.

https://docs.confluent.io/kafka-clients/python/current/overview.html ("Asynchronous commits", "Delivery guarantees").
"""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from benchmarks.peers.options import WITHIN_S, on_sigterm, parse_options
from benchmarks.peers.work import Work

COMMIT_EVERY = 100  # messages: the guide warns of a flush and a commit for each


def _delivered(error: KafkaError | None, _: Message) -> None:
    if error is not None:
        raise KafkaException(error)


def main() -> None:
    options, stopping = parse_options(__doc__), on_sigterm()
    work = Work(options.model)
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap,
            "group.id": options.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": options.bootstrap})
    consumer.subscribe([options.input])
    uncommitted = 0

    def checkpoint() -> None:
        """Offsets go only after all that was produced has been acknowledged."""
        nonlocal uncommitted
        if uncommitted:
            producer.flush()
            consumer.commit(asynchronous=True)
            uncommitted = 0

    try:
        while not stopping.is_set():
            messages = consumer.consume(num_messages=options.batch, timeout=WITHIN_S)
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
            if messages:
                for message, fix in zip(messages, work.many([m.value() for m in messages]), strict=True):
                    producer.produce(options.output, fix, message.key(), on_delivery=_delivered)
                producer.poll(0)
                uncommitted += len(messages)
            if uncommitted >= COMMIT_EVERY or not messages:
                checkpoint()
        checkpoint()
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
