"""The picture and its feed, kept up for as long as pages look at them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stream_app.errors import Overloaded
from stream_app.mapview.feed import Feed, News
from stream_app.mapview.people import beacons_out, clocks_out, workers_out
from stream_app.mapview.picture import DRAWN, Picture, compact
from stream_app.settings import Settings

CLIENTS = 64
LONGEST_TRAIL_MS = 600_000
_LINGER_S = 30.0  # after the last page has gone
_TICK_S = 0.1
_STATS_S = 1.0
_TIMELINE_S = 10.0
_AN_EVENT = 500  # fixes at most


class LiveMap:
    """Follows the topics from the first page that looks until the last one has gone for a while, or ``always``."""

    def __init__(self, settings: Settings, always: bool = False) -> None:
        self._settings, self._always = settings, always
        self._feed: Feed | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._stats: tuple[float, str] = (0.0, "")
        self.picture = Picture()
        self.clients = 0

    def start(self) -> None:
        """Follows from now on."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._feed is None:
            self.picture = Picture()
            self._feed = Feed(self._settings, self._take)
            self._feed.start()

    async def stop(self) -> None:
        """Follows no longer."""
        feed, self._feed = self._feed, None
        if feed is not None:
            await feed.stop()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[None]:
        """One more page. Raises Overloaded where there are too many."""
        if self.clients >= CLIENTS:
            raise Overloaded(f"{CLIENTS} pages look at this map already: close one, or try again later")
        self.clients += 1
        try:
            self.start()
            yield
        finally:
            self.clients -= 1
            if self.clients == 0 and not self._always:
                loop = asyncio.get_running_loop()
                self._rest = loop.call_later(_LINGER_S, lambda: loop.create_task(self.stop()))

    async def events(self, last_id: str) -> AsyncGenerator[bytes, None]:
        """Server-sent events without end: what is new every tenth of a second, how the stream is every second.

        Where ``last_id`` is one of this picture's, they go on after it; else they begin with a snapshot. A page that
        reads too slowly gets the newest fixes, and the number of those that it missed.
        """
        picture = self.picture
        run, _, number = last_id.partition("-")
        known = run == picture.run and number.isdecimal()
        yield event("hello", {"run": picture.run, "drawn": DRAWN})
        if known:
            cursor = int(number)
        else:
            cursor = picture.newest
            yield _news(picture, [f'"fixes":[{",".join(picture.before(_now_ms(), LONGEST_TRAIL_MS))}]'])
        changes, stats_due, timeline_due, missed = -1, 0.0, 0.0, 0
        while picture is self.picture and self._feed is not None:
            now = time.monotonic()
            rows, left_out = picture.since(cursor, _AN_EVENT)
            missed += left_out
            cursor = picture.newest
            if rows or changes != picture.changes or now >= stats_due:
                parts = [] if not rows else [f'"fixes":[{",".join(rows)}]']
                if changes != picture.changes:
                    changes = picture.changes
                    parts.append(f'"tracks":{compact(picture.tracks())}')
                if now >= stats_due:
                    stats_due = now + _STATS_S
                    parts.append(f'"stats":{self._stats_text(now)},"missed":{missed}')
                if now >= timeline_due:
                    timeline_due = now + _TIMELINE_S
                    parts.append(f'"timeline":{compact(picture.timeline(_now_ms()))}')
                yield _news(picture, parts)
            await asyncio.sleep(_TICK_S)

    def _stats_text(self, now: float) -> str:
        """Once a second for all pages."""
        if now - self._stats[0] >= _STATS_S / 2:
            picture = self.picture
            found: dict[str, Any] = picture.stats(_now_ms()) | picture.names()
            statuses = list(picture.statuses.values())
            found["workers"] = workers_out(statuses, _now_ms(), self._settings.status_every_s)
            found["beacons"] = beacons_out(statuses)
            found["clocks"] = clocks_out(statuses)
            found["pages"] = self.clients
            self._stats = now, compact(found)
        return self._stats[1]

    def _take(self, news: News) -> None:
        picture = self.picture
        for at_ms, fix, value in news.fixes:
            picture.take_fix(fix, value, at_ms, news.now_ms)
        for at_ms, name, track in news.tracks:
            if track is None:
                picture.drop_track(name)
            else:
                picture.take_track(track, at_ms)
        picture.letters.update(news.letters)
        if news.statuses is not None:
            picture.statuses = news.statuses
        if news.problem is not None:
            picture.problem, picture.lag = news.problem, news.lag


def event(name: str, value: Any) -> bytes:
    """One server-sent event."""
    return f"event: {name}\ndata: {compact(value)}\n\n".encode()


def _news(picture: Picture, parts: Sequence[str]) -> bytes:
    return f"id: {picture.run}-{picture.newest}\nevent: news\ndata: {{{','.join(parts)}}}\n\n".encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
