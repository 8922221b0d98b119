"""What Prometheus reads from a tracker."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class TrackMetrics:
    """Its instruments, in one registry. What is counted was decided; it is sent before more is read."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.fixes = Counter(
            "fixstream_track_fixes_total", "Fixes read, by what became of them", ["outcome"], registry=registry
        )
        self.events = Counter("fixstream_track_events_total", "What happened to tracks", ["event"], registry=registry)
        self.held = Gauge("fixstream_tracks", "Tracks that are followed", registry=registry)
        self.consumer_lag = Gauge(
            "fixstream_consumer_lag_records", "Fixes not committed yet", ["partition"], registry=registry
        )
