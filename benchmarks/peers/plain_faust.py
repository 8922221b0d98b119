"""An agent on faust-streaming, by its guide: ``async for`` over the stream's events, or over batches of them.

https://faust-streaming.github.io/faust/userguide/streams.html ("take" buffers up values; ``take_events`` is the same
with their keys). A Faust app at its default guarantee, at least once.
"""

from __future__ import annotations

import faust

from benchmarks.peers.options import WITHIN_S, Options, parse_options
from benchmarks.peers.work import Work


def make_app(options: Options) -> faust.App:
    work = Work(options.model)
    app = faust.App(
        options.group,
        broker=f"kafka://{options.bootstrap}",
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        web_enabled=False,
        datadir=options.folder,
    )
    captures = app.topic(options.input, key_type=bytes, value_type=bytes)
    positions = app.topic(options.output, key_type=bytes, value_type=bytes)

    async def one_by_one(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            await positions.send(key=event.key, value=work.one(event.value))

    async def in_batches(stream: faust.StreamT[bytes]) -> None:
        async for events in stream.take_events(options.batch, within=WITHIN_S):
            fixes = work.many([event.value for event in events])
            for event, fix in zip(events, fixes, strict=True):
                await positions.send(key=event.key, value=fix)

    app.agent(captures, name="locate")(one_by_one if options.batch == 1 else in_batches)
    return app


if __name__ == "__main__":
    faust.Worker(make_app(parse_options(__doc__)), loglevel="warning").execute_from_commandline()
