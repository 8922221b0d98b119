"""A seal on what the cache holds: a value that is damaged, foreign, or another key's is not believed."""

from __future__ import annotations

from blake3 import blake3

_CONTEXT = "fixstream cache seal 1"
_SEAL_BYTES = 16


class Seal:
    """BLAKE3 over key and value, keyed with ``secret``; without one it tells damage, but not forgery."""

    def __init__(self, secret: str = "") -> None:
        self._key = blake3(secret.encode(), derive_key_context=_CONTEXT).digest()

    def close(self, key: bytes, value: bytes) -> bytes:
        """The value with its seal behind it."""
        return value + self._mark(key, value)

    def open(self, key: bytes, sealed: bytes) -> bytes | None:
        """The value that was sealed under this key; None where it is anything else."""
        value = sealed[:-_SEAL_BYTES]
        return value if sealed[-_SEAL_BYTES:] == self._mark(key, value) else None

    def _mark(self, key: bytes, value: bytes) -> bytes:
        # The key's length keeps a byte from moving between key and value.
        return blake3(len(key).to_bytes(4, "little") + key + value, key=self._key).digest(length=_SEAL_BYTES)
