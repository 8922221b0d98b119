"""How many things an Avro record claims to hold, found without making any of them."""

from __future__ import annotations

from typing import Any

MAX_ITEMS = 65_536  # in all arrays and maps of a record together
_SHORT = 2**18  # bytes of a record that need no look: an item takes one at least (``schemas`` refuses others)

_WIDTHS = {"null": 0, "boolean": 1, "float": 4, "double": 8}


def check_items(data: bytes, at: int, schema: Any) -> None:
    """Raises ValueError where the record at ``data[at:]`` has more than MAX_ITEMS items in its arrays and maps.

    16 MiB of the smallest channels would become 280 MB of objects, and hold the interpreter for three seconds. A record
    that is broken otherwise is left to the decoder, which says what it met.
    """
    if len(data) <= _SHORT:
        return
    try:
        _Scan(data, at).skip(schema)
    except (IndexError, KeyError):
        return


class _Scan:
    """A place in the data, and the items passed so far."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at, self._items = data, at, 0
        self._named: dict[str, Any] = {}

    def skip(self, schema: Any) -> None:
        if isinstance(schema, list):
            self.skip(schema[self._long()])
            return
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind in _WIDTHS:
            self._at += _WIDTHS[kind]
        elif kind in ("int", "long"):
            self._long()
        elif kind in ("bytes", "string"):
            self._pass(self._long())
        elif kind in ("record", "error"):
            self._named[schema["name"]] = schema
            for field in schema["fields"]:
                self.skip(field["type"])
        elif kind == "enum":
            self._named[schema["name"]] = schema
            self._long()
        elif kind == "fixed":
            self._named[schema["name"]] = schema
            self._pass(schema["size"])
        elif kind in ("array", "map"):
            self._blocks(schema["items"] if kind == "array" else schema["values"], keys=kind == "map")
        else:
            self.skip(self._named[kind] if isinstance(kind, str) else kind)

    def _blocks(self, schema: Any, keys: bool) -> None:
        while count := self._long():
            if count < 0:  # the block's size in bytes follows
                self._long()
            self._items += abs(count)
            if self._items > MAX_ITEMS:
                raise ValueError(f"its arrays and maps claim {self._items} items; at most {MAX_ITEMS} are read")
            for _ in range(abs(count)):
                if keys:
                    self._pass(self._long())
                self.skip(schema)

    def _pass(self, length: int) -> None:
        if not 0 <= length <= len(self._data) - self._at:
            raise IndexError
        self._at += length

    def _long(self) -> int:
        """The variable-length zig-zag number here."""
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
