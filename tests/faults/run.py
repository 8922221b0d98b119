"""The faults, one after the other: ``make faults``. Writes build/faults.json and, of a whole run, docs/faults.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from stream_app.settings import Guarantee
from tests.faults import assembly, bounded, kafka, parts, workers
from tests.faults.report import line, page, table
from tests.faults.scenario import Row, Scenario, play
from tests.faults.stage import Rig
from tests.support import brokers

SCENARIOS: tuple[Scenario, ...] = (
    *workers.SCENARIOS,
    *assembly.SCENARIOS,
    *kafka.SCENARIOS,
    *parts.SCENARIOS,
    *bounded.SCENARIOS,
)
_JSON = brokers.ROOT / "build" / "faults.json"
_PAGE = brokers.ROOT / "docs" / "faults.md"


def main() -> int:
    """Runs what was asked for; 1 where a promise was broken."""
    options = _options()
    if not brokers.java_runs():
        print("The faults need Apache Kafka as a local process: install Java 17 and Maven", file=sys.stderr)
        return 2
    whole = not (options.only or options.delivery or options.short)
    rows = [] if whole or options.short else _kept(options.json)
    played = 0
    wanted = [s for s in SCENARIOS if not options.only or s.name in options.only]
    begin = time.monotonic()
    with Rig() as rig:
        for scenario in wanted:
            for delivery in scenario.deliveries:
                if options.delivery and delivery not in options.delivery:
                    continue
                row = play(scenario, rig, delivery, options.short).figures()
                played += 1
                print(line(row), flush=True)
                rows = _with(rows, row)
                # After each scenario: a run that is broken off leaves what it has.
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print("\n" + table(rows))
    print(f"{played} scenarios in {(time.monotonic() - begin) / 60:.1f} minutes; figures in {options.json}")
    if options.table or whole:
        (options.table or _PAGE).write_text(page(rows), encoding="utf-8")
    return int(any(row["broken"] for row in rows))


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


def _kept(path: Path) -> list[Row]:
    """The figures of earlier runs, for one that plays only some scenarios."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _with(rows: list[Row], row: Row) -> list[Row]:
    """The row in place of an earlier one of its scenario and delivery, in the order of the scenarios."""
    order = [(scenario.name, delivery.value) for scenario in SCENARIOS for delivery in scenario.deliveries]
    found = {(each["scenario"], each["delivery"]): each for each in [*rows, row]}
    return [found[key] for key in order if key in found]


if __name__ == "__main__":
    sys.exit(main())
