"""``fixstream compare``: shadow versions beside the live ones, on the same captures: what a promotion is decided on."""

from __future__ import annotations

import json
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.cli.deploy import Bootstrap
from stream_app.cli.evaluate import StatedFix, parse_place
from stream_app.cli.evaluate import compare as judge

if TYPE_CHECKING:
    from stream_app.cli.fixes import FixReader
    from stream_app.records.fix import Fix

_WAITING = 100_000  # fixes of a topic that may wait for their partner
_PAIRS = 100_000  # newest pairs of a version that the figures are made of
_READ_S = 0.05


def compare(
    truth: Annotated[Path | None, typer.Option(help="true positions, as simulate --truth writes them")] = None,
    at: Annotated[str | None, typer.Option(help="LAT,LON of the one emitter that all fixes are of, degrees")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="stop after so long; default: at Ctrl-C")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="begin with the oldest fix that is kept")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
    bootstrap: Bootstrap = None,
) -> None:
    """Compare shadow versions with the live ones: how far apart, how sure, how fast, and who is nearer to the truth."""
    from stream_app.cli.fixes import FixReader
    from stream_app.network.truth import read_truths
    from stream_app.settings import load_settings

    if truth is not None and at is not None:
        raise typer.BadParameter("give --truth FILE or --at LAT,LON, not both")
    place = None if at is None else parse_place(at)
    if truth is not None:
        read_truths(truth)  # what is wrong with it is said before the wait
    settings = load_settings(bootstrap_servers=bootstrap)
    live = FixReader(settings, from_start)
    shadow = FixReader(settings.model_copy(update={"positions_topic": settings.shadow_topic}), from_start)
    pairing = Pairing()
    try:
        _read(live, shadow, pairing, seconds)
    except KeyboardInterrupt:
        pass  # the way to end it: the figures follow
    finally:
        live.close()
        shadow.close()
    # The file may have grown meanwhile.
    places = {} if truth is None else {t.capture_id: (t.latitude, t.longitude) for t in read_truths(truth).values()}
    found = [pairing.figures(version, places, place) for version in pairing.versions]
    if as_json:
        typer.echo(json.dumps({**pairing.counts(), "shadow": [asdict(figures) for figures in found]}))
    else:
        typer.echo("\n".join([_counts_text(pairing), *map(_figures_text, found)]))


def _read(live: FixReader, shadow: FixReader, pairing: Pairing, seconds: float | None) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        for fix in live.read(_READ_S):
            pairing.add_live(fix)
        for fix in shadow.read(_READ_S):
            pairing.add_shadow(fix)


@dataclass(frozen=True, slots=True)
class Side:
    """What the comparison keeps of a fix."""

    stated: StatedFix
    semi_major_m: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """A shadow version beside the live ones. Without a pair, or without a truth, figures are None."""

    version: str
    pairs: int  # all that were seen; the figures are those of the newest
    distance_median_m: float | None = None
    distance_p95_m: float | None = None
    semi_major_ratio_median: float | None = None  # shadow / live
    latency_median_ms: float | None = None
    live_latency_median_ms: float | None = None
    with_truth: int = 0
    nearer_share: float | None = None  # of the pairs with a truth, those where the shadow version is nearer
    error_median_m: float | None = None
    live_error_median_m: float | None = None


