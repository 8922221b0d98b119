"""Outlines of error ellipses as GeoJSON geometries (RFC 7946)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream_app.geo.geodesy import destination

Array = NDArray[np.float64]
Ring = list[tuple[float, float]]  # (longitude, latitude) degrees, open: the first vertex is not repeated

_LONGEST_AXIS_M = 10_000_000.0  # a hemisphere; beyond it "inside" is no longer the centre's side
_PLAIN_STEP_DEG = 10.0  # longitude between neighbours above which straight GeoJSON edges leave the ellipse
_FINER = 16  # vertices of rings near a pole or the antimeridian, times those asked for
_LEAST_AREA_DEG2 = 1e-13  # of a piece that is worth a polygon: coordinates are rounded to 1e-7 degrees


def outlines(
    latitude: Array,
    longitude: Array,
    semi_major_m: Array,
    semi_minor_m: Array,
    orientation_deg: Array,
    vertices: int = 32,
) -> list[str]:
    """GeoJSON geometry texts of N ellipses: arrays [N] in degrees, metres, degrees clockwise from north.

    Counter-clockwise, closed, on the geodesic. An ellipse across the antimeridian is cut into a MultiPolygon; one
    that holds a pole becomes a polygon from -180 to 180 up to that pole. Axes end at 10,000 km.
    """
    if vertices < 8:
        raise ValueError(f"an outline needs at least 8 vertices, not {vertices}")
    if len(latitude) == 0:
        return []
    lat, lon = _rings(latitude, longitude, semi_major_m, semi_minor_m, orientation_deg, vertices)
    home = _wrapped(np.asarray(longitude, np.float64))[:, None]
    lon = home + _wrapped(lon - home)
    steps = np.abs(lon - np.roll(lon, 1, axis=1)).max(axis=1)
    plain = (np.abs(lon).max(axis=1) <= 180.0) & (steps < _PLAIN_STEP_DEG)

    pair = "[%.7f,%.7f]"
    text = '{"type":"Polygon","coordinates":[[' + ",".join([pair] * (vertices + 1)) + "]]}"
    coordinates = np.empty((len(lat), 2 * vertices + 2))
    coordinates[:, 0:-2:2], coordinates[:, 1:-2:2] = lon, lat
    coordinates[:, -2:] = coordinates[:, :2]
    return [
        text % tuple(row)
        if easy
        else _cut(
            *_rings(
                latitude[n : n + 1],
                longitude[n : n + 1],
                semi_major_m[n : n + 1],
                semi_minor_m[n : n + 1],
                orientation_deg[n : n + 1],
                _FINER * vertices,
            )
        )
        for n, (row, easy) in enumerate(zip(coordinates.tolist(), plain.tolist(), strict=True))
    ]


def _rings(
    latitude: Array, longitude: Array, major: Array, minor: Array, orientation: Array, vertices: int
) -> tuple[Array, Array]:
    """Latitudes and longitudes [N, vertices] of ellipses, counter-clockwise from the major axis."""
    turn = np.arange(vertices) * (2 * np.pi / vertices)
    along = np.minimum(major, _LONGEST_AXIS_M)[:, None] * np.cos(turn)
    across = np.minimum(minor, _LONGEST_AXIS_M)[:, None] * np.sin(turn)
    azimuth = orientation[:, None] - np.degrees(np.arctan2(across, along))
    return destination(latitude[:, None], longitude[:, None], azimuth, np.hypot(along, across))


def _wrapped(degrees: Array) -> Array:
    """Angles in [-180, 180)."""
    return np.mod(degrees + 180.0, 360.0) - 180.0


def _cut(lat: Array, lon: Array) -> str:
    """The geometry of one fine ring [1, V] that may cross the antimeridian or hold a pole."""
    y = lat[0]
    x = np.degrees(np.unwrap(np.radians(lon[0])))
    closing = x[-1] + _wrapped(lon[0, 0] - lon[0, -1])
    turns = round((closing - x[0]) / 360.0)
    if turns:
        return _geometry([_round_pole(x, y, turns)])
    x = x - 360.0 * np.floor((x.mean() + 180.0) / 360.0)
    ring = list(zip(x.tolist(), y.tolist(), strict=True))
    pieces = []
    for world in (-1, 0, 1):
        west = 360.0 * world - 180.0
        piece = _clip(_clip(ring, west, 1.0), west + 360.0, -1.0)
        shifted = [(px - 360.0 * world, py) for px, py in piece]
        if _area(shifted) > _LEAST_AREA_DEG2:
            pieces.append(shifted)
    return _geometry(pieces or [[(min(max(px, -180.0), 180.0), py) for px, py in ring]])


def _round_pole(x: Array, y: Array, turns: int) -> Ring:
    """The ring opened at the antimeridian and led along it to the pole: north where it runs east, else south."""
    pole = 90.0 * np.sign(turns)
    edge = 180.0 * np.sign(turns)
    wrapped = _wrapped(x) if turns > 0 else -_wrapped(-x)
    order = np.argsort(turns * wrapped, kind="stable")
    x, y = wrapped[order], y[order]
    # Where the ring meets the antimeridian, between its last vertex and its first one turn later.
    gap = (x[0] + 2 * edge) - x[-1]
    share = (edge - x[-1]) / gap if gap else 0.0
    meet = y[-1] + share * (y[0] - y[-1])
    ring = [(-edge, meet), *zip(x.tolist(), y.tolist(), strict=True), (edge, meet)]
    return [(float(px), float(py)) for px, py in [*ring, (edge, pole), (-edge, pole)]]


def _clip(ring: Ring, limit: float, side: float) -> Ring:
    """The part of a ring where side * (x - limit) >= 0 (Sutherland and Hodgman 1974, one edge)."""
    kept: Ring = []
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
        inside, after = side * (x0 - limit) >= 0, side * (x1 - limit) >= 0
        if inside:
            kept.append((x0, y0))
        if inside != after:
            kept.append((limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)))
    return kept


def _area(ring: Ring) -> float:
    """Signed area in square degrees, positive where counter-clockwise (the shoelace formula about a vertex)."""
    if len(ring) < 3:
        return 0.0
    x0, y0 = ring[0]
    pairs = pairwise(ring)
    return 0.5 * sum((ax - x0) * (by - y0) - (bx - x0) * (ay - y0) for (ax, ay), (bx, by) in pairs)


def _geometry(rings: Sequence[Ring]) -> str:
    polygons = []
    for ring in rings:
        positions = [f"[{x:.7f},{y:.7f}]" for x, y in ring]
        polygons.append("[[" + ",".join([*positions, positions[0]]) + "]]")
    if len(polygons) == 1:
        return '{"type":"Polygon","coordinates":' + polygons[0] + "}"
    return '{"type":"MultiPolygon","coordinates":[' + ",".join(polygons) + "]}"
