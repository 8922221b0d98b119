"""``fixstream evaluate``: how far fixes are from the truth, and whether their ellipses keep their word."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_app.errors import FixesFileError
from stream_app.evaluation.choice import FIXES, RECEIVERS, SNRS_DB, Geometry

if TYPE_CHECKING:
    from stream_app.evaluation.cells import Cell
    from stream_app.records.fix import Fix

# The 1-sigma ellipse holds 1 - exp(-1/2), the 39 % of the field.
_SHARES = (-math.expm1(-0.5), 0.68, 0.95)

_SIMULATED = "Simulated captures"


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


@dataclass(frozen=True, slots=True)
class StatedFix:
    """What is needed of a fix: where (degrees), and how sure (m², east/north)."""

    capture_id: str
    latitude: float
    longitude: float
    covariance: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def of(cls, fix: Fix) -> StatedFix:
        """What a fix states."""
        return cls(fix.capture_id, fix.latitude, fix.longitude, fix.covariance)


@dataclass(frozen=True, slots=True)
class Report:
    """Errors in metres, shares of truths inside ellipses, and counts. Without a matched fix they are None."""

    fixes: int  # that were compared
    error_median_m: float | None
    error_p68_m: float | None
    error_p90_m: float | None
    error_p95_m: float | None
    in_39: float | None
    in_68: float | None
    in_95: float | None
    fixes_without_truth: int
    truths_without_fix: int
    repeated_fixes: int  # of a capture_id seen before; the first one counts


def evaluate(
    fixes: Annotated[
        list[str] | None, typer.Argument(help="fixes, one JSON line each (locate --json); - or none: standard input")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="true positions, as simulate --truth writes them")] = None,
    at: Annotated[str | None, typer.Option(help="LAT,LON of the one emitter that all fixes are of, degrees")] = None,
    network: Annotated[Path | None, typer.Option(help="a network's YAML file, to state its size beside")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
    simulate: Annotated[
        Path | None,
        typer.Option(help="judge the reference model by simulation; rows go to this file", rich_help_panel=_SIMULATED),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="the page that gets tables and plots", rich_help_panel=_SIMULATED)
    ] = None,
    count: Annotated[int, typer.Option("--fixes", min=10, help="in each cell", rich_help_panel=_SIMULATED)] = FIXES,
    receivers: Annotated[
        list[int] | None, typer.Option(min=2, max=32, help=f"default {_list(RECEIVERS)}", rich_help_panel=_SIMULATED)
    ] = None,
    geometry: Annotated[
        list[Geometry] | None, typer.Option(help="of emitters; default all", rich_help_panel=_SIMULATED)
    ] = None,
    snr: Annotated[
        list[float] | None,
        typer.Option(min=-60, max=60, help=f"dB; default {_list(SNRS_DB)}", rich_help_panel=_SIMULATED),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the captures", rich_help_panel=_SIMULATED)] = 1,
    processes: Annotated[int, typer.Option(min=1, help="side by side", rich_help_panel=_SIMULATED)] = 2,
) -> None:
    """Compare fixes with the truth: errors, and the share of truths inside the ellipses.

    With --simulate the reference model is judged: simulated captures over SNR, geometry and number of receivers, errors
    beside the Cramér-Rao bound. Cut short, it goes on where it was.
    """
    from stream_app.network.truth import read_truths

    if simulate is not None:
        if fixes or truth or at or network:
            raise typer.BadParameter("--simulate makes networks, captures and fixes of its own: give none beside it")
        from stream_app.evaluation.cells import cells

        _simulate(
            cells(receivers or RECEIVERS, geometry or list(Geometry), snr or SNRS_DB),
            count,
            seed,
            processes,
            simulate,
            page,
        )
        return
    if (truth is None) == (at is None):
        raise typer.BadParameter("give either --truth FILE or --at LAT,LON, or --simulate FILE")
    fixed = None if at is None else parse_place(at)
    places = {} if truth is None else {t.capture_id: (t.latitude, t.longitude) for t in read_truths(truth).values()}
    baseline_km = None if network is None else _baseline_km(network)
    found, repeated = _distinct(fix for name in fixes or ["-"] for fix in read_fixes(name))
    if fixed is not None:
        places = dict.fromkeys(found, fixed)
    report = compare(found, places, repeated)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "longest_baseline_km": baseline_km}))
    else:
        typer.echo(report_text(report, baseline_km))


def read_fixes(name: str) -> list[StatedFix]:
    """The fixes of a file of JSON lines, "-" for standard input. Raises FixesFileError, which names file and line."""
    shown = "standard input" if name == "-" else name
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise FixesFileError(f"{name}: cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                found.append(_parse(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                raise FixesFileError(f"{shown}: line {number} is no fix: {what}") from error
    return found


def compare(fixes: Mapping[str, StatedFix], places: Mapping[str, tuple[float, float]], repeated: int = 0) -> Report:
    """Fixes by capture_id against true latitudes and longitudes by capture_id."""
    import numpy as np

    from stream_app.geo.ellipse import holds
    from stream_app.geo.geodesy import offset_en_m

    matched = [fix for name, fix in fixes.items() if name in places]
    lost = len(fixes) - len(matched), len(places.keys() - fixes.keys()), repeated
    if not matched:
        return Report(0, None, None, None, None, None, None, None, *lost)
    stated = np.array([(fix.latitude, fix.longitude) for fix in matched])
    true = np.array([places[fix.capture_id] for fix in matched])
    east, north = offset_en_m(stated[:, 0], stated[:, 1], true[:, 0], true[:, 1])
    median, p68, p90, p95 = np.percentile(np.hypot(east, north), [50, 68, 90, 95]).tolist()
    covariance = np.array([fix.covariance for fix in matched])
    in_39, in_68, in_95 = (float(holds(covariance, east, north, p).mean()) for p in _SHARES)
    return Report(len(matched), median, p68, p90, p95, in_39, in_68, in_95, *lost)


def _parse(values: Any) -> StatedFix:
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    (ee, en), (ne, nn) = values["covariance"]
    numbers = [float(v) for v in (values["latitude"], values["longitude"], ee, en, ne, nn)]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a number is not finite")
    latitude, longitude, ee, en, ne, nn = numbers
    return StatedFix(str(values["capture_id"]), latitude, longitude, ((ee, en), (ne, nn)))


def _distinct(fixes: Iterable[StatedFix]) -> tuple[dict[str, StatedFix], int]:
    """The first fix of each capture_id, and how many came after."""
    found: dict[str, StatedFix] = {}
    repeated = 0
    for fix in fixes:
        repeated += fix.capture_id in found
        found.setdefault(fix.capture_id, fix)
    return found, repeated


def parse_place(text: str) -> tuple[float, float]:
    """Latitude and longitude of "LAT,LON", degrees. Raises typer.BadParameter."""
    try:
        latitude, longitude = map(float, text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--at must be LAT,LON in degrees, as 50.0152,9.0112, not {text!r}") from None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise typer.BadParameter(f"--at {text} is no place: latitude -90 to 90, longitude -180 to 180")
    return latitude, longitude


def _baseline_km(network: Path) -> float:
    from stream_app.network.file import load_network
    from stream_app.network.motion import Paths

    return Paths(load_network(network)).longest_baseline_m() / 1e3


def report_text(report: Report, baseline_km: float | None) -> str:
    """The report in words, with the network's longest baseline beside it where it is given."""
    lines: Sequence[str | None] = [
        None if baseline_km is None else f"network: receivers up to {baseline_km:.1f} km apart",
        _counts(report),
        *_figures(report),
    ]
    return "\n".join(line for line in lines if line is not None)


