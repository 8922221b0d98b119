"""Where a simulated emitter is at a time, and how far from each receiver."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream_app.geo.geodesy import destination, distance_m

if TYPE_CHECKING:
    from stream_app.network.file import Emitter, Network

_A, _E2 = 6378137.0, 6.69437999014e-3  # WGS 84


class Track:
    """An emitter's way: it stands, or goes to and fro at its speed."""

    def __init__(self, emitter: Emitter) -> None:
        self._speed = emitter.speed_m_s
        if emitter.waypoints:
            points = [(point.latitude, point.longitude) for point in emitter.waypoints]
        else:
            points = [(emitter.latitude or 0.0, emitter.longitude or 0.0)]
            if self._speed:
                end = destination(*points[0], emitter.course_deg, emitter.leg_m)
                points.append((float(end[0]), float(end[1])))
        self._points = np.array(points)
        self._points[:, 1] = np.unwrap(self._points[:, 1], period=360)
        legs = distance_m(*self._points[:-1].T, *self._points[1:].T)
        self._marks = np.concatenate(([0.0], np.cumsum(legs)))  # metres from the first point

    def at(self, elapsed_s: float) -> tuple[float, float]:
        """Latitude and longitude, degrees, after so many seconds."""
        total = float(self._marks[-1])
        if not total:
            return float(self._points[0, 0]), float(self._points[0, 1])
        gone = math.fmod(elapsed_s * self._speed, 2 * total)
        gone = min(gone, 2 * total - gone)
        leg = min(int(np.searchsorted(self._marks, gone, "right")) - 1, len(self._points) - 2)
        share = (gone - self._marks[leg]) / max(self._marks[leg + 1] - self._marks[leg], 1e-9)
        latitude, longitude = self._points[leg] + share * (self._points[leg + 1] - self._points[leg])
        return float(latitude), float((longitude + 180) % 360 - 180)


class Paths:
    """Lengths of the signal's ways to a network's receivers."""

    def __init__(self, network: Network) -> None:
        self._ground = network.path == "ground_wave"
        self._latitudes = np.array([r.latitude for r in network.receivers])
        self._longitudes = np.array([r.longitude for r in network.receivers])
        altitudes = np.array([r.altitude_m for r in network.receivers])
        self.mean_altitude_m = float(altitudes.mean())
        self._places = _ecef(self._latitudes, self._longitudes, altitudes)

    def lengths_m(self, latitude: float, longitude: float, altitude_m: float | None) -> NDArray[np.float64]:
        """Metres [R]: the geodesic for a ground wave, else the straight line; altitude None is the receivers' mean."""
        if self._ground:
            return distance_m(latitude, longitude, self._latitudes, self._longitudes)
        altitude = self.mean_altitude_m if altitude_m is None else altitude_m
        place = _ecef(np.array(latitude), np.array(longitude), np.array(altitude))
        return np.asarray(np.linalg.norm(self._places - place, axis=-1))

    def longest_baseline_m(self) -> float:
        """Metres between the receivers furthest apart."""
        if self._ground:
            across = distance_m(self._latitudes[:, None], self._longitudes[:, None], self._latitudes, self._longitudes)
        else:
            across = np.linalg.norm(self._places[:, None] - self._places, axis=-1)
        return float(across.max())


def _ecef(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], altitude_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Earth-centred metres [..., 3] of WGS 84 degrees and metres above the ellipsoid."""
    p, q = np.radians(latitude), np.radians(longitude)
    n = _A / np.sqrt(1 - _E2 * np.sin(p) ** 2)
    flat = (n + altitude_m) * np.cos(p)
    return np.stack([flat * np.cos(q), flat * np.sin(q), (n * (1 - _E2) + altitude_m) * np.sin(p)], -1)
