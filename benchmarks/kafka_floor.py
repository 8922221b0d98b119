"""F2: consumes and produces with confluent-kafka and does nothing with the records. Its answer is the record's key."""

from __future__ import annotations

import argparse
import signal

from confluent_kafka import Consumer, Producer

_BATCH = 500


def main() -> None:
    """Works until SIGTERM."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("bootstrap", "input", "output", "group", "model"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--answer-bytes", type=int, default=300, help="the size of a fix")
    options = parser.parse_args()
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap,
            "group.id": options.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 16_777_216,
        }
    )
    consumer.subscribe([options.input])
    producer = Producer({"bootstrap.servers": options.bootstrap, "enable.idempotence": True, "compression.type": "lz4"})
    answer = bytes(options.answer_bytes)
    while not stopping:
        messages = consumer.consume(_BATCH, 0.1)
        for message in messages:
            message.value()
            while True:
                try:
                    producer.produce(options.output, answer, message.key())
                    break
                except BufferError:
                    producer.poll(0.01)
        producer.poll(0)
        if messages:
            producer.flush()
            consumer.commit(asynchronous=True)
    consumer.close()


if __name__ == "__main__":
    main()
