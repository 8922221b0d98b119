"""Where answers are remembered: this process's memory, or Redis."""

from __future__ import annotations

import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from stream_app.cache.base import CacheBackend
from stream_app.errors import CacheUnavailable, FixStreamError, SettingsError

_PREFIX = b"fixstream:"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for rediss://: whom to trust (None: the system's authorities), and a certificate of one's own."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def options(self) -> dict[str, Any]:
        """redis-py's options for them. Raises SettingsError where a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"the TLS files of the cache cannot be used ({error}): check FIXSTREAM_CACHE_CA_FILE ({self.ca}), "
                f"FIXSTREAM_CACHE_CERT_FILE ({self.cert}) and FIXSTREAM_CACHE_KEY_FILE ({self.key})"
            ) from error
        return {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,  # redis-py before 6 does not by itself
            "ssl_ca_certs": self.ca,
            "ssl_certfile": self.cert,
            "ssl_keyfile": self.key,
        }


def make_cache(
    url: str, ttl_s: int, max_entries: int, timeout_ms: float, tls: TlsFiles | None = None
) -> CacheBackend | None:
    """The backend that ``url`` names: memory://, redis://, rediss://; None for none://.

    ``ttl_s`` seconds an entry lives, ``max_entries`` bounds memory://, ``timeout_ms`` bounds each wait for Redis,
    ``tls`` is for rediss:// alone. Redis need not be up yet. Raises FixStreamError for another URL, SettingsError for
    TLS files that cannot be used.
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "none":
        return None
    if scheme == "memory":
        return MemoryCache(ttl_s, max_entries)
    if scheme in ("redis", "rediss"):
        return RedisCache(url, ttl_s, timeout_ms, (tls or TlsFiles()).options() if scheme == "rediss" else {})
    raise FixStreamError(
        f"the cache URL begins with {scheme!r}: use memory://, redis://host:port/db, rediss://host:port/db or none://"
    )


class MemoryCache:
    """At most ``max_entries`` answers for ``ttl_s`` seconds; the least recently used one leaves first."""

    def __init__(self, ttl_s: float, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s, self._max_entries, self._clock = ttl_s, max_entries, clock
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._lock = Lock()

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, None where absent or expired."""
        now, values = self._clock(), list[bytes | None]()
        with self._lock:
            for key in keys:
                expires, value = self._entries.get(key, (0.0, None))
                if value is None:
                    values.append(None)
                elif expires <= now:
                    del self._entries[key]
                    values.append(None)
                else:
                    self._entries.move_to_end(key)
                    values.append(value)
        return values

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        """Stores all values; the bound holds again when it returns."""
        expires = self._clock() + self._ttl_s
        with self._lock:
            for key, value in values.items():
                self._entries[key] = (expires, value)
                self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)

    def close(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


class RedisCache:
    """Answers in Redis under ``fixstream:``: one MGET a read, one pipeline of SETs with expiry a write."""

    def __init__(self, url: str, ttl_s: int, timeout_ms: float, tls_options: Mapping[str, Any]) -> None:
        # A tenth of a second, that a worker without Redis need not spend.
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._ttl_s, timeout_s = ttl_s, timeout_ms / 1000
        self._failures = (redis.RedisError, OSError)
        try:
            place = urlsplit(url)
            # Without the user and password that the URL may hold.
            self._where = f"{place.hostname or 'localhost'}:{place.port or 6379}"
            self._client = redis.Redis.from_url(
                url,
                protocol=2,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                # The circuit breaker decides about trying again; redis-py would multiply the timeout.
                retry=Retry(NoBackoff(), 0),
                **tls_options,
            )
        except (ValueError, TypeError):
            # Without the error's own words: they quote the URL, and where it was cut wrongly a piece of the password.
            raise FixStreamError(
                "the cache URL cannot be used: expected redis://user:password@host:port/db, or rediss:// for TLS, with "
                "each of / ? # @ % in user and password written as %2F %3F %23 %40 %25"
            ) from None

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, None where absent or expired."""
        if not keys:
            return []
        try:
            values: list[bytes | None] = self._client.mget([_PREFIX + key for key in keys])  # type: ignore[assignment]
        except self._failures as error:
            raise self._unavailable(error) from error
        return values

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        """Stores all values with the expiry."""
        if not values:
            return
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for key, value in values.items():
                    pipeline.set(_PREFIX + key, value, ex=self._ttl_s)
                pipeline.execute()
        except self._failures as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _unavailable(self, error: Exception) -> CacheUnavailable:
        return CacheUnavailable(f"Redis at {self._where} does not answer: {type(error).__name__}: {error}")
