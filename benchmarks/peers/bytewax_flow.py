"""A dataflow of Bytewax, by its guide: Kafka in, a batch through the model, Kafka out, with recovery on.

https://docs.bytewax.io/stable/guide/concepts/kafka.html and recovery.html: it uses no consumer group; offsets are in
its own recovery store, snapshot every 10 s, which makes it at least once.
"""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.peers.options import Options, parse_options
from benchmarks.peers.work import Work


def make_flow(options: Options) -> Dataflow:
    work = Work(options.model)

    def locate(messages: list[KafkaSourceMessage[bytes, bytes]]) -> list[KafkaSinkMessage[bytes, bytes]]:
        fixes = work.many([message.value for message in messages])
        return [KafkaSinkMessage(message.key, fix) for message, fix in zip(messages, fixes, strict=True)]

    flow = Dataflow("locate")
    brokers = [options.bootstrap]
    captures = kop.input("captures", flow, brokers=brokers, topics=[options.input], batch_size=options.batch)
    fixes = op.flat_map_batch("locate", captures.oks, locate)
    kop.output("positions", fixes, brokers=brokers, topic=options.output)
    return flow


def recovery_in(folder: Path) -> RecoveryConfig:
    """The recovery store of an earlier run, or a new one."""
    if not folder.exists():
        folder.mkdir()
        init_db_dir(folder, 1)
    return RecoveryConfig(folder)


def main() -> None:
    options = parse_options(__doc__)
    # It has no orderly end (its issue 268, open): an abrupt one is what recovery is for, and its sink flushes a batch.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    flow, recovery = make_flow(options), recovery_in(options.folder)
    cli_main(flow, epoch_interval=timedelta(seconds=10), recovery_config=recovery)


if __name__ == "__main__":
    main()
