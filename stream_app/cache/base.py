"""The interface of a cache backend: one batched read and one batched write a micro-batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class CacheBackend(Protocol):
    """Thread-safe. Both calls raise CacheUnavailable, and nothing else, when the backend does not answer."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, None where absent or expired; one round trip."""
        ...

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        """Stores all values with the backend's TTL; one round trip."""
        ...

    def close(self) -> None:
        """Frees connections."""
        ...
