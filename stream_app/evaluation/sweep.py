"""All cells, over several processes; what was done before is not done again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from stream_app.errors import EvaluationFileError
from stream_app.evaluation.cells import Cell
from stream_app.evaluation.choice import Geometry
from stream_app.evaluation.trial import Outcome, digest_of, run


def sweep(cells: Sequence[Cell], count: int, seed: int, processes: int, file: Path) -> Iterator[Outcome]:
    """Outcomes of the cells as they come; ``file`` holds all so far, so that a sweep cut short goes on where it was.

    What the file has of the same cell, count and seed, by the same model, simulator and features, is taken from it;
    other rows go. Raises EvaluationFileError where the file is something else.
    """
    done = _usable(read_outcomes(file), cells, count, seed) if file.exists() else []
    yield from done
    # The dear ones first, so that the processes end together.
    left = sorted(set(cells) - {cell_of(outcome) for outcome in done}, reverse=True)
    # BLAS would put each process on all cores; the children read this when they start.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, cell, count, seed) for cell in left]):
            done.append(future.result())
            _write(file, done)
            yield done[-1]


def read_outcomes(file: Path) -> list[Outcome]:
    """The outcomes of an earlier sweep. Raises EvaluationFileError."""
    try:
        return [Outcome(**row) for row in json.loads(file.read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise EvaluationFileError(f"{file}: is no list of outcomes ({error}): delete it, or name another") from error


def cell_of(outcome: Outcome) -> Cell:
    """The cell whose outcome it is."""
    return Cell(outcome.receivers, Geometry(outcome.geometry), outcome.snr_db)


def _usable(found: Sequence[Outcome], cells: Sequence[Cell], count: int, seed: int) -> list[Outcome]:
    wanted = set(cells)
    same = [o for o in found if cell_of(o) in wanted and (o.fixes, o.seed) == (count, seed)]
    programs = {receivers: digest_of(receivers) for receivers in {o.receivers for o in same}}
    return [outcome for outcome in same if outcome.program == programs[outcome.receivers]]


def _write(file: Path, outcomes: Sequence[Outcome]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps([asdict(o) for o in sorted(outcomes, key=cell_of)], indent=1) + "\n")
    part.replace(file)
