"""fixstream evaluate --simulate: rows in a file, what was done is kept, a page with tables and plots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from typer.testing import CliRunner, Result

from stream_app.cli.main import app
from stream_app.errors import EvaluationFileError
from stream_app.evaluation.report import misses
from stream_app.evaluation.sweep import read_outcomes

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


def _evaluate(file: Path, *options: str) -> Result:
    few = ["--fixes", "12", "--receivers", "3", "--geometry", "inside", "--processes", "1"]
    return CliRunner().invoke(app, ["evaluate", "--simulate", str(file), *few, *options])


def test_rows_have_the_figures_and_a_second_run_does_only_what_is_missing(tmp_path: Path) -> None:
    file, page = tmp_path / "build" / "evaluate.json", tmp_path / "evaluation.md"
    first = _evaluate(file, "--snr", "10")
    assert first.exit_code == 0, first.output
    [row] = json.loads(file.read_text())
    assert (row["snr_db"], row["geometry"], row["receivers"], row["fixes"]) == (10, "inside", 3, 12)
    assert 0.5 < row["ratio"] == row["rms_m"] / row["crb_m"] < 2
    assert all(0 <= row[key] <= 1 for key in ("share_39", "share_68", "share_95"))
    marked = json.loads(file.read_text())
    marked[0]["rms_m"] = 123.0  # a row that is kept is not made again
    file.write_text(json.dumps(marked))
    shutil.copy(PAGE, page)
    second = _evaluate(file, "--snr", "10", "--snr", "20", "--page", str(page))
    assert second.exit_code == 0, second.output
    assert [(row["snr_db"], row["rms_m"] == 123) for row in json.loads(file.read_text())] == [(10, True), (20, False)]
    text = page.read_text()
    assert "| 3 | inside | 10 | 12 |" in text
    assert "cells keep what is promised" in text
    for name in ("evaluation-ratio.svg", "evaluation-shares.svg"):
        assert f"(images/{name})" in text
        assert "<svg" in (tmp_path / "images" / name).read_text()


def test_rows_of_another_program_are_made_again(tmp_path: Path) -> None:
    file = tmp_path / "evaluate.json"
    _evaluate(file, "--snr", "10")
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([{**rows[0], "rms_m": 123.0, "program": "an older one"}]))
    _evaluate(file, "--snr", "10")
    assert json.loads(file.read_text()) == rows


def test_a_wrong_file_or_page_is_said_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "evaluate.json"
    file.write_text('{"not": "rows"}')
    refused = _evaluate(file)
    assert isinstance(refused.exception, EvaluationFileError)
    assert "evaluate.json: is no list of outcomes" in str(refused.exception)
    file.unlink()
    page = tmp_path / "page.md"
    page.write_text("no marks")
    refused = _evaluate(file, "--snr", "10", "--page", str(page))
    assert "has no <!-- figures -->" in str(refused.exception)
    assert len(read_outcomes(file)) == 1  # what was simulated is not lost


def test_simulate_takes_no_fixes_of_its_own(tmp_path: Path) -> None:
    said = _evaluate(tmp_path / "x.json", "--at", "1,2")
    assert said.exit_code == 2
    assert "networks, captures and fixes of its own" in said.output.replace("\n", " ").replace("│ ", "")


def test_what_misses_is_named(tmp_path: Path) -> None:
    file = tmp_path / "evaluate.json"
    _evaluate(file, "--snr", "10")
    [row] = json.loads(file.read_text())
    good = {"share_39": 0.40, "share_68": 0.69, "share_95": 0.94, "ratio": 1.1}

    def of(**changes: object) -> list[str]:
        file.write_text(json.dumps([{**row, **good, **changes}]))
        return misses(read_outcomes(file)[0])

    assert of() == []
    assert of(share_68=0.72) == ["in 68 %"]
    assert of(ratio=1.2) == ["ratio"]
    assert of(ratio=1.2, snr_db=-5.0) == []
    assert of(share_95=0.91, snr_db=-5.0) == ["in 95 %"]
    assert of(geometry="outside", sure=0.01) == ["1.0 % stated as sure"]
    assert of(receivers=2, share_39=0.1) == []
