"""The cache may forget, but it never fails and never grows without bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from stream_app.breaker import CircuitBreaker, State
from stream_app.cache.backends import MemoryCache, make_cache
from stream_app.cache.dedup import DedupCache
from stream_app.errors import CacheUnavailable, FixStreamError
from tests.support.servers import RedisServer


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Flaky:
    """A backend that is away while ``away`` is set, and counts its calls."""

    def __init__(self) -> None:
        self.away, self.calls = False, 0
        self.values: dict[bytes, bytes] = {}

    def _called(self) -> None:
        self.calls += 1
        if self.away:
            raise CacheUnavailable("gone fishing")

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._called()
        return [self.values.get(key) for key in keys]

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        self._called()
        self.values.update(values)

    def close(self) -> None:
        pass


def test_memory_forgets_the_least_recently_used_and_the_expired() -> None:
    clock = Clock()
    cache = MemoryCache(10, 3, clock)
    cache.set_many({b"a": b"1", b"b": b"2", b"c": b"3"})
    assert cache.get_many([b"a"]) == [b"1"]
    cache.set_many({b"d": b"4"})
    assert cache.get_many([b"a", b"b", b"c", b"d"]) == [b"1", None, b"3", b"4"]
    assert len(cache) == 3
    clock.now = 10.0
    assert cache.get_many([b"a", b"d"]) == [None, None]


def test_the_breaker_spares_a_backend_that_is_away_and_tries_it_again() -> None:
    clock, backend, said = Clock(), Flaky(), list[str]()
    cache = DedupCache(backend, CircuitBreaker(failures=3, pause_s=5, clock=clock), said.append)
    cache.set_many({b"k": b"v"})
    backend.away = True
    for _ in range(10):
        assert cache.get_many([b"k", b"x"]) == [None, None]
    assert backend.calls == 1 + 3
    assert said == ["gone fishing"] * 3
    assert cache.breaker.state is State.OPEN
    clock.now = 5.0
    assert cache.get_many([b"k"]) == [None]
    assert cache.get_many([b"k"]) == [None]
    assert backend.calls == 1 + 4
    backend.away, clock.now = False, 10.0
    assert cache.get_many([b"k"]) == [b"v"]
    assert cache.breaker.state is State.CLOSED


def test_an_unknown_url_is_refused_in_words() -> None:
    with pytest.raises(FixStreamError, match="memcached"):
        make_cache("memcached://localhost", 1, 1, 1)
    assert make_cache("none://", 1, 1, 1) is None


@pytest.mark.redis
def test_redis_remembers_and_its_absence_costs_only_the_hits(redis_server: RedisServer) -> None:
    said = list[str]()
    backend = make_cache(redis_server.uri, 60, 10, 1000)
    cache = DedupCache(backend, CircuitBreaker(failures=2, pause_s=0), said.append)
    cache.set_many({b"k\x00": b"v\xff"})
    assert cache.get_many([b"k\x00", b"other"]) == [b"v\xff", None]
    redis_server.stop()
    try:
        assert cache.get_many([b"k\x00"]) == [None]
        cache.set_many({b"k": b"v"})
        assert len(said) == 2
        assert "127.0.0.1" in said[0]
    finally:
        redis_server.start()
    cache.set_many({b"k": b"again"})
    assert cache.get_many([b"k"]) == [b"again"]
    cache.close()
