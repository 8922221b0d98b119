"""What Prometheus reads from a worker. Every name carries its unit."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stream_app.records.fix import CacheOutcome

_LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Summary(NamedTuple):
    """A worker's work in three figures; None where it has answered nothing yet."""

    inferred: int
    mean_latency_ms: float | None
    hit_ratio: float | None


class Metrics:
    """The worker's instruments in one registry of their own, so that two can live in one process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.captures = Counter("fixstream_captures_total", "Captures taken", registry=self.registry)
        self.errors = Counter("fixstream_errors_total", "Errors", ["reason"], registry=self.registry)
        self.dead_letters = Counter(
            "fixstream_dead_letters_total", "Dead letters sent", ["reason"], registry=self.registry
        )
        self.latency = Histogram(
            "fixstream_latency_seconds",
            "Seconds spent, by stage",
            ["stage"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "fixstream_batch_size",
            "Captures a micro-batch",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self.batches = Counter(
            "fixstream_batches_total", "Micro-batches, by why they left", ["reason"], registry=self.registry
        )
        self.cache_hits = Counter(
            "fixstream_cache_hits_total",
            "Captures answered without inference",
            ["level"],
            registry=self.registry,
        )
        self.cache_misses = Counter(
            "fixstream_cache_misses_total", "Captures that were inferred", registry=self.registry
        )
        self.cache_hit_ratio = Gauge(
            "fixstream_cache_hit_ratio", "Share of answered captures that were hits", registry=self.registry
        )
        self.consumer_lag = Gauge(
            "fixstream_consumer_lag_records",
            "Records not committed yet",
            ["partition"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "fixstream_in_flight_batches", "Micro-batches not yet acknowledged", registry=self.registry
        )
        self.transactions = Counter(
            "fixstream_transactions_total", "Transactions, by how they ended", ["outcome"], registry=self.registry
        )
        self.version_captures = Counter(
            "fixstream_version_captures_total", "Captures answered, by version", ["version"], registry=self.registry
        )
        self.version_inference = Histogram(
            "fixstream_version_inference_seconds",
            "Seconds of one call of a version's model",
            ["version"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.version_failures = Counter(
            "fixstream_version_failures_total",
            "Captures that a version failed to answer",
            ["version"],
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "fixstream_fallbacks_total",
            "Captures that another version than the drawn one answered",
            ["version"],
            registry=self.registry,
        )
        self.shadow_captures = Counter(
            "fixstream_shadow_captures_total", "Captures that shadow versions answered", registry=self.registry
        )
        self.shadow_dropped = Counter(
            "fixstream_shadow_dropped_total", "Captures that shadow versions had no time for", registry=self.registry
        )
        self.model_reload_count = Counter(
            "fixstream_model_reload_count", "Deployments tried, by outcome", ["outcome"], registry=self.registry
        )
        self.control_revision = Gauge(
            "fixstream_control_revision", "Revision of the deployment that runs; -1: none", registry=self.registry
        )
        self.control_revision.set(-1)
        self.beacon_fixes = Counter(
            "fixstream_beacon_fixes_total",
            "Fixes of beacons, by the smallest of their ellipses that holds the beacon",
            ["beacon", "inside", "network"],
            registry=self.registry,
        )
        self.beacon_share = Gauge(
            "fixstream_beacon_share",
            "Share of a beacon's newest fixes whose ellipse holds it",
            ["beacon", "ellipse", "network"],
            registry=self.registry,
        )
        self.beacon_bias = Gauge(
            "fixstream_beacon_bias_metres",
            "Mean of fix minus beacon",
            ["beacon", "axis", "network"],
            registry=self.registry,
        )
        self.beacon_level = Gauge(
            "fixstream_beacon_level",
            "What its shares and bias amount to; 0: waiting, 1: ok, 2: watch, 3: alert",
            ["beacon", "network"],
            registry=self.registry,
        )
        self.clock_offset = Gauge(
            "fixstream_receiver_clock_offset_seconds",
            "How much too late a receiver stamps its samples, against the others",
            ["receiver", "network"],
            registry=self.registry,
        )
        self.clock_distrusted = Gauge(
            "fixstream_receiver_distrusted",
            "Whether a receiver's weight is lowered",
            ["receiver", "network"],
            registry=self.registry,
        )
        self.requests = Counter(
            "fixstream_requests_total", "HTTP requests", ["endpoint", "status"], registry=self.registry
        )
        self.request_latency = Histogram(
            "fixstream_request_seconds",
            "Seconds of an HTTP request",
            ["endpoint"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._lock = Lock()
        self._hits = self._answered = 0
        self._total_s = 0.0

    def answered(self, outcomes: Mapping[CacheOutcome, int], total_s: float) -> None:
        """Counts answered captures, by where their answers came from; ``total_s`` from queue to fix, summed."""
        missed = sum(outcomes.get(outcome, 0) for outcome in (CacheOutcome.MISS, CacheOutcome.DISABLED))
        with self._lock:
            self._answered += sum(outcomes.values())
            self._hits += sum(outcomes.values()) - missed
            self._total_s += total_s
            ratio = self._hits / max(self._answered, 1)
        self.cache_misses.inc(missed)
        for outcome, count in outcomes.items():
            if outcome not in (CacheOutcome.MISS, CacheOutcome.DISABLED):
                self.cache_hits.labels(outcome.value.lower()).inc(count)
        self.cache_hit_ratio.set(ratio)

    def summary(self) -> Summary:
        """What this worker has done so far."""
        count = self._answered
        if not count:
            return Summary(0, None, None)
        return Summary(count - self._hits, self._total_s / count * 1e3, self._hits / count)

    def text(self) -> bytes:
        """The Prometheus text exposition."""
        return generate_latest(self.registry)
