"""Cursor-on-Target events, version 2.0, by MITRE's public schemas (Event-PUBLIC.xsd, CoT_shape.xsd, CoT_track.xsd)."""

from __future__ import annotations

from typing import BinaryIO
from xml.etree.ElementTree import Element, SubElement

from stream_app.export.rows import Row, iso_us
from stream_app.export.xml_text import as_bytes, legal
from stream_app.geo.ellipse import scale

UNKNOWN = "9999999.0"  # how CoT says that a height or an error is not known
_TYPE = "a-u-G"  # an actual thing, affiliation unknown, on the ground
_HOW = "m-f"  # by a machine, fused from several sources
_LINE, _FILL = "ff0080ff", "330080ff"  # KML's aabbggrr


class CotEvents:
    """One event a line, without an XML declaration, as TAK servers take them."""

    def __init__(self, out: BinaryIO, stale_s: float) -> None:
        """``stale_s``: how long a fix or a track is shown that no other follows."""
        self._out, self._stale_us = out, round(stale_s * 1e6)

    def write(self, row: Row) -> None:
        """Adds an event."""
        self._out.write(as_bytes(event(row, self._stale_us)))

    def flush(self) -> None:
        """Hands over what the file has buffered."""
        self._out.flush()

    def close(self) -> None:
        """Nothing is left to say."""
        self._out.flush()


def event(row: Row, stale_us: int) -> Element:
    """The event of a row. A track that has ended is stale at once."""
    values = row.values
    ended = row.kind == "track" and values["state"] == "ENDED"
    at = iso_us(row.at_us)
    found = Element(
        "event",
        version="2.0",
        uid=legal(_uid(row)),
        type=_TYPE,
        how=_HOW,
        time=at,
        start=at,
        stale=iso_us(row.at_us + (0 if ended else stale_us)),
    )
    SubElement(
        found,
        "point",
        lat=_number(values["latitude_deg"], 7),
        lon=_number(values["longitude_deg"], 7),
        hae=UNKNOWN,
        # CoT_shape: the point's circle encloses the shape. So it is no 1-sigma; that is in the detail.
        ce=_number(values["semi_major_m"], 2),
        le=UNKNOWN,
    )
    detail = SubElement(found, "detail")
    SubElement(detail, "contact", callsign=legal(_callsign(row)))
    if row.kind == "track" and values["course_deg"] is not None:
        SubElement(
            detail,
            "track",
            course=_number(round(values["course_deg"], 2) % 360.0, 2),
            speed=_number(values["speed_m_s"], 2),
            eCourse=_number(values["course_sigma_deg"], 2),
            eSpeed=_number(values["speed_sigma_m_s"], 2),
        )
    _shape(detail, row)
    _own(detail, row)
    return found


def _shape(detail: Element, row: Row) -> None:
    """The stated ellipse by its semi-axes: TAK takes ``major`` of a circle for its radius."""
    values = row.values
    shape = SubElement(detail, "shape")
    SubElement(
        shape,
        "ellipse",
        major=_number(values["semi_major_m"], 2),
        minor=_number(values["semi_minor_m"], 2),
        angle=_number(values["orientation_deg"], 2),
    )
    link = SubElement(shape, "link", uid=legal(f"{_uid(row)}.Style"), type="b-x-KmlStyle", relation="p-c")
    style = SubElement(link, "Style")
    line = SubElement(style, "LineStyle")
    SubElement(line, "color").text = _LINE
    SubElement(line, "width").text = "2.0"
    SubElement(SubElement(style, "PolyStyle"), "color").text = _FILL


def _own(detail: Element, row: Row) -> None:
    """What CoT has no words for; the 1-sigma axes among it."""
    values = row.values
    k = scale(values["confidence"])
    known = {
        "confidence": _number(values["confidence"], 4),
        "sigma_major_m": _number(values["semi_major_m"] / k, 2),
        "sigma_minor_m": _number(values["semi_minor_m"] / k, 2),
    }
    names = ("network", "center_frequency_hz", "capture_id", "border", "model_version", "state", "fixes")
    for name in names:
        value = values.get(name)
        if value is not None:
            known[name] = legal(str(value).lower() if isinstance(value, bool) else str(value))
    SubElement(detail, "fixstream", known)


def _uid(row: Row) -> str:
    """Of a track its own; of fixes one a network and frequency, so that the newest takes the place of the last."""
    values = row.values
    if row.kind == "track":
        return f"fixstream.{values['track_id']}"
    frequency = values["center_frequency_hz"]
    what = values["capture_id"] if frequency is None else f"{frequency:.0f}"
    return f"fixstream.{values['network'] or 'fixes'}.{what}"


def _callsign(row: Row) -> str:
    frequency = row.values["center_frequency_hz"]
    return "emitter" if frequency is None else f"{frequency / 1e6:.3f} MHz"


def _number(value: float, digits: int) -> str:
    """Plain decimals: xs:decimal knows no exponent."""
    return f"{value:.{digits}f}"
