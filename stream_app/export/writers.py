"""What all formats have in common, and the simple ones: GeoJSON lines, CSV, Avro."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, BinaryIO, Literal, Protocol

from fastavro.write import Writer as Container

from stream_app.export.rows import Row, columns_of, iso_us, text_of

Kind = Literal["fix", "track"]
_GULP_BYTES = 65_536  # of Avro records that become one block


class Writer(Protocol):
    """A document that is written row by row. Nothing of a row stays in memory for long."""

    def write(self, row: Row) -> None:
        """Adds a row of the writer's kind."""

    def flush(self) -> None:
        """All rows are in the file now."""

    def close(self) -> None:
        """Ends the document; it is a whole one also where no row came. The file stays open."""


class GeoJsonLines:
    """One GeoJSON Feature (RFC 7946) a line: the point and the ellipse's outline, all columns as properties."""

    def __init__(self, out: BinaryIO, kind: Kind) -> None:
        self._out, self._columns = out, columns_of(kind)

    def write(self, row: Row) -> None:
        """Adds a line."""
        point = {"type": "Point", "coordinates": [row.values["longitude_deg"], row.values["latitude_deg"]]}
        times = {name: iso_us(row.values[name]) for name, kind in self._columns.items() if kind == "time"}
        feature = {
            "type": "Feature",
            "geometry": {"type": "GeometryCollection", "geometries": [point, row.outline()]},
            "properties": {**row.values, **times},
        }
        # ASCII: no reader takes an escaped line separator for the end of a line.
        self._out.write(json.dumps(feature, separators=(",", ":")).encode() + b"\n")

    def flush(self) -> None:
        """Hands over what the file has buffered."""
        self._out.flush()

    def close(self) -> None:
        """Nothing is left to say."""
        self._out.flush()


class CsvTable:
    """CSV (RFC 4180, UTF-8): a header, then a line a row. A value that is missing is empty."""

    def __init__(self, out: BinaryIO, kind: Kind) -> None:
        self._columns = columns_of(kind)
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        self._table = csv.writer(self._text)
        self._table.writerow(self._columns)

    def write(self, row: Row) -> None:
        """Adds a line."""
        self._table.writerow([text_of(row.values[name], kind) for name, kind in self._columns.items()])

    def flush(self) -> None:
        """Hands over what the file has buffered."""
        self._text.flush()

    def close(self) -> None:
        """Leaves the file to its owner."""
        self._text.flush()
        self._text.detach()


class AvroContainer:
    """An Avro object container file of flat records: what Kafka Connect's types can hold, and pyarrow reads."""

    def __init__(self, out: BinaryIO, kind: Kind) -> None:
        self._out, self._columns = out, columns_of(kind)
        self._container = Container(out, avro_schema(kind), "deflate", _GULP_BYTES)

    def write(self, row: Row) -> None:
        """Adds a record."""
        record = dict(row.values)
        for name, kind in self._columns.items():
            if kind == "time":
                record[f"{name}_us"] = record[name]
                record[name] //= 1000
        self._container.write(record)

    def flush(self) -> None:
        """Ends the block that is being filled."""
        self._container.flush()
        self._out.flush()

    def close(self) -> None:
        """Ends the last block."""
        self.flush()


def avro_schema(kind: Kind) -> dict[str, Any]:
    """Flat: strings, doubles, longs, booleans, their unions with null, and times as timestamp-millis.

    A time's microseconds are beside it as a long: Connect knows no timestamp-micros.
    """
    fields: list[dict[str, Any]] = []
    for name, kind_of in columns_of(kind).items():
        if kind_of == "time":
            fields.append({"name": name, "type": {"type": "long", "logicalType": "timestamp-millis"}})
            fields.append({"name": f"{name}_us", "type": "long"})
        elif kind_of.endswith("?"):
            fields.append({"name": name, "type": ["null", kind_of.removesuffix("?")], "default": None})
        else:
            fields.append({"name": name, "type": kind_of})
    name = "FlatFix" if kind == "fix" else "FlatTrack"
    return {"type": "record", "name": name, "namespace": "fixstream", "fields": fields}
