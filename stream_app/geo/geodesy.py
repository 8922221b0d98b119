"""Distances and offsets on the WGS 84 ellipsoid: geodesics by PROJ (Karney 2013), over arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod

_WGS84 = Geod(ellps="WGS84")


def distance_m(lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike) -> NDArray[np.float64]:
    """Length of the geodesic between points in degrees, metres; arguments broadcast."""
    _, _, length = _inverse(lat1, lon1, lat2, lon2)
    return length


def offset_en_m(
    lat0: ArrayLike, lon0: ArrayLike, lat: ArrayLike, lon: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """East and north of (lat, lon) as seen from (lat0, lon0), metres: the geodesic's length along its azimuth at 0."""
    azimuth, _, length = _inverse(lat0, lon0, lat, lon)
    angle = np.radians(azimuth)
    return length * np.sin(angle), length * np.cos(angle)


def destination(
    lat: ArrayLike, lon: ArrayLike, azimuth_deg: ArrayLike, length_m: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitude and longitude (degrees, -180 to 180) after ``length_m`` along a geodesic; arguments broadcast."""
    shape, (y, x, azimuth, length) = _flat(lat, lon, azimuth_deg, length_m)
    out_lon, out_lat, _ = _WGS84.fwd(x, y, azimuth, length)
    return np.asarray(out_lat).reshape(shape), np.asarray(out_lon).reshape(shape)


def offset_turn(lat0: float, lon0: float, lat: float, lon: float) -> tuple[float, float, float]:
    """East and north of one point from another, metres, and the turn of a direction that is carried there.

    The turn is what its azimuth grows by along the geodesic, radians: meridians are not parallel.
    """
    azimuth, back, length = _WGS84.inv(lon0, lat0, lon, lat)
    angle = math.radians(azimuth)
    return length * math.sin(angle), length * math.cos(angle), _turn(azimuth, back)


def moved(lat: float, lon: float, east_m: float, north_m: float) -> tuple[float, float, float]:
    """Latitude and longitude (degrees) at an offset from a point, and the turn of a direction that is carried there."""
    azimuth = math.degrees(math.atan2(east_m, north_m))
    x, y, back = _WGS84.fwd(lon, lat, azimuth, math.hypot(east_m, north_m))
    return y, x, _turn(azimuth, back)


def _turn(azimuth_deg: float, back_azimuth_deg: float) -> float:
    """Radians in [-pi, pi); the back azimuth looks from the end to the beginning."""
    return math.radians((back_azimuth_deg - azimuth_deg) % 360.0 - 180.0)


def _inverse(
    lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    shape, (y1, x1, y2, x2) = _flat(lat1, lon1, lat2, lon2)
    forth, back, length = _WGS84.inv(x1, y1, x2, y2)
    return (
        np.asarray(forth).reshape(shape),
        np.asarray(back).reshape(shape),
        np.asarray(length).reshape(shape),
    )


def _flat(*values: ArrayLike) -> tuple[tuple[int, ...], list[NDArray[np.float64]]]:
    # pyproj writes its results into contiguous arrays it is given: they must be copies of our own.
    arrays = np.broadcast_arrays(*[np.asarray(value, np.float64) for value in values])
    return arrays[0].shape, [array.flatten() for array in arrays]
