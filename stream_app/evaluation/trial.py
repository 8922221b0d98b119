"""One cell: simulated captures through the worker's own pipeline, and what came of them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import onnx
from numpy.typing import NDArray

from stream_app.cache.dedup import DedupCache
from stream_app.dsp.features import make_extractor
from stream_app.evaluation.cells import Cell, network, populated
from stream_app.evaluation.choice import Geometry
from stream_app.geo.ellipse import holds, scale
from stream_app.geo.geodesy import offset_en_m
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.contract import META_FEATURES
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.reference.geometry import Plane
from stream_app.models.session import OnnxSession
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.settings import Settings

_BATCH = 32
ONE_SIGMA = -math.expm1(-0.5)  # the 39 % of the field


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cell's captures. Shares are of the fixes; metres; None where no bound is finite."""

    snr_db: float
    geometry: str
    receivers: int
    fixes: int
    share_39: float  # of truths in the ellipses that state 39, 68 and 95 %
    share_68: float
    share_95: float
    rms_m: float
    median_m: float
    crb_m: float | None  # root of the mean square of the emitters' own bounds
    ratio: float | None  # rms_m over crb_m
    semi_major_95_m: float  # the median
    flagged: float  # share with border
    sure: float  # share without border whose 95 % ellipse lies in the area
    seed: int
    program: str  # digest of what made it, see digest_of


def run(cell: Cell, count: int, seed: int) -> Outcome:
    """``count`` fixes of as many emitters, each at a place of its own. The same seed gives the same outcome."""
    where, bounds = populated(cell, count, _own(cell, seed))
    locator = _locator(cell.receivers)
    pairs = Simulator(where, _own(cell, seed)).captures(count)
    fixes: list[Fix] = []
    truths: list[tuple[float, float]] = []
    while chunk := list(islice(pairs, _BATCH)):
        for found, (_, truth) in zip(locator.locate([capture for capture, _ in chunk]), chunk, strict=True):
            if not isinstance(found, Fix):
                raise found
            fixes.append(found)
            truths.append((truth.latitude, truth.longitude))
    stated = np.array([(fix.latitude, fix.longitude) for fix in fixes])
    east, north = offset_en_m(*stated.T, *np.array(truths).T)
    covariance = np.array([fix.covariance for fix in fixes])
    rms, crb = _root_mean_square(np.hypot(east, north)), _root_mean_square(np.array(bounds))
    flagged = np.array([fix.border for fix in fixes])
    share_39, share_68, share_95 = (float(holds(covariance, east, north, p).mean()) for p in (ONE_SIGMA, 0.68, 0.95))
    return Outcome(
        snr_db=cell.snr_db,
        geometry=cell.geometry,
        receivers=cell.receivers,
        fixes=len(fixes),
        share_39=share_39,
        share_68=share_68,
        share_95=share_95,
        rms_m=rms,
        median_m=float(np.median(np.hypot(east, north))),
        crb_m=crb if math.isfinite(crb) else None,
        ratio=rms / crb if math.isfinite(crb) else None,
        semi_major_95_m=float(np.median([fix.semi_major_m for fix in fixes])),
        flagged=float(flagged.mean()),
        sure=float((~flagged & _lie_within(where, stated, covariance)).mean()),
        seed=seed,
        program=digest_of(cell.receivers),
    )


def _own(cell: Cell, seed: int) -> int:
    """A seed of the cell's own: equal draws would let all cells of a network lean to one side together."""
    key = (seed, cell.receivers, list(Geometry).index(cell.geometry), round(1000 * (cell.snr_db + 100)))
    return int(np.random.SeedSequence(key).generate_state(1)[0])


@lru_cache(maxsize=1)
def digest_of(receivers: int) -> str:
    """Of the model for that many receivers, and of what simulator and features make of one capture."""
    where, _ = populated(Cell(receivers, Geometry.INSIDE, 0.0), 1, 0)
    capture, _ = next(Simulator(where).captures(1))
    data = _model(receivers)
    spec = json.loads({p.key: p.value for p in onnx.load_from_string(data).metadata_props}[META_FEATURES])
    features = make_extractor(spec).extract([capture.channels])
    return hashlib.blake2b(data + features.tobytes(), digest_size=6).hexdigest()


@lru_cache(maxsize=1)
def _locator(receivers: int) -> Locator:
    session = OnnxSession.from_bytes(_model(receivers), f"ring-{receivers}", "reference", "1", 1, _BATCH)
    settings = Settings(cache_url="none://", geojson_outline=False)
    return Locator(Fleet.of(session), DedupCache(None), Codecs(), settings, Metrics())


@lru_cache(maxsize=1)
def _model(receivers: int) -> bytes:
    return bytes(build_tdoa(network(receivers)).SerializeToString(deterministic=True))


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _lie_within(where: Network, stated: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether 95 % ellipses about fixes [N, 2] (degrees) lie wholly in the area."""
    plane = Plane(where)
    centre = np.array([plane.lat0, plane.lon0])
    off = np.abs(stated - centre) * (plane.per_lat, plane.per_lon)
    reach = scale(0.95) * np.sqrt(covariance[:, [1, 0], [1, 0]])
    return np.asarray((off + reach < np.array([plane.height, plane.width]) / 2).all(1))
