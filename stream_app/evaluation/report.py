"""Outcomes in words: whether each keeps the promise, tables and plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from stream_app.errors import EvaluationFileError
from stream_app.evaluation.choice import Geometry
from stream_app.evaluation.trial import ONE_SIGMA, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 0.03  # that shares may be off
RATIO = 1.15
LOWEST_DB = 0.0  # from here up fixes are to be as good as they can be; below, their ellipses must hold them
_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"
HEAD = (
    "| receivers | geometry | SNR dB | fixes | in 39 % | in 68 % | in 95 % "
    "| RMS m | bound m | ratio | reach m | border | |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def misses(outcome: Outcome) -> list[str]:
    """What the outcome does not keep of what is promised, in words; empty where it keeps all."""
    if outcome.geometry == Geometry.OUTSIDE:
        return [f"{100 * outcome.sure:.1f} % stated as sure"] if outcome.sure else []
    if outcome.snr_db < LOWEST_DB or outcome.receivers == 2:  # a hyperbola is no Gaussian; the whole of it is to be in
        return ["in 95 %"] if outcome.share_95 < 0.95 - POINTS else []
    stated = ((outcome.share_39, ONE_SIGMA), (outcome.share_68, 0.68), (outcome.share_95, 0.95))
    found = [f"in {100 * p:.0f} %" for share, p in stated if abs(share - p) > POINTS]
    return found + ([] if outcome.ratio is None or outcome.ratio <= RATIO else ["ratio"])


def tables(outcomes: Sequence[Outcome]) -> str:
    """A table for each number of receivers."""
    parts = [summary(outcomes)]
    ordered = sorted(outcomes, key=lambda o: (o.receivers, list(Geometry).index(Geometry(o.geometry)), o.snr_db))
    for receivers, rows in groupby(ordered, key=lambda o: o.receivers):
        parts.append(f"### {receivers} receivers\n\n{HEAD}\n" + "\n".join(map(line, rows)))
    return "\n\n".join(parts)


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many cells keep the promise."""
    kept = sum(not misses(outcome) for outcome in outcomes)
    return f"{kept} of {len(outcomes)} cells keep what is promised."


def line(o: Outcome) -> str:
    """An outcome's row."""
    bound = ("", "") if o.crb_m is None or o.ratio is None else (f"{o.crb_m:,.2f}", f"{o.ratio:.2f}")
    missed = misses(o)
    return (
        f"| {o.receivers} | {o.geometry} | {o.snr_db:g} | {o.fixes} "
        f"| {o.share_39:.3f} | {o.share_68:.3f} | {o.share_95:.3f} "
        f"| {o.rms_m:,.2f} | {bound[0]} | {bound[1]} | {o.semi_major_95_m:,.1f} | {o.flagged:.3f} "
        f"| {'**missed**: ' + ', '.join(missed) if missed else 'held'} |"
    )


def write_page(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Puts tables and plots between the page's marks; the plots go to ``images`` beside it.

    Raises EvaluationFileError where the page has no marks or matplotlib is missing.
    """
    try:
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(_BEGIN)
        _, mark, after = rest.partition(_END)
    except OSError as error:
        raise EvaluationFileError(f"{page}: cannot be read: {error.strerror}") from error
    if not mark:
        raise EvaluationFileError(f"{page}: has no {_BEGIN} with {_END} after it, between which the figures go")
    images = "\n".join(f"![{what}](images/{name})" for name, what in _plots(page.parent / "images", outcomes))
    page.write_text(f"{before}{_BEGIN}\n{images}\n\n{tables(outcomes)}\n{_END}{after}", encoding="utf-8")


def _plots(folder: Path, outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str]]:
    """Writes the plots; gives file names and what they show."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise EvaluationFileError("plots need matplotlib: pip install 'fixstream[dev]', or leave --page out") from None
    mpl.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "fixstream"  # equal figures make equal files
    networks = sorted({o.receivers for o in outcomes})
    for name, what, draw in (
        ("evaluation-ratio.svg", "RMS error over the Cramér-Rao bound", _ratios),
        ("evaluation-shares.svg", "Share of truths in the 39, 68 and 95 % ellipses", _shares),
    ):
        figure, axes = pyplot.subplots(1, len(networks), figsize=(3 * len(networks), 3), sharey=True, squeeze=False)
        for ax, receivers in zip(axes[0], networks, strict=True):
            for geometry in (Geometry.INSIDE, Geometry.OFF_CENTRE, Geometry.BORDER):
                rows = [o for o in outcomes if (o.receivers, o.geometry) == (receivers, geometry)]
                draw(ax, sorted(rows, key=lambda o: o.snr_db), geometry)
            ax.set(title=f"{receivers} receivers", xlabel="SNR, dB")
            ax.grid(alpha=0.3)
        axes[0][0].legend(fontsize="x-small")
        figure.suptitle(what)
        figure.tight_layout()
        figure.savefig(folder / name, metadata={"Date": None})
        pyplot.close(figure)
        yield name, what


_COLOURS = {Geometry.INSIDE: "tab:blue", Geometry.OFF_CENTRE: "tab:orange", Geometry.BORDER: "tab:green"}


def _ratios(ax: Axes, rows: Sequence[Outcome], geometry: Geometry) -> None:
    bounded = [(o.snr_db, o.ratio) for o in rows if o.ratio is not None]
    ax.plot(*zip(*bounded, strict=True) if bounded else ([], []), "o-", color=_COLOURS[geometry], label=geometry)
    ax.axhline(RATIO, color="black", linewidth=0.6, linestyle=":")
    ax.set(yscale="log", ylim=(0.5, 100))


def _shares(ax: Axes, rows: Sequence[Outcome], geometry: Geometry) -> None:
    at = [o.snr_db for o in rows]
    for key, stated in (("share_39", ONE_SIGMA), ("share_68", 0.68), ("share_95", 0.95)):
        shares = [getattr(o, key) for o in rows]
        ax.plot(at, shares, "o-", color=_COLOURS[geometry], label=geometry if key == "share_39" else None)
        ax.axhline(stated, color="black", linewidth=0.6, linestyle=":")
    ax.set(ylim=(0, 1.02))
