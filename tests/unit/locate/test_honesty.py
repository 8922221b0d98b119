"""The demo network's ellipses keep their word: what the README's first command shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from stream_app.cache.dedup import DedupCache
from stream_app.geo.geodesy import offset_en_m
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.session import OnnxSession
from stream_app.network.file import load_network
from stream_app.network.simulator import Simulator
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.resources import example_network
from stream_app.settings import Settings


def test_of_500_ellipses_stated_at_68_percent_60_to_76_percent_hold_the_truth(tmp_path: Path) -> None:
    network = load_network(example_network("demo"))
    onnx.save(build_tdoa(network), str(tmp_path / "model.onnx"))
    model = OnnxSession.load(tmp_path / "model.onnx", "demo", "1", 1)
    locator = Locator(Fleet.of(model), DedupCache(None), Codecs(), Settings(), Metrics())
    pairs = list(Simulator(network, seed=1).captures(500))
    squares, errors = [], []
    for at in range(0, len(pairs), 32):
        chunk = pairs[at : at + 32]
        for fix, (_, truth) in zip(locator.locate([capture for capture, _ in chunk]), chunk, strict=True):
            assert isinstance(fix, Fix)
            away = np.array(offset_en_m(fix.latitude, fix.longitude, truth.latitude, truth.longitude)).ravel()
            squares.append(away @ np.linalg.inv(fix.covariance) @ away)
            errors.append(np.hypot(*away))
    share = {p: float(np.mean(np.array(squares) < -2 * np.log(1 - p))) for p in (0.39, 0.68, 0.95)}
    assert 0.60 <= share[0.68] <= 0.76
    assert 0.31 <= share[0.39] <= 0.47
    assert share[0.95] >= 0.92
    assert np.median(errors) < 10
