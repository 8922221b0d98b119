"""The faults, one after the other: ``make faults``. Writes build/faults.json and, of a whole run, docs/faults.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from stream_app.settings import Guarantee
from tests.faults import bounded, kafka, parts, workers
from tests.faults.report import line, page, table
from tests.faults.scenario import Outcome, Scenario, play
from tests.faults.stage import Rig
from tests.support import brokers

SCENARIOS: tuple[Scenario, ...] = (*workers.SCENARIOS, *kafka.SCENARIOS, *parts.SCENARIOS, *bounded.SCENARIOS)
_JSON = brokers.ROOT / "build" / "faults.json"
_PAGE = brokers.ROOT / "docs" / "faults.md"


def main() -> int:
    """Runs what was asked for; 1 where a promise was broken."""
    options = _options()
    if not brokers.java_runs():
        print("The faults need Apache Kafka as a local process: install Java 17 and Maven", file=sys.stderr)
        return 2
    outcomes: list[Outcome] = []
    wanted = [s for s in SCENARIOS if not options.only or s.name in options.only]
    begin = time.monotonic()
    try:
        with Rig() as rig:
            for scenario in wanted:
                for delivery in scenario.deliveries:
                    if not options.delivery or delivery in options.delivery:
                        outcomes.append(play(scenario, rig, delivery, options.short))
                        print(line(outcomes[-1]), flush=True)
                        _write_json(options.json, outcomes)
    finally:
        _write_json(options.json, outcomes)
    print("\n" + table(outcomes))
    print(f"{len(outcomes)} scenarios in {(time.monotonic() - begin) / 60:.1f} minutes; figures in {options.json}")
    if options.table or not (options.only or options.short or options.delivery):
        (options.table or _PAGE).write_text(page(outcomes), encoding="utf-8")
    return int(any(outcome.broken for outcome in outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument(
        "--delivery", nargs="+", type=Guarantee, choices=tuple(Guarantee), help="default: all that a scenario is for"
    )
    parser.add_argument("--short", action="store_true", help="the short form that make test runs")
    parser.add_argument("--json", type=Path, default=_JSON, help="where the figures go")
    parser.add_argument("--table", type=Path, help="where the page goes; default: docs/faults.md, of a whole run")
    return parser.parse_args()


def _write_json(path: Path, outcomes: list[Outcome]) -> None:
    """After each scenario: a run that is broken off leaves what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([outcome.figures() for outcome in outcomes], indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
