"""Three Apache Kafka nodes that hold everything three times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException

from stream_app.errors import BrokerUnavailable
from stream_app.kafka.topics import check_broker
from tests.support.brokers import KraftBroker
from tests.support.worker import eventually

NODES = 3
_HEAP = "384m"
_COPIES = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "transaction.state.log.num.partitions": "5",
    "broker.session.timeout.ms": "3000",  # a lost node is noticed soon
    "broker.heartbeat.interval.ms": "500",
    "replica.lag.time.max.ms": "5000",
}


class KraftCluster:
    """Brokers and controllers at once; a context manager. One of the three may be away."""

    def __init__(self, folder: Path, more: Mapping[str, str]) -> None:
        places = [folder / f"node{number}" for number in range(1, NODES + 1)]
        for place in places:
            place.mkdir()
        self.nodes = [KraftBroker(place, more={**more, **_COPIES}, heap=_HEAP) for place in places]
        voters = ",".join(f"{number}@127.0.0.1:{node.controller}" for number, node in enumerate(self.nodes, 1))
        for number, node in enumerate(self.nodes, 1):
            node.more |= {"node.id": str(number), "controller.quorum.voters": voters}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Starts all nodes; returns when each knows of all."""
        with self._stack as stack:
            for node in self.nodes:
                node.format()
                node.launch()
                stack.callback(node.kill)  # who stops them one after the other waits for a majority in vain
            wait_whole(self.nodes)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all nodes."""
        self._stack.close()


def wait_whole(nodes: Sequence[KraftBroker]) -> None:
    """Returns when each node is there, and every partition in sync on all of them."""
    bootstrap = ",".join(node.bootstrap for node in nodes)

    def whole() -> bool:
        try:
            found = check_broker({"bootstrap.servers": bootstrap}, 2.0).list_topics(timeout=2.0)
        except (BrokerUnavailable, KafkaException):
            return False
        partitions = [p for topic in found.topics.values() for p in topic.partitions.values()]
        return len(found.brokers) == len(nodes) and all(len(p.isrs) == len(nodes) for p in partitions)

    eventually(whole, 90, "every copy in sync on every node")
