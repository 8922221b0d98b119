"""What the scenarios came to, for people: a line each, the table, the page."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

import psutil

from tests.faults.captures import KEYS
from tests.faults.scenario import Row
from tests.faults.stage import SESSION_MS
from tests.support import brokers

_COUNTS = ("sent", "answered", "lost", "twice", "out_of_order", "wrong")
_HEAD = ("what was done", "how often", "delivery", *_COUNTS, "longest gap, s", "longest wait, s")
_PAGE = """\
# Faults

`make faults` plays these faults against real workers on a real Apache Kafka, each under load and with an account at the
end, and writes this page and `build/faults.json`. The short forms are part of `make test`. One scenario alone:
`make faults ARGS="--only worker-killed --delivery exactly_once"`. Exit code 1: a promise was broken.

Those that try the delivery itself are played under `at_least_once`, too, a fifth as often.

Every capture sent has a number, one of {keys} keys and an answer that was computed beforehand; every 50th record is
poison that must come back as a dead letter. A reader of committed records takes down every fix and dead letter, as any
consumer of `positions` would get them.

- **lost**: captures that Kafka acknowledged and nobody answered. Must be 0.
- **twice**: captures answered more than once. Must be 0 under `exactly_once`. Under `at_least_once` no more answers may
  be repeated than were in flight, for each disturbance (`max_undelivered` + 1) x `max_batch`.
- **out_of_order**: captures first answered after a later one of their key. Must be 0.
- **wrong**: answers that are not the capture's own, whatever the cache, the model or a mix-up made of it. Must be 0.
- **longest gap**: the longest time in which the reader got nothing at all although something was owed.
- **longest wait**: the longest time that one capture waited for its answer, which is what one key notices of the fault.
  It says nothing of `backlog`, all of which is there at the start, and `slow-model`, which is sent more than it can do.
  Session timeouts are {session_s:.0f} s here; the default of 45 s lengthens both accordingly.

## {date}

{machine}

{table}

{verdict}
"""


def line(row: Row) -> str:
    """One line as a scenario ends."""
    if row["not_run"]:
        return f"{row['scenario']} ({row['delivery']}): not run: {row['not_run']}"
    words = ", ".join(f"{name} {row[name]}" for name in _COUNTS)
    said = "; ".join(["", *row["broken"], *row["notes"]])
    return (
        f"{row['scenario']} ({row['delivery']}, {row['times']}): {'BROKEN' if row['broken'] else 'held'}: {words}, "
        f"longest gap {row['longest_gap_s']} s, longest wait {row['longest_wait_s']} s{said}"
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    for row in rows:
        cells = [f"{row['scenario']}: {row['what']}", row["times"], row["delivery"]]
        if row["ended"]:
            cells += [f"{row[name]:,}" for name in _COUNTS]
            cells += [f"{row[name]:.1f}" for name in ("longest_gap_s", "longest_wait_s")]
        else:
            cells += [f"not run: {row['not_run']}" if row["not_run"] else "broken off", *[""] * 7]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page(rows: Sequence[Row]) -> str:
    """docs/faults.md."""
    memory_gb = psutil.virtual_memory().total / 2**30
    machine = (
        f"Apache Kafka {brokers.version()}, Python {platform.python_version()}, {platform.system()} on "
        f"{platform.machine()}, {os.cpu_count()} cores, {memory_gb:.0f} GB; broker, workers and load share them."
    )
    said = [f"- {row['scenario']} ({row['delivery']}): {note}" for row in rows for note in row["notes"]]
    broken = [f"- {row['scenario']} ({row['delivery']}): {words}" for row in rows for words in row["broken"]]
    verdict = "\n".join(["**Broken promises:**", "", *broken] if broken else ["Every promise was kept."])
    return _PAGE.format(
        keys=KEYS,
        session_s=SESSION_MS / 1e3,
        date=datetime.now(UTC).date().isoformat(),
        machine=machine,
        table=table(rows) + ("\n" + "\n".join(said) + "\n" if said else ""),
        verdict=verdict,
    )
