"""What Prometheus reads from an assembler."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class AssemblyMetrics:
    """Its instruments, in one registry. What is counted was decided; it is sent before more is read."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.receptions = Counter(
            "fixstream_receptions_total",
            "Receptions, by what became of them: captured, repeated, or the dead letter's code",
            ["outcome"],
            registry=registry,
        )
        self.captures = Counter(
            "fixstream_assembled_captures_total",
            "Captures made: complete, or partial, with fewer receivers than the network has",
            ["state"],
            registry=registry,
        )
        self.slots = Counter(
            "fixstream_slots_closed_total",
            "Slots with a capture, by why they ended: complete, patience, idle or early",
            ["reason"],
            registry=registry,
        )
        self.open_slots = Gauge("fixstream_open_slots", "Slots that wait for receivers", registry=registry)
        self.held_bytes = Gauge("fixstream_held_bytes", "Bytes of receptions that wait", registry=registry)
        self.consumer_lag = Gauge(
            "fixstream_consumer_lag_records", "Receptions not committed yet", ["partition"], registry=registry
        )
