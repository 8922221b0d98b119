"""The topics' way to the map: one thread that follows them, and hands what comes to an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from confluent_kafka import Message

from stream_app.errors import BrokerUnavailable, UndecodableRecord
from stream_app.kafka.control import StatusBoard
from stream_app.kafka.follow import TopicFollower
from stream_app.kafka.lag import LagReader
from stream_app.mapview.picture import HOUR_MS
from stream_app.records.codec import Codecs
from stream_app.records.dead_letter import DeadLetter, replayed_offset
from stream_app.records.deployment import ModelStatus
from stream_app.records.fix import Fix
from stream_app.records.track import Track
from stream_app.settings import Settings

log = logging.getLogger(__name__)
_HISTORY = 60_000  # newest fixes of the last hour that are read at the start
_PART = 500
_TICK_S = 0.05
_LOOK_S = 2.0  # between looks at the lag
_RETRY_S = 2.0
_OPTIONAL_S = 10.0  # between tries at topics that are not there, or not to be read
_SILENCE_S = 30.0
_END_S = 2.0  # while a broker is away, the thread is not waited for


@dataclass(slots=True)
class News:
    """What came on the topics. ``now_ms`` None: the fixes are history."""

    now_ms: int | None = None
    fixes: list[tuple[int, Fix, bytes]] = field(default_factory=list)  # the broker's ms, the fix, its record
    tracks: list[tuple[int, str, Track | None]] = field(default_factory=list)  # the same of tracks; None: dropped
    letters: list[str] = field(default_factory=list)  # codes
    statuses: dict[str, ModelStatus] | None = None
    lag: int | None = None
    problem: str | None = None  # "": none any more

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.fixes or self.tracks or self.letters or self.problem is not None or self.statuses is not None)


class Feed:
    """Begins with the last hour. A broker that is away is waited for, whenever that is."""

    def __init__(self, settings: Settings, take: Callable[[News], None]) -> None:
        """``take`` is called on the event loop that ``start`` is called on."""
        self._settings, self._take = settings, take
        self._codecs = Codecs(settings.schema_dir)
        self._board = StatusBoard(self._codecs, None)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._from_ms = time.time_ns() // 1_000_000 - HOUR_MS

    def start(self) -> None:
        """Begins."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="map-feed", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _END_S)

    # The rest runs in the thread.

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with ExitStack() as stack:
                    self._follow(stack)
            except BrokerUnavailable as error:
                self._say(str(error))
            except Exception:
                log.exception("The map's feed failed; it begins again")
                self._say("the map's feed failed: its log says why")
            self._stopping.wait(_RETRY_S)

    def _follow(self, stack: ExitStack) -> None:
        settings = self._settings
        fixes = TopicFollower(settings, settings.positions_topic, from_start=False)
        stack.callback(fixes.close)
        others = _Others(settings, stack)
        lag = LagReader(settings)
        stack.callback(lag.close)
        self._hand_over(self._history(fixes))
        self._say("")
        looked = 0.0
        while not self._stopping.is_set():
            found = fixes.poll(_TICK_S)
            news = News(time.time_ns() // 1_000_000)
            self._read_fixes(news, found)
            self._read_tracks(news, others.tracks())
            news.letters = [code for code in map(_code, others.letters()) if code is not None]
            said = others.statuses()
            if said:
                self._board.take(said)
                news.statuses = dict(self._board.newest)
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                news.lag = lag.read()
                news.problem = "" if lag.answers else fixes.problem
            self._hand_over(news)

    def _history(self, fixes: TopicFollower) -> News:
        fixes.go_to_time(self._from_ms, newest=_HISTORY)
        news = News()
        for part in fixes.parts_to_end(_SILENCE_S):
            self._read_fixes(news, part)
            if self._stopping.is_set():
                break
        news.fixes.sort(key=lambda item: item[0])  # partitions come one after the other
        return news

    def _read_fixes(self, news: News, messages: list[Message]) -> None:
        for message in messages:
            value, at_ms = message.value() or b"", message.timestamp()[1]
            try:
                news.fixes.append((at_ms, self._codecs.decode_fix(value), value))
            except UndecodableRecord:
                continue  # another program's record
            self._from_ms = max(self._from_ms, at_ms + 1)  # where to go on, should the feed fail

    def _read_tracks(self, news: News, messages: list[Message]) -> None:
        for message in messages:
            name = (message.key() or b"").decode(errors="replace")
            try:
                track = None if message.value() is None else self._codecs.decode_track(message.value())
            except UndecodableRecord:
                continue
            news.tracks.append((message.timestamp()[1], name, track))

    def _say(self, problem: str) -> None:
        self._hand_over(News(problem=problem))

    def _hand_over(self, news: News) -> None:
        """In parts, so that pages are served in between."""
        while len(news.fixes) > _PART:
            part, news.fixes = news.fixes[:_PART], news.fixes[_PART:]
            self._call(News(news.now_ms, part))
        if news:
            self._call(news)

    def _call(self, news: News) -> None:
        with suppress(RuntimeError):  # the loop may have ended while a broker was waited for
            self._loop.call_soon_threadsafe(self._take, news)


class _Others:
    """The topics that the map can do without: tried again from time to time where they are not there."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings, self._stack = settings, stack
        self._open: dict[str, TopicFollower] = {}
        self._next = dict.fromkeys((settings.tracks_topic, settings.dead_letter_topic, settings.status_topic), 0.0)

    def tracks(self) -> list[Message]:
        """Tracks, those of the last hour first."""
        return self._poll(self._settings.tracks_topic, since_ms=HOUR_MS)

    def letters(self) -> list[Message]:
        """Dead letters from now on."""
        return self._poll(self._settings.dead_letter_topic, from_start=False)

    def statuses(self) -> list[Message]:
        """The workers' statuses, the kept ones first."""
        return self._poll(self._settings.status_topic)

    def _poll(self, topic: str, from_start: bool = True, since_ms: int | None = None) -> list[Message]:
        if topic not in self._open:
            if time.monotonic() < self._next[topic]:
                return []
            try:
                follower = TopicFollower(self._settings, topic, from_start)
                self._stack.callback(follower.close)
                if since_ms is not None:
                    follower.go_to_time(time.time_ns() // 1_000_000 - since_ms)
            except BrokerUnavailable as error:
                log.warning("The map goes without topic %s: %s", topic, error)
                self._next[topic] = time.monotonic() + _OPTIONAL_S
                return []
            self._open[topic] = follower
        return self._open[topic].poll(0.0)


def _code(message: Message) -> str | None:
    """The reason of a dead letter; None for the mark of a replayed one."""
    if replayed_offset(message.headers()) is not None:
        return None
    return DeadLetter.from_headers(message.headers()).code
