"""Real recordings, where this machine has them: FIXSTREAM_TEST_RECORDINGS names the folder of the DCF77 recordings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_app.geo.geodesy import distance_m, offset_en_m
from stream_app.resources import example_network

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


def _held(fix: dict[str, Any]) -> bool:
    """Whether the truth lies in the fix's 95 % ellipse."""
    away = np.array(offset_en_m(fix["latitude"], fix["longitude"], *DCF77)).ravel()
    return bool(away @ np.linalg.inv(np.array(fix["covariance"])) @ away < -2 * np.log(0.05))
