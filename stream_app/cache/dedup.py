"""The dedup cache as the pipeline sees it: it may forget, but it never fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from stream_app.breaker import CircuitBreaker
from stream_app.cache.base import CacheBackend
from stream_app.cache.seal import Seal

log = logging.getLogger(__name__)


class DedupCache:
    """A backend behind a circuit breaker. Without a backend, every look-up misses. Thread-safe.

    ``on_error`` gets the words of each failed call (not of calls that the breaker spared), ``on_corrupt`` is called for
    each value whose seal is broken, which counts as absent; neither may raise.
    """

    def __init__(
        self,
        backend: CacheBackend | None,
        breaker: CircuitBreaker | None = None,
        on_error: Callable[[str], None] | None = None,
        on_corrupt: Callable[[], None] | None = None,
        seal: Seal | None = None,
    ) -> None:
        self._backend = backend
        self.breaker = breaker or CircuitBreaker()
        self._on_error, self._on_corrupt = on_error, on_corrupt
        self._seal = seal or Seal()
        self._away = False
        self._lock = Lock()

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys in their order, None where absent or where the backend is away."""
        nothing: list[bytes | None] = [None] * len(keys)
        backend = self._backend
        if backend is None or not keys or not self.breaker.allow():
            return nothing
        try:
            values = backend.get_many(keys)
            if len(values) != len(keys):
                raise ValueError(f"{len(values)} values came for {len(keys)} keys")
        except Exception as error:  # a backend of someone else's may break the contract; fixes go on
            self._failed(error)
            return nothing
        self._succeeded()
        return [None if value is None else self._opened(key, value) for key, value in zip(keys, values, strict=True)]

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        """Stores values, or lets it be where the backend is away."""
        backend = self._backend
        if backend is None or not values or not self.breaker.allow():
            return
        try:
            backend.set_many({key: self._seal.close(key, value) for key, value in values.items()})
        except Exception as error:
            self._failed(error)
            return
        self._succeeded()

    def close(self) -> None:
        """Closes the backend; what goes wrong meanwhile no longer matters, so it is only logged."""
        if self._backend is None:
            return
        try:
            self._backend.close()
        except Exception:
            log.warning("The cache did not close cleanly", exc_info=True)

    def _opened(self, key: bytes, sealed: bytes) -> bytes | None:
        value = self._seal.open(key, sealed)
        if value is None and self._on_corrupt is not None:
            self._on_corrupt()
        return value

    def _failed(self, error: Exception) -> None:
        self.breaker.failed()
        with self._lock:
            first, self._away = not self._away, True
        if first:
            log.warning("The cache is away, going on without it: %s", error)
        if self._on_error is not None:
            self._on_error(str(error))

    def _succeeded(self) -> None:
        self.breaker.succeeded()
        if not self._away:
            return
        with self._lock:
            back, self._away = self._away, False
        if back:
            log.warning("The cache answers again")
