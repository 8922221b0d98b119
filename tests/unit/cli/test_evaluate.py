from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_app.cli.evaluate import StatedFix, compare, read_fixes
from stream_app.cli.main import app
from stream_app.errors import FixesFileError, FixStreamError
from stream_app.geo.geodesy import destination, distance_m

_HERE = (47.75, 9.05)


def _fix(name: str, east_m: float = 0.0, sigma_m: float = 10.0) -> dict[str, Any]:
    latitude, longitude = destination(*_HERE, 90.0, east_m)
    covariance = [[sigma_m**2, 0.0], [0.0, sigma_m**2]]
    return {"capture_id": name, "latitude": float(latitude), "longitude": float(longitude), "covariance": covariance}


def _lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _run(*arguments: str, text: str | None = None) -> Any:
    return CliRunner().invoke(app, ["evaluate", *arguments], input=text)


def test_errors_and_shares_are_those_of_the_fixes(tmp_path: Path) -> None:
    # k of 39, 68 and 95 % is 1, 1.51 and 2.45: one truth within the first, two, three, and one beyond all.
    fixes = _lines(tmp_path / "fixes", [_fix(n, e) for n, e in zip("abcd", (5.0, 14.0, 23.0, 30.0), strict=True)])
    result = _run("--at", "47.75,9.05", "--json", fixes)
    report = json.loads(result.stdout)
    assert [report[k] for k in ("fixes", "in_39", "in_68", "in_95")] == [4, 0.25, 0.5, 0.75]
    assert report["error_median_m"] == pytest.approx(18.5, abs=1e-3)
    assert report["error_p95_m"] == pytest.approx(np.percentile([5, 14, 23, 30], 95), abs=1e-3)


def test_of_many_honest_fixes_the_stated_shares_hold() -> None:
    rng = np.random.default_rng(5)
    covariance = np.array([[900.0, 400.0], [400.0, 300.0]])
    errors = rng.multivariate_normal([0, 0], covariance, 4000)
    bearing, length = np.degrees(np.arctan2(errors[:, 0], errors[:, 1])), np.hypot(*errors.T)
    latitude, longitude = destination(*_HERE, bearing, length)
    cov = ((900.0, 400.0), (400.0, 300.0))
    fixes = {str(n): StatedFix(str(n), float(latitude[n]), float(longitude[n]), cov) for n in range(4000)}
    report = compare(fixes, dict.fromkeys(fixes, _HERE))
    assert report.in_39 == pytest.approx(0.3935, abs=0.03)
    assert report.in_68 == pytest.approx(0.68, abs=0.03)
    assert report.in_95 == pytest.approx(0.95, abs=0.015)
    assert report.error_p68_m == pytest.approx(np.percentile(length, 68), rel=1e-6)


def test_fixes_are_matched_by_capture_and_what_has_no_partner_is_counted(tmp_path: Path) -> None:
    truth = {"emitter": "e", "latitude": _HERE[0], "longitude": _HERE[1]}
    truths = _lines(tmp_path / "truth", [{"capture_id": n, **truth} for n in "abc"])
    rows = [_fix("a", 4.0), _fix("x"), _fix("a", 999.0)]
    result = _run("--truth", truths, "--json", text="".join(json.dumps(row) + "\n" for row in rows))
    report = json.loads(result.stdout)
    counts = [report[k] for k in ("fixes", "fixes_without_truth", "truths_without_fix", "repeated_fixes")]
    assert counts == [1, 1, 2, 1]
    assert report["error_median_m"] == pytest.approx(4, abs=1e-3)


def test_text_names_the_networks_size(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "examples" / "dcf77.yaml"
    result = _run("--at", "47.75,9.05", "--network", str(example), _lines(tmp_path / "f", [_fix("a", 4.0)]))
    size_km = float(distance_m(53.665337, 7.282766, 45.779290, 0.614638)) / 1e3  # DF0KL to F1JEK
    assert f"up to {size_km:.1f} km apart" in result.stdout
    assert "median 4.0 m" in result.stdout
    assert "of 95 % 100.0 %" in result.stdout


def test_without_a_match_there_are_no_figures(tmp_path: Path) -> None:
    truths = _lines(tmp_path / "truth", [])
    report = json.loads(_run("--truth", truths, "--json", _lines(tmp_path / "f", [_fix("a")])).stdout)
    assert (report["fixes"], report["error_median_m"], report["in_95"]) == (0, None, None)


@pytest.mark.parametrize("line", ["{", "[]", '{"capture_id": "a", "latitude": 1, "longitude": 2}', "{}"])
def test_a_line_that_is_no_fix_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "fixes"
    path.write_text(json.dumps(_fix("a")) + "\n" + line + "\n")
    with pytest.raises(FixesFileError, match="fixes: line 2 is no fix"):
        read_fixes(str(path))


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    assert _run().exit_code == 2
    assert _run("--at", "here").exit_code == 2
    assert _run("--at", "91,0").exit_code == 2
    assert isinstance(_run("--truth", str(tmp_path / "none")).exception, FixStreamError)
    assert isinstance(_run("--at", "1,2", str(tmp_path / "none")).exception, FixesFileError)
