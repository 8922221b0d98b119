"""The area as a plane of metres, and distances on WGS 84, inside an ONNX graph in double precision."""

from __future__ import annotations

import json
import math
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream_app.models.reference.graph import FLOAT, Graph

if TYPE_CHECKING:
    from stream_app.network.file import Network

_A, _E2 = 6378137.0, 6.69437999014e-3  # WGS 84
_R = 6371008.8  # mean radius, m


class Plane:
    """East and north metres about the middle of a network's area."""

    def __init__(self, network: Network) -> None:
        area = network.area
        self.network = network
        self.lat0 = (area.south + area.north) / 2
        self.lon0 = (area.west + area.east) / 2
        sine = math.sin(math.radians(self.lat0))
        root = 1 - _E2 * sine * sine
        self.per_lat = math.radians(_A * (1 - _E2) / root**1.5)  # m a degree
        self.per_lon = math.radians(_A / math.sqrt(root)) * math.cos(math.radians(self.lat0))
        self.width = (area.east - area.west) * self.per_lon
        self.height = (area.north - area.south) * self.per_lat
        self.altitude = float(np.mean([r.altitude_m for r in network.receivers]))

    @property
    def area_json(self) -> str:
        """The area for the model's metadata."""
        area = self.network.area
        return json.dumps({k: getattr(area, k) for k in ("south", "west", "north", "east")})

    def longest_baseline(self) -> float:
        """Metres between the receivers furthest apart, along the signal's path."""
        at = [_ecef(r.latitude, r.longitude, r.altitude_m) for r in self.network.receivers]
        chord = max(float(np.linalg.norm(a - b)) for a in at for b in at)
        ground = self.network.path == "ground_wave"
        return 2 * _R * math.asin(min(chord / 2 / _R, 1)) if ground else chord

    def grid(self, cells: int) -> NDArray[np.float64]:
        """[cells², 2] centres of a grid over the area and one ring of cells around it."""
        steps = (np.arange(cells) - (cells - 1) / 2) / (cells - 2)
        east, north = np.meshgrid(steps * self.width, steps * self.height)
        return np.stack([east.ravel(), north.ravel()], -1)

    def reach(self, g: Graph, points: str) -> str:
        """How far out points [N, G, 2] lie, double [N, G]: 1 on the area's rim."""
        half = g.const(np.array([self.width, self.height]) / 2)
        return g.op("ReduceMax", g.op("Div", g.op("Abs", points), half), axes=[2], keepdims=0)

    def lat_lon(self, g: Graph, points: str) -> str:
        """Degrees [..., 2] of points [..., 2]."""
        swapped = g.op("Gather", points, g.const([1, 0], np.int64), axis=-1)
        scaled = g.op("Div", swapped, g.const([self.per_lat, self.per_lon]))
        return g.op("Add", scaled, g.const([self.lat0, self.lon0]))

    def east_north(self, g: Graph, receivers: str) -> str:
        """Metres [N, R, 2] in the plane of receivers [N, R, 3] (degrees, degrees, m)."""
        degrees = g.op("Gather", receivers, g.const([1, 0], np.int64), axis=2)
        off = g.op("Sub", degrees, g.const([self.lon0, self.lat0]))
        return g.op("Mul", off, g.const([self.per_lon, self.per_lat]))

    def distances(self, g: Graph, points: str, receivers: str, coarse: bool = False) -> str:
        """Metres [N, R, G] from points [N or 1, G, 2] to receivers [N, R, 3] (degrees, degrees, m).

        As double; ``coarse`` as float32, good to 1e-7 of the area's size, in half the time.
        """
        at = self.lat_lon(g, points)
        x = _graph_ecef(g, g.take(at, 0), g.take(at, 1), g.const(self.altitude))
        y = _graph_ecef(g, *(g.take(receivers, k) for k in range(3)))
        squares = []
        for p, r, middle in zip(x, y, _ecef(self.lat0, self.lon0, self.altitude), strict=True):
            # About the area's middle, single precision has digits enough.
            near = [g.op("Sub", part, g.const(middle)) for part in (p, r)]
            point, receiver = (g.cast(part, FLOAT) for part in near) if coarse else near
            difference = g.op("Sub", g.axes("Unsqueeze", point, 1), g.axes("Unsqueeze", receiver, 2))
            squares.append(g.op("Mul", difference, difference))
        return self._along(g, g.op("Sum", *squares), np.float32 if coarse else np.float64)

    def between(self, g: Graph, receivers: str) -> str:
        """Metres [N, P] between the receivers [N, R, 3] of each pair."""
        count = len(self.network.receivers)
        first, second = np.array(list(combinations(range(count), 2)), np.int64).reshape(-1, 2).T
        squares = []
        for x in _graph_ecef(g, *(g.take(receivers, k) for k in range(3))):
            ends = [g.op("Gather", x, g.const(end, np.int64), axis=1) for end in (first, second)]
            difference = g.op("Sub", *ends)
            squares.append(g.op("Mul", difference, difference))
        return self._along(g, g.op("Sum", *squares))

    def _along(self, g: Graph, chord2: str, kind: DTypeLike = np.float64) -> str:
        """Metres along the signal's path from squared chords."""
        chord = g.op("Sqrt", chord2)
        if self.network.path != "ground_wave":
            return chord
        # The arcsine's series: ONNX Runtime has no double Asin.
        k = g.op("Mul", chord2, g.const(1 / (_R * _R), kind))
        inner = g.op("Add", g.op("Mul", k, g.const(3 / 640, kind)), g.const(1 / 24, kind))
        return g.op("Mul", chord, g.op("Add", g.op("Mul", k, inner), g.const(1.0, kind)))


def _ecef(lat: float, lon: float, alt: float) -> NDArray[np.float64]:
    p, q = math.radians(lat), math.radians(lon)
    n = _A / math.sqrt(1 - _E2 * math.sin(p) ** 2)
    flat = (n + alt) * math.cos(p)
    return np.array([flat * math.cos(q), flat * math.sin(q), (n * (1 - _E2) + alt) * math.sin(p)])


def _graph_ecef(g: Graph, lat: str, lon: str, alt: str) -> tuple[str, str, str]:
    radian = g.const(math.pi / 180)
    p, q = g.op("Mul", lat, radian), g.op("Mul", lon, radian)
    sin_p, cos_p = g.op("Sin", p), g.op("Cos", p)
    root = g.op("Sub", g.const(1.0), g.op("Mul", g.op("Mul", sin_p, sin_p), g.const(_E2)))
    n = g.op("Div", g.const(_A), g.op("Sqrt", root))
    flat = g.op("Mul", g.op("Add", n, alt), cos_p)
    z = g.op("Mul", g.op("Add", g.op("Mul", n, g.const(1 - _E2)), alt), sin_p)
    return g.op("Mul", flat, g.op("Cos", q)), g.op("Mul", flat, g.op("Sin", q)), z
