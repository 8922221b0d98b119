"""Real recordings, where this machine has them: FIXSTREAM_TEST_RECORDINGS names the folder of the DCF77 recordings."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stream_app.assembly.slots import Assembled, PartitionSlots, Rules
from stream_app.cache.dedup import DedupCache
from stream_app.errors import FixStreamError
from stream_app.geo.geodesy import distance_m, offset_en_m
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.session import OnnxSession
from stream_app.network.file import Network, load_network
from stream_app.network.kiwisdr import read_kiwisdr
from stream_app.network.receptions import receptions_of
from stream_app.network.replay import captures_of
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.resources import example_network
from stream_app.settings import Settings

FOLDER = Path(os.environ.get("FIXSTREAM_TEST_RECORDINGS", "recordings"))
FILES = sorted(str(file) for file in FOLDER.glob("*_77500_*.wav"))
DCF77 = (50.0152, 9.0112)  # Mainflingen

pytestmark = pytest.mark.skipif(not FILES, reason="FIXSTREAM_TEST_RECORDINGS names no folder of DCF77 recordings")


def test_the_transmitter_is_found_and_the_ellipses_say_how_well() -> None:
    command = [sys.executable, "-m", "stream_app.cli.main", "locate", "--json"]
    command += ["--network", str(example_network("dcf77")), "--capture-seconds", "1", *FILES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    fixes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(fixes) == 28
    error = np.array([distance_m(fix["latitude"], fix["longitude"], *DCF77) for fix in fixes])
    assert np.median(error) < 10_000
    assert max(fix["semi_major_m"] for fix in fixes) < 40_000
    assert all(fix["confidence"] == 0.95 for fix in fixes)
    held = [_held(fix) for fix in fixes]
    assert np.mean(held) >= 0.8


def test_receptions_in_wrong_order_give_the_same_fixes() -> None:
    """One receiver two seconds late, another's receptions all doubled, and nothing in order."""
    network = load_network(example_network("dcf77"))
    captures = list(captures_of([read_kiwisdr(file) for file in FILES], network))
    locator = _locator(network)
    chance = random.Random(5)
    arrivals = []
    for capture in captures:
        late, double, third = (replace(each) for each in receptions_of(capture))
        arrivals += [(2.5e6, late), (0.0, double), (0.7e6, replace(double)), (0.0, third)]
    arrivals.sort(key=lambda each: each[0] + each[1].slot_at_us + chance.uniform(0, 0.4e6))
    slots = PartitionSlots({network.name: network}, Rules())
    for offset, (_, reception) in enumerate(arrivals):
        slots.add(reception, None, offset, 0)
    assembled = [result.capture for result in slots.results if isinstance(result, Assembled)]
    assert len(assembled) == len(slots.results) == len(captures)
    assert slots.repeated == len(captures)
    assert [c.captured_at_us for c in assembled] == [c.captured_at_us for c in captures]
    expected, found = (_places(locator.locate(some)) for some in (captures, assembled))
    assert found == expected


def _locator(network: Network) -> Locator:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        onnx.save(build_tdoa(network), str(model))
        session = OnnxSession.load(model, "dcf77", "1", 1)
    return Locator(Fleet.of(session), DedupCache(None), Codecs(), Settings(cache_url="none://"), Metrics())


def _places(results: Sequence[Fix | FixStreamError]) -> list[tuple[float, ...]]:
    return [(f.latitude, f.longitude, f.semi_major_m, f.orientation_deg) for f in results if isinstance(f, Fix)]


def _held(fix: dict[str, Any]) -> bool:
    """Whether the truth lies in the fix's 95 % ellipse."""
    away = np.array(offset_en_m(fix["latitude"], fix["longitude"], *DCF77)).ravel()
    return bool(away @ np.linalg.inv(np.array(fix["covariance"])) @ away < -2 * np.log(0.05))