class Pairing:
    """Joins both topics by capture_id. Of a capture that is answered twice, the first answer counts."""

    def __init__(self, waiting: int = _WAITING, pairs: int = _PAIRS) -> None:
        self._limit = waiting
        # A live fix stays after its first partner: there may be more shadow versions.
        self._live: OrderedDict[str, tuple[Side, set[str]]] = OrderedDict()
        self._shadow: OrderedDict[str, dict[str, Side]] = OrderedDict()
        self._pairs: dict[str, deque[tuple[Side, Side]]] = defaultdict(lambda: deque(maxlen=pairs))
        self._count: Counter[str] = Counter()
        self.live_fixes = self.shadow_fixes = self.live_dropped = self.shadow_dropped = 0

    @property
    def versions(self) -> list[str]:
        """The shadow versions with at least one pair."""
        return sorted(self._pairs, key=lambda version: (len(version), version))

    def add_live(self, fix: Fix) -> None:
        """Takes a fix of the positions topic."""
        if fix.capture_id in self._live:
            return
        self.live_fixes += 1
        side, matched = _side(fix), set[str]()
        self._live[fix.capture_id] = side, matched
        for version, shadow in self._shadow.pop(fix.capture_id, {}).items():
            self._pair(version, shadow, side, matched)
        if len(self._live) > self._limit:
            self.live_dropped += not self._live.popitem(last=False)[1][1]

    def add_shadow(self, fix: Fix) -> None:
        """Takes a fix of the shadow topic."""
        partner = self._live.get(fix.capture_id)
        waiting = self._shadow.get(fix.capture_id, {})
        if fix.model_version in (waiting if partner is None else partner[1]):
            return
        self.shadow_fixes += 1
        if partner is not None:
            self._pair(fix.model_version, _side(fix), *partner)
            return
        self._shadow.setdefault(fix.capture_id, waiting)[fix.model_version] = _side(fix)
        if len(self._shadow) > self._limit:
            self.shadow_dropped += len(self._shadow.popitem(last=False)[1])

    def counts(self) -> dict[str, int]:
        """Fixes of both topics, and how many were dropped before a partner came."""
        return {
            "live_fixes": self.live_fixes,
            "shadow_fixes": self.shadow_fixes,
            "shadow_waiting": sum(map(len, self._shadow.values())),
            "live_dropped": self.live_dropped,
            "shadow_dropped": self.shadow_dropped,
        }

    def figures(
        self, version: str, places: Mapping[str, tuple[float, float]], place: tuple[float, float] | None = None
    ) -> Figures:
        """A shadow version's figures; ``places`` are true ones by capture_id, ``place`` is that of all captures."""
        import numpy as np

        from stream_app.geo.geodesy import distance_m

        mine, theirs = zip(*self._pairs[version], strict=True)
        shadow, live = np.array([*map(_row, mine)]), np.array([*map(_row, theirs)])
        distance, distance_p95 = np.percentile(distance_m(*shadow[:, :2].T, *live[:, :2].T), [50, 95]).tolist()
        plain = Figures(
            version,
            self._count[version],
            distance,
            distance_p95,
            float(np.median(shadow[:, 2] / live[:, 2])),
            float(np.median(shadow[:, 3])),
            float(np.median(live[:, 3])),
        )
        names = [side.stated.capture_id for side in mine]
        true = dict.fromkeys(names, place) if place is not None else {n: places[n] for n in names if n in places}
        if not true:
            return plain
        known = np.array([name in true for name in names])
        where = np.array([true[name] for name in names if name in true]).T
        nearer = distance_m(*shadow[known, :2].T, *where) < distance_m(*live[known, :2].T, *where)
        error, live_error = (
            judge({side.stated.capture_id: side.stated for side in sides}, true).error_median_m
            for sides in (mine, theirs)
        )
        return replace(
            plain,
            with_truth=len(true),
            nearer_share=float(nearer.mean()),
            error_median_m=error,
            live_error_median_m=live_error,
        )

    def _pair(self, version: str, shadow: Side, live: Side, matched: set[str]) -> None:
        matched.add(version)
        self._count[version] += 1
        self._pairs[version].append((shadow, live))


def _side(fix: Fix) -> Side:
    return Side(StatedFix.of(fix), fix.semi_major_m, fix.timings.total_ms)


def _row(side: Side) -> tuple[float, float, float, float]:
    """Latitude, longitude (degrees), semi-major axis (m), latency (ms)."""
    return side.stated.latitude, side.stated.longitude, side.semi_major_m, side.latency_ms


def _counts_text(pairing: Pairing) -> str:
    counts = pairing.counts()
    text = f"{counts['live_fixes']:,} live fixes, {counts['shadow_fixes']:,} of shadow versions"
    if counts["shadow_waiting"]:
        text += f", {counts['shadow_waiting']:,} of these still without the live one"
    if counts["live_dropped"] or counts["shadow_dropped"]:
        text += f"; dropped without a partner: {counts['live_dropped']:,} live, {counts['shadow_dropped']:,} shadow"
    return text


def _figures_text(found: Figures) -> str:
    lines = [
        f"shadow version {found.version}: {found.pairs:,} pairs",
        f"  apart: median {found.distance_median_m:,.1f} m, 95 % {found.distance_p95_m:,.1f} m",
        f"  ellipse: {found.semi_major_ratio_median:.2f} times as long as the live one (median)",
        f"  latency: median {found.latency_median_ms:.1f} ms, live {found.live_latency_median_ms:.1f} ms",
    ]
    if found.nearer_share is not None:
        lines.append(
            f"  nearer to the truth in {found.nearer_share:.1%} of {found.with_truth:,} pairs: "
            f"error {found.error_median_m:,.1f} m, live {found.live_error_median_m:,.1f} m (median)"
        )
    return "\n".join(lines)