def _counts(report: Report) -> str:
    extra = [
        f"{count} {what}"
        for count, what in (
            (report.fixes_without_truth, "fixes without a truth"),
            (report.truths_without_fix, "truths without a fix"),
            (report.repeated_fixes, "repeated fixes left out"),
        )
        if count
    ]
    return ", ".join([f"{report.fixes} fixes compared", *extra])


def _figures(report: Report) -> list[str]:
    if report.error_median_m is None:
        return []
    errors = (report.error_median_m, report.error_p68_m, report.error_p90_m, report.error_p95_m)
    shares = (report.in_39, report.in_68, report.in_95)
    named = zip(("median", "68 %", "90 %", "95 %"), errors, strict=True)
    held = zip(("39 %", "68 %", "95 %"), shares, strict=True)
    return [
        "error: " + ", ".join(f"{name} {value:,.1f} m" for name, value in named),
        "truths inside the ellipse: " + ", ".join(f"of {name} {100 * (share or 0):.1f} %" for name, share in held),
    ]


def _simulate(chosen: Sequence[Cell], count: int, seed: int, processes: int, file: Path, page: Path | None) -> None:
    """Prints a table's row for each cell as it comes."""
    from stream_app.evaluation.report import HEAD, line, summary, write_page
    from stream_app.evaluation.sweep import sweep

    typer.echo(HEAD)
    found = []
    for outcome in sweep(chosen, count, seed, processes, file):
        typer.echo(line(outcome))
        found.append(outcome)
    typer.echo(summary(found))
    if page is not None:
        write_page(page, found)
