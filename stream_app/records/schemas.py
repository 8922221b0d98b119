"""Writer schemas by fingerprint: those that ship, and those that an operator adds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from stream_app.errors import SchemaFileError

# Bytes that a value takes at least (Avro 1.12 specification, "Binary Encoding").
_LEAST_BYTES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}


@dataclass(frozen=True, slots=True)
class SchemaSet:
    """One record's schemas: the reader (what we write, too) and all writers, by 8 fingerprint bytes as on the wire."""

    reader: Any
    reader_fingerprint: bytes
    writers: dict[bytes, Any]


def shipped_dir() -> Path:
    """The folder of the schemas that ship: inside an installed package, else at the root of the repository."""
    package = Path(__file__).parents[1]
    installed = package / "_schemas"
    return installed if installed.is_dir() else package.parent / "schemas"


def load_schemas(record: str, folder: Path, extra: Path | None = None) -> SchemaSet:
    """The schemas of ``record`` (such as ``IqCapture``): ``folder/N.avsc``, and any below ``extra`` of that name.

    The highest N is the reader. Raises SchemaFileError, which names the file, for anything that cannot be used.
    """
    versions = sorted(_numbered(folder))
    if not versions:
        raise SchemaFileError(f"no schema of {record} in {folder}: expected 1.avsc there; reinstall FixStream")
    writers: dict[bytes, Any] = {}
    reader: Any = None
    mark = b""
    for _, path in versions:
        raw = _read(path)
        if _bare_name(raw) != record:
            raise SchemaFileError(f"{path} does not hold a schema of {record}: move it out of this folder")
        reader, mark = _parse(raw, path)
        writers[mark] = reader
    for path in _below(extra):
        raw = _read(path)
        if _bare_name(raw) == record:
            writer, known_by = _parse(raw, path)
            writers.setdefault(known_by, writer)
    return SchemaSet(reader, mark, writers)


def check_extra(extra: Path, records: tuple[str, ...]) -> None:
    """Raises SchemaFileError where a file below ``extra`` is of none of ``records``: it would be silently useless."""
    for path in _below(extra):
        name = _bare_name(_read(path))
        if name not in records:
            raise SchemaFileError(
                f"{path} holds a schema of {name!r}, but only {' and '.join(records)} are read: remove the file"
            )


def wire_fingerprint(schema: Any) -> bytes:
    """CRC-64-AVRO of the schema's parsing canonical form, 8 bytes little-endian (Avro's single-object encoding)."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob("*.avsc"):
        if not path.stem.isascii() or not path.stem.isdigit():
            raise SchemaFileError(f"{path}: a schema's file name is its version, a whole number such as 2.avsc")
        yield int(path.stem), path


def _below(extra: Path | None) -> list[Path]:
    if extra is None:
        return []
    if not extra.is_dir():
        raise SchemaFileError(f"the schema directory {extra} does not exist: create it, or unset the option")
    return sorted(extra.rglob("*.avsc"))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SchemaFileError(f"{path} cannot be read as an Avro schema: {error}") from error


def _bare_name(schema: Any) -> str:
    name = schema.get("name") if isinstance(schema, dict) else None
    return name.rpartition(".")[2] if isinstance(name, str) else ""


def _parse(raw: Any, path: Path) -> tuple[Any, bytes]:
    try:
        # Times stay whole numbers: datetime objects cost more and refuse years that a long can hold.
        parsed = fastavro.parse_schema(_without_logical_types(raw))
        _least_size(parsed, {})
        return parsed, wire_fingerprint(raw)
    except Exception as error:  # fastavro raises KeyError, TypeError and others for a malformed schema
        raise SchemaFileError(f"{path} is not a usable Avro schema: {type(error).__name__}: {error}") from error


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: value if key in ("default", "doc") else _without_logical_types(value)
            for key, value in schema.items()
            if key != "logicalType"
        }
    return [_without_logical_types(part) for part in schema] if isinstance(schema, list) else schema


def _least_size(schema: Any, named: dict[str, int | None]) -> int:
    """Bytes that a value takes at least; ValueError where a short record could claim memory without bound."""
    if isinstance(schema, list):
        return 1 + min(_least_size(branch, named) for branch in schema)
    if isinstance(schema, str):
        if schema in _LEAST_BYTES:
            return _LEAST_BYTES[schema]
        known = named[schema]
        if known is None:
            raise ValueError(f"{schema} refers to itself, so its depth has no bound")
        return known
    kind = schema["type"]
    if kind in ("record", "error"):
        named[schema["name"]] = None
        size = sum(_least_size(field["type"], named) for field in schema["fields"])
        named[schema["name"]] = size
        return size
    if kind in ("enum", "fixed"):
        size = 1 if kind == "enum" else int(schema["size"])
        named[schema["name"]] = size
        return size
    if kind == "array":
        if _least_size(schema["items"], named) == 0:
            raise ValueError("an array's items take no bytes, so its length has no bound")
        return 1
    if kind == "map":
        _least_size(schema["values"], named)
        return 1
    return _least_size(kind, named)
