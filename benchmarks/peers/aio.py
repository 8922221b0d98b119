"""The clients of the peers on aiokafka, by its guide: offsets by hand, answers acknowledged by all replicas.

https://aiokafka.readthedocs.io/en/stable/consumer.html ("Manual vs automatic committing") and producer.html.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.peers.options import Options


def clients(options: Options) -> tuple[AIOKafkaConsumer, AIOKafkaProducer]:
    """Of the captures and of the answers; not started."""
    consumer = AIOKafkaConsumer(
        options.input,
        bootstrap_servers=options.bootstrap,
        group_id=options.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    return consumer, AIOKafkaProducer(bootstrap_servers=options.bootstrap, acks="all")
