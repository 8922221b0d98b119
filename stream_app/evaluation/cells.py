"""What is simulated to judge the reference model: cells of SNR, geometry and number of receivers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from stream_app.evaluation.choice import Geometry
from stream_app.geo.geodesy import destination
from stream_app.network.bound import delay_information, delay_slopes, position_bound, rms_m
from stream_app.network.file import Area, Emitter, FeatureOptions, Network, Receiver, Simulation
from stream_app.network.motion import Paths

MIDDLE = (47.75, 9.0)  # degrees
RING_M = 10_000.0  # radius of the circle that the receivers stand on
HALF_AREA_M = 17_000.0  # half a side of the square in which emitters are looked for
FIRST_DEG = 10.0  # azimuth of the first receiver: no symmetry with the area's sides
ALTITUDE_M = 450.0
RATE_HZ = 1e6
SAMPLES = 4480
BANDWIDTH_HZ = 500e3
BAND_HZ = (0.0, 270e3)  # kept: the signal's own and a little more, as the network file's guide says
OUTER = 2.0  # of the area's half side: no emitter is further out than that
_SURELY_WITHIN = 0.99  # of it: the area's sides are meridians, 50 m nearer at its northern end than in the middle


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """``snr_db``: in the signal's band, the mean over the receivers."""

    receivers: int
    geometry: Geometry
    snr_db: float


def cells(receivers: Sequence[int], geometries: Sequence[Geometry], snrs_db: Sequence[float]) -> list[Cell]:
    """All combinations, one network's after the other's."""
    return [Cell(*key) for key in product(receivers, geometries, snrs_db)]


def network(receivers: int, emitters: Sequence[Emitter] = ()) -> Network:
    """That many receivers at equal distances on the ring, all clocks exact."""
    places = [destination(*MIDDLE, FIRST_DEG + 360 * k / receivers, RING_M) for k in range(receivers)]
    south, north = (float(destination(*MIDDLE, azimuth, HALF_AREA_M)[0]) for azimuth in (180, 0))
    west, east = (float(destination(*MIDDLE, azimuth, HALF_AREA_M)[1]) for azimuth in (270, 90))
    return Network(
        name=f"ring-{receivers}",
        receivers=tuple(
            Receiver(receiver_id=f"r{k}", latitude=float(lat), longitude=float(lon), altitude_m=ALTITUDE_M)
            for k, (lat, lon) in enumerate(places)
        ),
        area=Area(south=south, west=west, north=north, east=east),
        center_frequency_hz=433.92e6,
        sample_rate_hz=RATE_HZ,
        features=FeatureOptions(band_hz=BAND_HZ),
        simulation=Simulation(samples=SAMPLES, datatype="cf32_le"),
        emitters=tuple(emitters),
    )


def populated(cell: Cell, count: int, seed: int) -> tuple[Network, list[float]]:
    """The cell's network with ``count`` emitters, each loud enough for the cell's SNR, and their bounds in metres."""
    bare = network(cell.receivers)
    paths, sampled_s = Paths(bare), bare.simulation.samples / bare.sample_rate_hz
    emitters, bounds = [], []
    for number, (east, north) in enumerate(_offsets(cell, count, seed)):
        azimuth, distance = math.degrees(math.atan2(east, north)), math.hypot(east, north)
        latitude, longitude = (float(x) for x in destination(*MIDDLE, azimuth, distance))
        gains_db = _gains_db(bare, paths.lengths_m(latitude, longitude, None))
        loud_db = cell.snr_db - float(gains_db.mean())
        emitters.append(
            Emitter(
                name=f"e{number}",
                latitude=latitude,
                longitude=longitude,
                modulation="noise",
                bandwidth_hz=BANDWIDTH_HZ,
                snr_db=loud_db,
            )
        )
        known = delay_information(10 ** ((loud_db + gains_db) / 10), BANDWIDTH_HZ, sampled_s)
        bounds.append(rms_m(position_bound(delay_slopes(bare, latitude, longitude), known, np.zeros(cell.receivers))))
    return bare.model_copy(update={"emitters": tuple(emitters)}), bounds


def _gains_db(where: Network, lengths_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the simulator adds to an emitter's snr_db on its way to each receiver."""
    reference = where.simulation.reference_distance_m
    return np.asarray(-10 * where.path_loss_exponent * np.log10(lengths_m / reference))


def _offsets(cell: Cell, count: int, seed: int) -> NDArray[np.float64]:
    """East and north of the network's middle, metres [count, 2], of equal density in the geometry's region."""
    rng = np.random.default_rng(seed)
    found = np.empty((0, 2))
    reach = OUTER * HALF_AREA_M
    while len(found) < count:
        some = rng.uniform(-reach, reach, (8 * count, 2))
        found = np.concatenate([found, some[_lies(cell.geometry, some)]])
    return found[:count]


def _lies(geometry: Geometry, offsets: NDArray[np.float64]) -> NDArray[np.bool_]:
    out = np.hypot(*offsets.T) / RING_M
    rim = np.abs(offsets).max(1) / HALF_AREA_M
    regions: dict[Geometry, NDArray[np.bool_]] = {
        Geometry.INSIDE: out < 0.5,
        Geometry.OFF_CENTRE: (out > 0.5) & (out < 0.95),
        Geometry.BORDER: (rim > 0.9) & (rim < _SURELY_WITHIN) & (out > 1),
        Geometry.OUTSIDE: (rim > 1.2) & (rim < OUTER),
    }
    return regions[geometry]
