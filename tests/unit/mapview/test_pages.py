"""The map's pages over HTTP, with no broker behind: its page says so, and is served all the same."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from stream_app.errors import MapPageMissing
from stream_app.mapview import pages
from stream_app.mapview.live import LiveMap
from stream_app.mapview.pages import MapPages, add_map
from stream_app.mapview.server import local_names, problems
from stream_app.network.file import load_network
from stream_app.records.codec import Codecs
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.support.map_traffic import fix_at

TOKEN = "correct horse"


@pytest.fixture(autouse=True)
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built page that is small, and the same whether the real one was built or not."""
    for name, content in (("index.html", "<p>map"), ("main.0.js", "go()")):
        (tmp_path / name).write_text(content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    (tmp_path / "files.json").write_text('["index.html", "main.0.js"]')
    monkeypatch.setattr(pages, "DIST", tmp_path)
    return tmp_path


def visit(check: Callable[[ClientSession, LiveMap], Awaitable[None]], **options: Any) -> None:
    """Runs ``check`` with a client of a server of these settings."""

    async def run() -> None:
        settings = Settings(bootstrap_servers="127.0.0.1:1", **options)
        live = LiveMap(settings)
        app = web.Application(middlewares=[problems, local_names])
        MapPages(settings, live, [load_network(example_network("demo"))]).add_to(app)
        async with TestServer(app) as server, ClientSession(server.make_url("/")) as client:
            await check(client, live)
        await live.stop()

    asyncio.run(run())


def test_the_page_and_its_parts_are_served_with_their_policy() -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        async with client.get("/map") as answer:
            assert await answer.text() == "<p>map"
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with client.get("/map/main.0.js") as answer:
            assert answer.content_type == "text/javascript"
            assert "immutable" in answer.headers["Cache-Control"]
        for path in ("/map/files.json", "/map/..%2fpages.py", "/map/main.0.js.gz"):
            async with client.get(path) as answer:
                assert answer.status == 404

    visit(check)


def test_a_tile_server_is_let_in_by_name() -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        async with client.get("/map") as answer:
            assert "connect-src 'self' https://tiles.example:8443;" in answer.headers["Content-Security-Policy"]

    visit(check, map_tiles="https://tiles.example:8443/{z}/{x}/{y}.png")


def test_another_sites_name_for_this_machine_gets_nothing() -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        async with client.get("/map/config", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421

    visit(check)


def test_receivers_come_from_the_networks_file() -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        async with client.get("/map/config") as answer:
            [network] = (await answer.json())["networks"]
            assert [one["id"] for one in network["receivers"]] == ["north", "east", "south", "west"]

    visit(check)


def test_a_fix_is_told_in_full_while_it_is_kept() -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        fix = fix_at(47.0, 9.0, capture_id="c")
        live.picture.take_fix(fix, Codecs().encode_fix(fix), 0, None)
        async with client.get(f"/map/fix/1?run={live.picture.run}") as answer:
            assert (await answer.json())["timings"]["inference_ms"] == 4.7
        for path in (f"/map/fix/2?run={live.picture.run}", "/map/fix/1?run=earlier"):
            async with client.get(path) as answer:
                assert answer.status == 404
                assert (await answer.json())["error"]["code"] == "not-kept"

    visit(check)


@pytest.mark.parametrize("query", ["", "at=x&window=60", "at=1&window=601", "at=nan&window=60", "at=1&window=inf"])
def test_questions_about_the_past_are_checked(query: str) -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        async with client.get(f"/map/history?{query}") as answer:
            assert answer.status == 400

    visit(check)


def test_events_say_that_no_broker_answers_and_come_compressed() -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        headers = {"Accept-Encoding": "gzip"}
        async with client.get("/map/events", headers=headers, auto_decompress=False) as answer:
            assert answer.content_type == "text/event-stream"
            unpack, text = zlib.decompressobj(16 + zlib.MAX_WBITS), ""
            while "no Kafka broker answers at 127.0.0.1:1" not in text:
                text += unpack.decompress(await asyncio.wait_for(answer.content.readany(), 30)).decode()
            assert text.startswith("event: hello\n")

    visit(check)


def test_a_page_that_comes_back_gets_only_what_it_has_not_seen() -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        async with live.client():
            for number in range(3):
                live.picture.take_fix(fix_at(40.0 + number, 9.0), b"", 1_000, None)
            events = live.events(f"{live.picture.run}-2")
            await anext(events)
            news = json.loads((await anext(events)).decode().partition("data: ")[2])
            assert [row[3] for row in news["fixes"]] == [42.0]
            await events.aclose()
            events = live.events("another-2")
            await anext(events)
            assert b"id: %s-3" % live.picture.run.encode() in await anext(events)
            await events.aclose()

    visit(check)


def test_with_a_token_the_data_are_for_those_who_know_it() -> None:
    async def check(client: ClientSession, live: LiveMap) -> None:
        for path in ("/map/config", "/map/history?at=1&window=1", "/map/events", "/map/fix/1"):
            async with client.get(path) as answer:
                assert answer.status == 401
        async with client.get("/map") as answer:
            assert answer.status == 200
        async with client.get("/map/config", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        async with client.post("/map/token", data=b"wrong") as answer:
            assert answer.status == 401
        async with client.get("/map/config") as answer:
            assert answer.status == 401
        async with client.post("/map/token", data=TOKEN.encode()) as answer:
            assert answer.status == 204
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert TOKEN not in cookie
            value = cookie.partition("=")[2].partition(";")[0]
        async with client.get("/map/config", headers={"Cookie": f"fixstream-page={value}"}) as answer:
            assert answer.status == 200

    visit(check, web_token=TOKEN)


def test_a_page_that_was_not_built_is_one_line(dist: Path) -> None:
    (dist / "files.json").unlink()
    with pytest.raises(MapPageMissing, match="make map-page"):
        MapPages(Settings(), LiveMap(Settings()), [])

    async def run() -> None:
        app = web.Application(middlewares=[problems])
        add_map(app, Settings(), [])
        async with TestServer(app) as server, ClientSession(server.make_url("/")) as client:
            answer = await client.get("/map")
            assert answer.status == 503
            assert "make map-page" in (await answer.json())["error"]["message"]

    asyncio.run(run())
