"""A model service on FastAPI and uvicorn, one worker, and a consumer on aiokafka that posts it captures.

https://fastapi.tiangolo.com/advanced/events/ (the model is loaded once, in the lifespan) and
https://www.starlette.io/threadpool/ (what blocks runs in the thread pool). ``--batch`` requests are in flight at most.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiokafka import ConsumerRecord
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from benchmarks.peers.aio import clients
from benchmarks.peers.options import Options, on_sigterm, parse_options
from benchmarks.peers.work import Work

MODEL = "PEER_MODEL"  # the variable that names the service's model file
QUIET = ("--log-level", "warning", "--no-access-log")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.work = Work(Path(os.environ[MODEL]))
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(request: Request) -> Response:
    fix = await run_in_threadpool(app.state.work.one, await request.body())
    return Response(fix, media_type="application/octet-stream")


async def serve(options: Options, url: str) -> None:
    stopping = on_sigterm()
    consumer, producer = clients(options)
    async with consumer, producer, aiohttp.ClientSession(raise_for_status=True) as http:

        async def answer(record: ConsumerRecord) -> None:
            async with http.post(url, data=record.value) as response:
                await producer.send_and_wait(options.output, await response.read(), record.key)

        while not stopping.is_set():
            found = await consumer.getmany(timeout_ms=100, max_records=options.batch)
            if found:
                await asyncio.gather(*[answer(record) for records in found.values() for record in records])
                await consumer.commit()


def main() -> None:
    options = parse_options(__doc__)
    with socket.socket() as listening:  # handed over, so that the port is taken and connections wait from now on
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        port = listening.getsockname()[1]
        service = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", f"{__spec__.name}:app", "--fd", str(listening.fileno()), *QUIET],
            env=os.environ | {MODEL: str(options.model)},
            pass_fds=[listening.fileno()],
        )
    try:
        asyncio.run(serve(options, f"http://127.0.0.1:{port}/predict"))
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
