"""A loop on aiokafka, by its guide: ``getmany``, send, await the acknowledgements, commit by hand.

The model runs in a thread, so that the event loop, and with it the group's heartbeats, is not held up.
"""

from __future__ import annotations

import asyncio

from benchmarks.peers.aio import clients
from benchmarks.peers.options import Options, on_sigterm, parse_options
from benchmarks.peers.work import Work


async def serve(options: Options) -> None:
    stopping, work = on_sigterm(), Work(options.model)
    consumer, producer = clients(options)
    async with consumer, producer:
        while not stopping.is_set():
            found = await consumer.getmany(timeout_ms=100, max_records=options.batch)
            records = [record for of_partition in found.values() for record in of_partition]
            if not records:
                continue
            fixes = await asyncio.to_thread(work.many, [record.value for record in records])
            sent = [
                await producer.send(options.output, fix, record.key) for record, fix in zip(records, fixes, strict=True)
            ]
            await asyncio.gather(*sent)
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(serve(parse_options(__doc__)))
