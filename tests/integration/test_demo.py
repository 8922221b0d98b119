"""What a stranger sees first: the demo, from start to stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream_app.cli.main", "demo", "--seed", "3", *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "160"},
    )


def emitters(lines: Sequence[str]) -> set[str]:
    return {json.loads(line)["emitter"] for line in lines}


def test_the_demo_prints_a_json_line_a_fix_and_what_the_fixes_were_worth() -> None:
    done = demo("--seconds", "6", "--rate", "20", "--json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 60
    assert emitters(lines) == {"mast", "lorry", "boat"}
    fixes = [json.loads(line) for line in lines]
    assert {fix["cache"] for fix in fixes} >= {"MISS", "EXACT"}
    assert sorted(fix["error_m"] for fix in fixes)[len(fixes) // 2] < 50
    assert f"{len(lines)} fixes compared" in done.stderr
    assert "truths inside the ellipse: of 39 %" in done.stderr
    assert "receivers up to 24.2 km apart" in done.stderr


def test_the_demo_draws_a_table() -> None:
    done = demo("--seconds", "2")
    assert done.returncode == 0, done.stderr
    for word in ("emitter", "ellipse", "error", "latency", "cache", "version", "mast"):
        assert word in done.stdout
