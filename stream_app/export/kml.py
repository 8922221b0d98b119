"""KML 2.2 (OGC 07-147r2): a Placemark a row, with its time, its point and its ellipse."""

from __future__ import annotations

from typing import Any, BinaryIO
from xml.etree.ElementTree import Element, SubElement

from stream_app.export.rows import Row, columns_of, iso_us, text_of
from stream_app.export.writers import Kind
from stream_app.export.xml_text import as_bytes, legal

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2">
<Document>
<name>FixStream {what}</name>
<Style id="sure">
<LineStyle><color>ff00aa00</color><width>2</width></LineStyle><PolyStyle><color>3300aa00</color></PolyStyle>
</Style>
<Style id="unsure">
<LineStyle><color>ff0080ff</color><width>2</width></LineStyle><PolyStyle><color>330080ff</color></PolyStyle>
</Style>
"""
_FOOT = b"</Document>\n</kml>\n"


class KmlDocument:
    """One Document; it is whole once it is closed."""

    def __init__(self, out: BinaryIO, kind: Kind) -> None:
        self._out, self._columns = out, columns_of(kind)
        out.write(_HEAD.format(what="fixes" if kind == "fix" else "tracks").encode())

    def write(self, row: Row) -> None:
        """Adds a Placemark. Its elements are in the order that the schema wants."""
        values = row.values
        placemark = Element("Placemark")
        SubElement(placemark, "name").text = legal(_name(row))
        SubElement(SubElement(placemark, "TimeStamp"), "when").text = iso_us(row.at_us)
        unsure = values["border"] if row.kind == "fix" else values["state"] != "CONFIRMED"
        SubElement(placemark, "styleUrl").text = "#unsure" if unsure else "#sure"
        extended = SubElement(placemark, "ExtendedData")
        for name, kind in self._columns.items():
            if values[name] is not None:
                SubElement(SubElement(extended, "Data", name=name), "value").text = legal(text_of(values[name], kind))
        shapes = SubElement(placemark, "MultiGeometry")
        SubElement(SubElement(shapes, "Point"), "coordinates").text = _place(
            (values["longitude_deg"], values["latitude_deg"])
        )
        for ring in _rings(row.outline()):
            boundary = SubElement(SubElement(shapes, "Polygon"), "outerBoundaryIs")
            SubElement(SubElement(boundary, "LinearRing"), "coordinates").text = " ".join(map(_place, ring))
        self._out.write(as_bytes(placemark))

    def flush(self) -> None:
        """Hands over what the file has buffered."""
        self._out.flush()

    def close(self) -> None:
        """Writes the end tags."""
        self._out.write(_FOOT)
        self._out.flush()


def _name(row: Row) -> str:
    frequency = row.values["center_frequency_hz"]
    return (
        str(row.values["track_id" if row.kind == "track" else "capture_id"])
        if frequency is None
        else (f"{frequency / 1e6:.6f} MHz")
    )


def _rings(geometry: dict[str, Any]) -> list[list[tuple[float, float]]]:
    """The outer rings of a Polygon or MultiPolygon; outlines have no holes."""
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return [polygon[0] for polygon in polygons]


def _place(position: tuple[float, float]) -> str:
    return f"{position[0]:.7f},{position[1]:.7f}"
