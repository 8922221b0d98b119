"""When a micro-batch leaves: the age is the oldest capture's own."""

from __future__ import annotations

import pytest

from stream_app.kafka.channel import why_leave
from stream_app.kafka.records import RawRecord
from stream_app.settings import Settings

SETTINGS = Settings(max_batch=4, max_wait_ms=10.0)


def pending(*received_at: float) -> list[RawRecord]:
    return [RawRecord(b"", None, "iq.captures", 0, offset, at) for offset, at in enumerate(received_at)]


@pytest.mark.parametrize(
    ("received_at", "in_flight", "now", "reason"),
    [
        ((), 0, 1.0, None),
        ((1.0,), 0, 1.0, "idle"),  # nothing is being computed: waiting would only be late
        ((1.0,), 1, 1.009, None),
        ((1.0,), 1, 1.011, "age"),
        ((1.0, 1.009, 1.0101), 1, 1.0105, "age"),  # company that came late does not start the wait anew
        ((1.0, 1.0, 1.0), 1, 1.0, None),
        ((1.0, 1.0, 1.0, 1.0), 1, 1.0, "full"),
        ((1.0, 1.0, 1.0, 1.0), 0, 9.0, "full"),
    ],
)
def test_why_a_batch_leaves(received_at: tuple[float, ...], in_flight: int, now: float, reason: str | None) -> None:
    found, wait_s = why_leave(pending(*received_at), in_flight, SETTINGS, now)
    assert found == reason
    if found is None and received_at:
        assert 0 < wait_s <= SETTINGS.max_wait_ms / 1e3 - (now - received_at[0]) + 1e-9
