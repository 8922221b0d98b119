"""Fixes for people: read from Kafka, shown as a live table or as JSON lines."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from stream_app.cli.locate import as_json
from stream_app.errors import UndecodableRecord
from stream_app.geo.geodesy import distance_m
from stream_app.kafka.follow import TopicFollower
from stream_app.network.truth import Truth
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome, Fix
from stream_app.settings import Settings

_ROWS = 16


class FixReader:
    """The fixes of the positions topic."""

    def __init__(self, settings: Settings, from_start: bool = False) -> None:
        """Raises BrokerUnavailable where no broker or no such topic is."""
        self._codecs = Codecs(settings.schema_dir)
        self._follower = TopicFollower(settings, settings.positions_topic, from_start)

    def read(self, wait_s: float) -> Iterator[Fix]:
        """What came within ``wait_s``. Records that hold no fix are left out."""
        for message in self._follower.poll(wait_s):
            try:
                yield self._codecs.decode_fix(message.value() or b"")
            except UndecodableRecord:
                continue

    def close(self) -> None:
        """Leaves the broker."""
        self._follower.close()


@dataclass(frozen=True, slots=True)
class SeenFix:
    """A fix, and how far from its emitter it is where the truth is known."""

    fix: Fix
    truth: Truth | None = None

    @property
    def error_m(self) -> float | None:
        """Distance to the truth on the geodesic, m."""
        if self.truth is None:
            return None
        return float(distance_m(self.fix.latitude, self.fix.longitude, self.truth.latitude, self.truth.longitude))

    def as_json(self) -> dict[str, Any]:
        """A JSON line's content."""
        fix = self.fix
        return as_json(fix) | {
            "emitter": self.truth.emitter if self.truth else None,
            "center_frequency_hz": fix.center_frequency_hz,
            "error_m": self.error_m,
            "latency_ms": fix.timings.total_ms,
            "cache": fix.cache.value,
        }


@dataclass
class FixTable:
    """The last fixes, newest first."""

    title: str
    rows: OrderedDict[str, SeenFix] = field(default_factory=OrderedDict)
    count: int = 0
    hits: int = 0

    def add(self, seen: SeenFix) -> None:
        """Takes one more fix; the oldest leaves the table."""
        self.count += 1
        self.hits += seen.fix.cache not in (CacheOutcome.MISS, CacheOutcome.DISABLED)
        self.rows[seen.fix.capture_id] = seen
        while len(self.rows) > _ROWS:
            self.rows.popitem(last=False)

    def __rich__(self) -> Table:
        """The table as rich draws it, within 80 columns."""
        share = f", {self.hits / self.count:.0%} from the cache" if self.count else ""
        title = f"{self.title}: {self.count} fixes{share}"
        table = Table(title=title, title_justify="left", expand=False, box=SIMPLE_HEAD, pad_edge=False)
        stated = next((f"{seen.fix.confidence:.0%} " for seen in reversed(self.rows.values())), "")
        for name in ("emitter", "position", f"{stated}ellipse", "error", "latency", "cache", "version"):
            table.add_column(name, no_wrap=True, justify="left" if name == "emitter" else "right")
        for seen in reversed(self.rows.values()):
            table.add_row(*_cells(seen))
        return table


def _cells(seen: SeenFix) -> tuple[str, ...]:
    fix, error = seen.fix, seen.error_m
    emitter = seen.truth.emitter if seen.truth else f"{fix.center_frequency_hz / 1e6:.3f} MHz"
    ellipse = f"{axes(fix.semi_major_m, fix.semi_minor_m)} {fix.orientation_deg:3.0f}°"
    return (
        emitter,
        f"{fix.latitude:.4f} {fix.longitude:9.4f}",
        ellipse + (" border" if fix.border else ""),
        "" if error is None else length(error),
        f"{fix.timings.total_ms:.0f} ms",
        fix.cache.value.lower(),
        fix.model_version,
    )


def axes(major_m: float, minor_m: float) -> str:
    """An ellipse's axes in one unit."""
    return f"{major_m:.0f}×{minor_m:.0f} m" if major_m < 1000 else f"{major_m / 1000:.1f}×{minor_m / 1000:.1f} km"


def length(metres: float) -> str:
    """A length as people say it."""
    return f"{metres:.1f} m" if metres < 1000 else f"{metres / 1000:.1f} km"
