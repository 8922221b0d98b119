"""Ellipses, geodesics and outlines against what geometry and RFC 7946 say."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyproj import Geod

from stream_app.geo.ellipse import error_ellipses, holds, scale
from stream_app.geo.geodesy import destination, distance_m, offset_en_m
from stream_app.geo.outline import outlines

_latitudes, _longitudes = st.floats(-89, 89), st.floats(-180, 180)


@st.composite
def _covariances(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    major, ratio, angle = draw(st.floats(1e-2, 1e10)), draw(st.floats(1e-3, 1)), draw(st.floats(-7, 7))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ np.diag([major, major * ratio]) @ turn.T


def test_one_sigma_holds_39_percent_and_other_scales_are_the_fields() -> None:
    assert scale(1 - math.exp(-0.5)) == pytest.approx(1)
    assert scale(0.95) == pytest.approx(2.4477, abs=1e-4)
    for wrong in (0.0, 1.0, -0.1, 2.0, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            scale(wrong)


@pytest.mark.parametrize("confidence", [0.3935, 0.68, 0.95])
def test_an_ellipse_holds_what_it_states(confidence: float) -> None:
    cov = np.array([[400.0, -250.0], [-250.0, 900.0]])
    points = np.random.default_rng(1).multivariate_normal([0, 0], cov, 40_000)
    share = holds(np.broadcast_to(cov, (40_000, 2, 2)), points[:, 0], points[:, 1], confidence).mean()
    assert share == pytest.approx(confidence, abs=0.008)


@given(_covariances(), st.floats(0.01, 0.999))
def test_axes_are_the_eigenvectors(cov: np.ndarray[Any, Any], confidence: float) -> None:
    found = error_ellipses(cov[None], confidence)
    values, vectors = np.linalg.eigh(cov)
    k = math.sqrt(-2 * math.log(1 - confidence))
    assert found.semi_major_m[0] == pytest.approx(k * math.sqrt(values[1]), rel=1e-6)
    assert found.semi_minor_m[0] == pytest.approx(k * math.sqrt(values[0]), rel=1e-4)
    assert 0 <= found.orientation_deg[0] < 180
    assert 0 <= found.theta_rad[0] < math.pi
    assume(values[0] < 0.9 * values[1])
    bearing = math.radians(found.orientation_deg[0])
    assert abs(np.dot([math.sin(bearing), math.cos(bearing)], vectors[:, 1])) == pytest.approx(1, abs=1e-6)


@given(_latitudes, _longitudes, st.floats(0, 360), st.floats(1, 1e6))
def test_there_and_back_on_the_geodesic(lat: float, lon: float, azimuth: float, length: float) -> None:
    to_lat, to_lon = destination(lat, lon, azimuth, length)
    assert distance_m(lat, lon, to_lat, to_lon) == pytest.approx(length, rel=1e-9, abs=1e-6)
    east, north = offset_en_m(lat, lon, to_lat, to_lon)
    assert math.hypot(east, north) == pytest.approx(length, rel=1e-9, abs=1e-6)
    assert math.sin(math.radians(azimuth)) == pytest.approx(east / length, abs=1e-6)


def _rings(text: str) -> list[list[list[float]]]:
    shape = json.loads(text)
    polygons = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
    assert all(len(polygon) == 1 for polygon in polygons)
    return [polygon[0] for polygon in polygons]


def _area(ring: list[list[float]]) -> float:
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairwise(ring)) / 2


def _outline(lat: float, lon: float, major: float, minor: float, orientation: float) -> str:
    return outlines(*(np.array([value]) for value in (lat, lon, major, minor, orientation)))[0]


@given(_latitudes, _longitudes, st.floats(1, 3e6), st.floats(0.01, 1), st.floats(0, 179.9))
def test_outlines_keep_rfc_7946(lat: float, lon: float, major: float, ratio: float, orientation: float) -> None:
    for ring in _rings(_outline(lat, lon, major, major * ratio, orientation)):
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        assert all(-180 <= x <= 180 and -90 <= y <= 90 for x, y in ring)
        assert _area(ring) > -1e-9


def test_an_outlines_vertices_lie_on_the_ellipse() -> None:
    geod = Geod(ellps="WGS84")
    (ring,) = _rings(_outline(47.0, 9.0, 1000.0, 400.0, 30.0))
    for lon, lat in ring:
        azimuth, _, length = geod.inv(9.0, 47.0, lon, lat)
        turn = math.radians(azimuth - 30.0)
        assert (length * math.cos(turn) / 1000) ** 2 + (length * math.sin(turn) / 400) ** 2 == pytest.approx(
            1, abs=1e-3
        )


def test_the_antimeridian_cuts() -> None:
    rings = _rings(_outline(10.0, 179.99, 5000.0, 5000.0, 0.0))
    assert len(rings) == 2
    assert {round(max(abs(x) for x, _ in ring)) for ring in rings} == {180}
    assert sum(_area(ring) for ring in rings) == pytest.approx(
        _area(_rings(_outline(10.0, 0.0, 5000.0, 5000.0, 0.0))[0]), rel=0.01
    )


def test_a_pole_is_inside_its_polygon() -> None:
    (ring,) = _rings(_outline(89.99, 20.0, 50_000.0, 40_000.0, 0.0))
    assert [180.0, 90.0] in ring
    assert [-180.0, 90.0] in ring
