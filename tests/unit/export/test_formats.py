"""What comes out is read back by other readers than ours, whatever the names hold."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, BinaryIO
from xml.etree import ElementTree

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.export.cot import CotEvents
from stream_app.export.kml import KmlDocument
from stream_app.export.rows import FIX_COLUMNS, TRACK_COLUMNS, Row, fix_row, json_row, track_row
from stream_app.export.writers import AvroContainer, CsvTable, GeoJsonLines, Kind, Writer, avro_schema
from stream_app.records.fix import Fix
from stream_app.records.track import Track, TrackState
from tests.golden.make import TRACK
from tests.unit.tracks.fixes import START_US, a_fix

_AT = "2025-10-09T08:53:20.123456Z"
_KML = "{http://www.opengis.net/kml/2.2}"
_WRITERS: dict[str, Callable[[BinaryIO, Kind], Writer]] = {
    "geojson": GeoJsonLines,
    "csv": CsvTable,
    "kml": KmlDocument,
    "avro": AvroContainer,
    "cot": lambda out, kind: CotEvents(out, 60.0),
}
_texts = st.text(max_size=30) | st.sampled_from(["a&b", "<x>", '"', "a,b", "a\nb\r\n", "\x00\x1b]0;", "\u2028", "]]>"])


def _fix(**more: Any) -> Fix:
    return replace(
        a_fix("c1", 0.123456, 47.7, 9.0, ((2500.0, 300.0), (300.0, 100.0)), receivers=("north", "east")), **more
    )


def _written(form: str, *rows: Row) -> bytes:
    out = io.BytesIO()
    writer = _WRITERS[form](out, rows[0].kind if rows else "fix")
    for row in rows:
        writer.write(row)
        writer.flush()
    writer.close()
    return out.getvalue()


def test_a_geojson_line_is_a_feature_with_point_ellipse_and_every_column() -> None:
    first, second, rest = _written("geojson", fix_row(_fix()), fix_row(_fix(capture_id="c2"))).split(b"\n")
    assert rest == b""
    assert json.loads(second)["properties"]["capture_id"] == "c2"
    feature = json.loads(first)
    assert feature["type"] == "Feature"
    point, polygon = feature["geometry"]["geometries"]
    assert point == {"type": "Point", "coordinates": [9.0, 47.7]}
    assert polygon["type"] == "Polygon"
    [ring] = polygon["coordinates"]
    assert ring[0] == ring[-1]
    assert feature["properties"].keys() == FIX_COLUMNS.keys()
    assert feature["properties"]["captured_at"] == _AT
    assert feature["properties"]["receivers"] == "north east"


def test_a_fix_that_came_with_its_outline_keeps_it() -> None:
    outline = '{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}'
    feature = json.loads(_written("geojson", fix_row(_fix(outline_geojson=outline))))
    assert feature["geometry"]["geometries"][1] == json.loads(outline)


def test_csv_has_units_in_its_header_and_one_line_a_row() -> None:
    data = _written("csv", fix_row(_fix()), fix_row(_fix(border=True, model_confidence=0.5)))
    assert data.count(b"\r\n") == 3
    first, second = csv.DictReader(io.StringIO(data.decode(), newline=""))
    assert list(first) == list(FIX_COLUMNS)
    assert (first["captured_at"], first["latitude_deg"], first["border"]) == (_AT, "47.7", "false")
    assert (first["model_confidence"], second["model_confidence"], second["border"]) == ("", "0.5", "true")


def test_kml_has_its_elements_in_the_schemas_order() -> None:
    document = ElementTree.fromstring(_written("kml", fix_row(_fix(longitude=179.9999))))[0]
    [placemark] = document.iter(f"{_KML}Placemark")
    names = [element.tag.removeprefix(_KML) for element in placemark]
    assert names == ["name", "TimeStamp", "styleUrl", "ExtendedData", "MultiGeometry"]
    assert placemark.findtext(f"{_KML}TimeStamp/{_KML}when") == _AT
    styles = {f"#{style.get('id')}" for style in document.iter(f"{_KML}Style")}
    assert placemark.findtext(f"{_KML}styleUrl") in styles
    data = {each.get("name"): each.findtext(f"{_KML}value") for each in placemark.iter(f"{_KML}Data")}
    assert data["center_frequency_hz"] == "433920000.0"
    assert placemark.findtext(f"{_KML}MultiGeometry/{_KML}Point/{_KML}coordinates") == "179.9999000,47.7000000"
    rings = [each.text or "" for each in placemark.iter(f"{_KML}coordinates")][1:]
    assert len(rings) == 2  # on both sides of the antimeridian
    for ring in rings:
        places = ring.split()
        assert len(places) > 3
        assert places[0] == places[-1]


def test_a_cot_event_has_all_that_its_schema_asks_for() -> None:
    event = ElementTree.fromstring(_written("cot", fix_row(_fix())))
    assert event.attrib == {
        "version": "2.0",
        "uid": "fixstream.lake.433920000",
        "type": "a-u-G",
        "how": "m-f",
        "time": _AT,
        "start": _AT,
        "stale": "2025-10-09T08:54:20.123456Z",
    }
    point, ellipse = event.find("point"), event.find("detail/shape/ellipse")
    assert point is not None
    assert ellipse is not None
    assert point.attrib.keys() == {"lat", "lon", "hae", "ce", "le"}
    assert (point.get("lat"), point.get("lon")) == ("47.7000000", "9.0000000")
    fix = _fix()
    assert float(ellipse.get("major", "")) == pytest.approx(fix.semi_major_m, abs=0.01)
    assert float(ellipse.get("minor", "")) == pytest.approx(fix.semi_minor_m, abs=0.01)
    assert float(ellipse.get("angle", "")) == pytest.approx(fix.orientation_deg, abs=0.01)
    assert point.get("ce") == ellipse.get("major")  # the circle holds the shape
    own = event.find("detail/fixstream")
    assert own is not None
    assert float(own.get("sigma_major_m", "")) == pytest.approx(fix.sigma_x_m, abs=0.01)
    assert event.find("detail/track") is None


@pytest.mark.parametrize("course", [None, 0.0, 359.999])
def test_a_tracks_event_says_where_it_goes_only_where_the_track_does(course: float | None) -> None:
    track = replace(TRACK, course_deg=course, course_sigma_deg=None if course is None else 4.5)
    found = ElementTree.fromstring(_written("cot", track_row(track))).find("detail/track")
    if course is None:
        assert found is None
    else:
        assert found is not None
        assert float(found.get("course", "")) in (0.0, pytest.approx(course, abs=0.01))
        assert 0 <= float(found.get("course", "")) < 360
        assert found.get("eCourse") == "4.50"
        assert float(found.get("speed", "")) == pytest.approx(track.speed_m_s, abs=0.01)


def test_the_event_of_a_track_that_has_ended_is_stale_at_once() -> None:
    event = ElementTree.fromstring(_written("cot", track_row(replace(TRACK, state=TrackState.ENDED))))
    assert event.get("stale") == event.get("start")
    assert event.get("uid") == f"fixstream.{TRACK.track_id}"


@pytest.mark.parametrize("row", [fix_row(_fix()), track_row(TRACK)], ids=["fix", "track"])
def test_avro_is_flat_and_read_by_fastavro_and_pyarrow_types(row: Row) -> None:
    reader = fastavro.reader(io.BytesIO(_written("avro", row, row)))
    assert reader.writer_schema is not None
    found = list(reader)
    assert found[0] == found[1]
    time_name = "captured_at" if row.kind == "fix" else "at"
    assert found[0][f"{time_name}_us"] == row.at_us
    assert found[0][time_name] == datetime.fromtimestamp(row.at_us // 1000 / 1e3, UTC)
    assert {name: found[0][name] for name in row.values if not name.endswith("at")} == {
        name: value for name, value in row.values.items() if not name.endswith("at")
    }
    for field in avro_schema(row.kind)["fields"]:
        kind = field["type"]
        kind = kind[1] if isinstance(kind, list) and kind[0] == "null" and len(kind) == 2 else kind
        assert kind in ("string", "double", "long", "boolean", {"type": "long", "logicalType": "timestamp-millis"})


def test_a_document_without_a_row_is_whole() -> None:
    assert _written("geojson") == _written("cot") == b""
    assert _written("csv").decode().strip().split(",") == list(FIX_COLUMNS)
    assert ElementTree.fromstring(_written("kml"))[0].tag == f"{_KML}Document"
    assert list(fastavro.reader(io.BytesIO(_written("avro")))) == []


@given(_texts, _texts, _texts)
def test_names_come_back_as_they_were(capture_id: str, network: str, version: str) -> None:
    """XML has no way to write some characters, and UTF-8 none for half a surrogate pair: they are replaced."""
    row = fix_row(_fix(capture_id=capture_id, network=network, model_version=version))
    wanted = {"capture_id": capture_id, "network": network, "model_version": version}

    [line, end] = _written("geojson", row).split(b"\n")
    properties = json.loads(line)["properties"]
    assert end == b""
    assert {name: properties[name] for name in wanted} == wanted

    [read] = csv.DictReader(io.StringIO(_written("csv", row).decode(), newline=""))
    assert {name: read[name] for name in wanted} == wanted

    kml = ElementTree.fromstring(_written("kml", row))
    data = {each.get("name"): each.findtext(f"{_KML}value") for each in kml.iter(f"{_KML}Data")}
    assert {name: data[name] for name in wanted} == {name: _as_xml(text) for name, text in wanted.items()}

    own = ElementTree.fromstring(_written("cot", row)).find("detail/fixstream")
    assert own is not None
    found = {name: own.get(name) for name in wanted}
    assert found == {name: _as_xml(text, attribute=True) for name, text in wanted.items()}

    [record] = fastavro.reader(io.BytesIO(_written("avro", row)))
    assert {name: record[name] for name in wanted} == wanted


def _as_xml(text: str, attribute: bool = False) -> str:
    """What a parser makes of it: XML 1.0, 2.2 and 2.11."""
    text = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    return text if attribute else text.replace("\r\n", "\n").replace("\r", "\n")


@given(
    st.sampled_from(["latitude", "longitude", "cov_east_m2", "semi_major_m", "confidence"]),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
def test_numbers_that_no_format_can_hold_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"is (nan|-?inf)"):
        fix_row(replace(_fix(), **{name: value}))
    with pytest.raises(ValueError, match="1970"):
        fix_row(_fix(captured_at_us=2**62))


def test_json_lines_come_back_as_the_fix_they_were_made_of() -> None:
    from stream_app.cli.fixes import SeenFix

    line = json.dumps(SeenFix(_fix()).as_json()).encode()
    unsaid = ("network", "model_name", "model_confidence", "fallback")
    assert json_row(line).values == {**fix_row(_fix()).values, **dict.fromkeys(unsaid)}
    assert json_row(line).at_us == START_US + 123_456


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latitude": 91}, "no place"),
        ({"latitude": "47"}, "latitude_deg is no number: '47'"),
        ({"covariance": [[1, 2]]}, "not enough values"),
        ({"covariance": None}, "None"),
        ({"captured_at": "yesterday"}, "yesterday"),
        ({"confidence": 1.0}, "make no ellipse"),
        ({"model_version": 7}, "model_version is no string: 7"),
        ({"receivers": [1]}, "expected str instance, int found"),
    ],
)
def test_a_line_that_is_no_fix_is_refused_with_what_is_wrong(change: dict[str, Any], message: str) -> None:
    from stream_app.cli.fixes import SeenFix

    with pytest.raises(ValueError, match=re.escape(message)):
        json_row(json.dumps({**SeenFix(_fix()).as_json(), **change}).encode())


def test_half_a_surrogate_pair_is_replaced_before_any_format_meets_it() -> None:
    row = fix_row(_fix(capture_id="a\ud800b"))
    for form in _WRITERS:
        assert b"a?b" in _written(form, row) or form == "avro"


def test_a_track_row_has_every_column() -> None:
    track: Track = TRACK
    row = track_row(track)
    assert list(row.values) == list(TRACK_COLUMNS)
    assert row.values["cov_east_north_m2"] == track.covariance[1]
    assert row.values["cov_north_m2"] == track.covariance[5]
