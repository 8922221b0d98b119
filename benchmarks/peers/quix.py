"""A StreamingDataFrame of Quix Streams, by its guide: ``app.dataframe(topic).apply(...).to_topic(...)``.

https://quix.io/docs/quix-streams/introduction.html. At least once is its default: it flushes the producer and commits
every ``commit_interval`` (5 s). It hands over one message at a time; batches are windows, which need state and a key.
"""

from __future__ import annotations

from quixstreams import Application

from benchmarks.peers.options import parse_options
from benchmarks.peers.work import Work


def main() -> None:
    options = parse_options(__doc__)
    work = Work(options.model)
    app = Application(
        broker_address=options.bootstrap,
        consumer_group=options.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=options.folder,
        loglevel="WARNING",
    )
    captures = app.topic(options.input, key_deserializer="bytes", value_deserializer="bytes")
    positions = app.topic(options.output, key_serializer="bytes", value_serializer="bytes")
    app.dataframe(captures).apply(work.one).to_topic(positions)
    app.run()  # until SIGTERM, which it handles


if __name__ == "__main__":
    main()
