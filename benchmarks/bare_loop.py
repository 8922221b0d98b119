"""F1: decode, features, inference and encoding of captures in one loop of one thread, without Kafka.

Prints JSON: captures a second, and microseconds of CPU a capture.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import onnx

from benchmarks.workloads import BY_NAME
from stream_app.cache.backends import make_cache
from stream_app.cache.dedup import DedupCache
from stream_app.kafka.records import RawRecord
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.session import OnnxSession
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from tests.support.worker import settings_for

_WARM = 128  # captures


def main() -> None:
    """Locates a workload's captures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", choices=sorted(BY_NAME), required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    workload = BY_NAME[options.workload]
    settings = settings_for("unused", "bare", **workload.settings)
    codecs = Codecs()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(workload.model(), str(path))
        session = OnnxSession.load(path, "bench", "1", settings.inference_threads)
    cache = make_cache(settings.cache_url, settings.cache_ttl_s, settings.cache_max_entries, settings.cache_timeout_ms)
    locator = Locator(Fleet.of(session), DedupCache(cache), codecs, settings, Metrics())
    records = list(workload.records(_WARM + options.count))

    def locate(some: list[tuple[bytes, bytes]]) -> None:
        for at in range(0, len(some), settings.max_batch):
            now = time.perf_counter()
            taken = [RawRecord(value, key, "t", 0, 0, now) for key, value in some[at : at + settings.max_batch]]
            batch = locator.decode(taken)
            locator.features(batch)
            locator.infer(batch)
            for fix in locator.finish(batch):
                assert isinstance(fix, Fix), fix
                codecs.encode_fix(fix)

    locate(records[:_WARM])
    begin, used = time.perf_counter(), time.process_time()
    locate(records[_WARM:])
    took, used = time.perf_counter() - begin, time.process_time() - used
    print(json.dumps({"rate": options.count / took, "cpu_us": used / options.count * 1e6}))


if __name__ == "__main__":
    main()
