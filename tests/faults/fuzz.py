"""Random and mutated records through codec and pipeline: python -m tests.faults.fuzz --inputs 1000000 --seed 1

Each input must become a fix or a CaptureError, never anything else; good neighbours must get the very fix that they get
alone; no batch may take long; memory must stay flat. Prints one JSON line; what fails is printed and kept in build/.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from stream_app.cache.backends import MemoryCache
from stream_app.cache.dedup import DedupCache
from stream_app.errors import CaptureError
from stream_app.locate.batch import Batch
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.records.capture import IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome, Fix
from stream_app.settings import Settings
from tests.faults.mutate import Mutator, good_captures
from tests.support.small_model import small_session

BATCH = 32
GOOD = 2  # of them are good captures, whose fixes are known
LONGEST_S = 10.0
WARM_UP, MOST_GROWTH = 0.2, 1.15  # the share of the inputs after which resident memory may grow by so much
KEPT = Path(__file__).parents[2] / "build"


@dataclass(frozen=True)
class Taken:
    """A record as the pipeline takes it."""

    value: bytes | None
    received_at: float
    key: bytes | None = b"key"
    capture: IqCapture | None = None
    refusal: CaptureError | None = None


@dataclass
class Account:
    """What became of the inputs."""

    inputs: int = 0
    features: int = 0  # had features made
    inference: int = 0  # were answered by the model
    slowest_s: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)
    memory_mb: list[float] = field(default_factory=list)  # evenly over the run


class Broken(Exception):
    """A property does not hold; ``values`` are the records of the batch that shows it."""

    def __init__(self, why: str, values: list[bytes]) -> None:
        super().__init__(why)
        self.values = values


class Fuzzer:
    """Batches of mutants and good captures, in an order that a seed decides."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._codecs = Codecs()
        self._mutator = Mutator(seed, self._codecs)
        settings = Settings(_env_file=None)
        fleet = Fleet.of(small_session(folder))
        # A small cache: what the mutants leave in it must be pushed out, not gathered.
        self._locator = Locator(fleet, DedupCache(MemoryCache(3600, 500)), self._codecs, settings, Metrics())
        self.account = Account()
        alone = Locator(fleet, DedupCache(None), self._codecs, settings, Metrics())
        self._good = [self._codecs.encode_capture(capture) for capture in good_captures()]
        self._known = [alone.locate([self._codecs.decode_capture(value)])[0] for value in self._good]

    def batch(self) -> None:
        """One batch through all stages. Raises Broken."""
        rng = self._mutator.rng
        values = [self._mutator.mutant() for _ in range(BATCH)]
        places = {rng.randrange(BATCH): rng.randrange(len(self._good)) for _ in range(GOOD)}
        for place, which in places.items():
            values[place] = self._good[which]
        begun = time.process_time()  # of this process alone: a busy machine makes no input slow
        try:
            work = self._locator.decode([Taken(value, time.perf_counter()) for value in values])
            self._locator.features(work)
            made = sum(item.features is not None for item in work.items)
            self._locator.infer(work)
            results = self._locator.finish(work)
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {error}", values) from error
        took = time.process_time() - begun
        if took > LONGEST_S:
            raise Broken(f"the batch took {took:.1f} s of the processor", values)
        self._check(values, results, places)
        self._note(work, results, made, took)

    def _check(self, values: list[bytes], results: list[Fix | CaptureError], places: dict[int, int]) -> None:
        if len(results) != len(values):
            raise Broken(f"{len(values)} inputs gave {len(results)} results", values)
        for value, result in zip(values, results, strict=True):
            if isinstance(result, CaptureError):
                if type(result) is CaptureError or len(str(result)) > 2000:
                    raise Broken(f"no dead letter can carry {str(result)[:200]!r}", [value])
            elif self._codecs.decode_fix(self._codecs.encode_fix(result)) != result:
                raise Broken("the fix does not come back from its record", [value])
        for place, which in places.items():
            if not alike(results[place], self._known[which]):
                raise Broken(f"good capture {place} got {results[place]}, but alone {self._known[which]}", values)

    def _note(self, work: Batch, results: list[Fix | CaptureError], made: int, took: float) -> None:
        account = self.account
        account.inputs += len(results)
        account.features += made
        account.inference += sum(item.outcome is CacheOutcome.MISS and item.answer is not None for item in work.items)
        account.slowest_s = max(account.slowest_s, took)
        account.codes.update("fix" if isinstance(result, Fix) else result.code for result in results)


def run(inputs: int, seed: int, folder: Path) -> Account:
    """Raises Broken with the first batch that breaks a property, or where memory grew."""
    fuzzer = Fuzzer(seed, folder)
    account = fuzzer.account
    every = max(inputs // 50, BATCH)
    while account.inputs < inputs:
        faulthandler.dump_traceback_later(3 * LONGEST_S, exit=True)  # for what does not come back at all
        fuzzer.batch()
        faulthandler.cancel_dump_traceback_later()
        if account.inputs // every > len(account.memory_mb):
            account.memory_mb.append(_resident_mb())
    settled = account.memory_mb[int(WARM_UP * len(account.memory_mb)) :]
    if len(settled) > 1 and max(settled[-3:]) > MOST_GROWTH * settled[0]:
        raise Broken(f"resident memory grew from {settled[0]:.0f} to {max(settled[-3:]):.0f} MB", [])
    return account


def report(account: Account, seed: int, seconds: float) -> dict[str, object]:
    """The line that is printed."""
    settled = account.memory_mb[int(WARM_UP * len(account.memory_mb)) :]
    spent = account.inputs * (1 - WARM_UP) / 1e5
    return {
        "inputs": account.inputs,
        "seed": seed,
        "seconds": round(seconds, 1),
        "by_code": dict(account.codes.most_common()),
        "reached_features": account.features,
        "reached_inference": account.inference,
        "slowest_batch_s": round(account.slowest_s, 3),
        "rss_mb_first": round(settled[0], 1),
        "rss_mb_last": round(settled[-1], 1),
        "rss_mb_per_100k": round((settled[-1] - settled[0]) / spent, 2),
        "crashes": 0,
    }


def keep(broken: Broken, seed: int) -> Path:
    """Prints what failed as hex, and puts each record into a file below build/."""
    folder = KEPT / f"fuzz-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, value in enumerate(broken.values):
        (folder / f"{number:02}.bin").write_bytes(value)
        print(f"{number:02} {value[:200].hex()}", file=sys.stderr)
    return folder


def alike(one: Fix | CaptureError, other: Fix | CaptureError) -> bool:
    """Whether two are the same fix: ONNX Runtime rounds single precision by where in a batch a row lies."""
    if not (isinstance(one, Fix) and isinstance(other, Fix)):
        return False
    for name in set(Fix.__dataclass_fields__) - {"cache", "timings", "outline_geojson"}:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs and not (isinstance(mine, float) and math.isclose(mine, theirs, rel_tol=1e-4)):
            return False
    return True


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    """1 where a property broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            account = run(options.inputs, options.seed, Path(folder))
        except Broken as broken:
            print(f"{broken}; the records are in {keep(broken, options.seed)}", file=sys.stderr)
            return 1
    print(json.dumps(report(account, options.seed, time.monotonic() - begun)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
