"""A scenario: what is done, how often, and what came of it."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream_app.settings import Guarantee
from tests.faults.account import Account
from tests.faults.stage import Rig, Stage
from tests.support import brokers

ONCE = (Guarantee.EXACTLY_ONCE,)  # for faults that have nothing to do with delivery
_WORDS = 300  # of an error, at most
_LOGS = brokers.ROOT / "build" / "faults"


Row = dict[str, Any]  # an entry of build/faults.json, and a line of the table


@dataclass(frozen=True)
class Scenario:
    """``act(stage, times)`` does it ``times`` times, in whatever unit ``what`` names, and may use another stage."""

    name: str
    what: str  # one line, for people
    act: Callable[[Stage, int], None]
    times: int
    short: int  # times in the short form
    unit: str = "×"
    deliveries: tuple[Guarantee, ...] = tuple(Guarantee)
    settings: Mapping[str, Any] = field(default_factory=dict)
    stage: Callable[..., Any] = Stage  # a context manager that gives the stage
    lacking: Callable[[], str] = lambda: ""  # why this machine cannot do it


@dataclass(frozen=True)
class Outcome:
    """A line of the table."""

    scenario: Scenario
    delivery: Guarantee
    times: int
    account: Account | None  # None: it did not run to its end
    broken: list[str]
    notes: list[str]
    not_run: str = ""

    def figures(self) -> Row:
        """The entry in build/faults.json."""
        found = self.account
        return {
            "scenario": self.scenario.name,
            "what": self.scenario.what,
            "times": f"{self.times} {self.scenario.unit}",
            "delivery": self.delivery.value,
            "ended": found is not None,
            "sent": found.sent if found else 0,
            "answered": found.answered if found else 0,
            "lost": len(found.lost) if found else 0,
            "twice": len(found.twice) if found else 0,
            "out_of_order": len(found.out_of_order) if found else 0,
            "wrong": len(found.wrong) if found else 0,
            "longest_gap_s": round(found.longest_gap_s, 2) if found else None,
            "longest_wait_s": round(found.longest_wait_s, 2) if found else None,
            "broken": self.broken,
            "notes": self.notes,
            "not_run": self.not_run,
        }


def play(scenario: Scenario, rig: Rig, delivery: Guarantee, short: bool) -> Outcome:
    """Runs it. Whatever it raises is a broken promise of its own: the other scenarios go on."""
    times = scenario.short if short else scenario.times
    if not short and delivery is Guarantee.AT_LEAST_ONCE:  # the lesser promise: a fifth of the time
        times = max(scenario.short, times // 5)
    lacking = scenario.lacking()
    if lacking:
        return Outcome(scenario, delivery, times, None, [], [], lacking)
    stage: Stage | None = None
    found: Account | None = None
    try:
        with scenario.stage(rig, delivery, short, **scenario.settings) as stage:
            scenario.act(stage, times)
            found = stage.settle()
        broken = found.broken(delivery, stage.most_again) + stage.problems
        if not found.sent:
            broken.append("nothing was sent")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:_WORDS]} ({where.name}, line {where.lineno})"
        broken = [f"it did not run to its end: {words}"]
    if broken and stage is not None:
        broken.append(f"the workers' logs are in {_keep_logs(stage, f'{scenario.name}-{delivery}')}")
    return Outcome(scenario, delivery, times, found, broken, stage.notes if stage is not None else [])


def _keep_logs(stage: Stage, name: str) -> str:
    place = _LOGS / name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(stage.folder, place)
    return str(place.relative_to(brokers.ROOT))
