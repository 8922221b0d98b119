from __future__ import annotations

import pytest

from stream_app.errors import FixStreamError, UnanswerableCapture
from stream_app.records.dead_letter import DeadLetter, replayed_offset


def test_headers_carry_all_and_leave_out_what_is_not_known() -> None:
    error = UnanswerableCapture("zu laut: Käfer \ud800")
    error.versions = ("7", "8")
    made = DeadLetter.of(error, "iq.captures", 3, 1234, [("traceparent", None), ("fixstream-replays", b"2")])
    headers = dict(made.to_headers())
    assert headers.pop("fixstream-release")
    assert headers == {
        "fixstream-code": b"unanswerable",
        "fixstream-message": "zu laut: Käfer ?".encode(),
        "fixstream-topic": b"iq.captures",
        "fixstream-partition": b"3",
        "fixstream-offset": b"1234",
        "fixstream-version": b"7,8",
        "fixstream-replays": b"2",
    }
    read = DeadLetter.from_headers(made.to_headers())
    assert (read.versions, read.partition, read.offset, read.replays) == (("7", "8"), 3, 1234, 2)
    first = dict(DeadLetter.of(FixStreamError("?"), "t", 0, 0).to_headers())
    assert "fixstream-version" not in first
    assert "fixstream-replays" not in first


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [("fixstream-partition", b"-1"), ("fixstream-offset", "²".encode()), ("fixstream-replays", b"\xff")],
        [("fixstream-offset", b"9" * 5000), ("fixstream-version", b","), ("fixstream-partition", None)],
    ],
)
def test_other_programs_headers_are_taken_as_they_are(headers: list[tuple[str, bytes | None]] | None) -> None:
    read = DeadLetter.from_headers(headers)
    assert (read.code, read.topic, read.partition, read.offset) == ("unknown", None, None, None)
    assert (read.versions, read.replays) == ((), 0)
    assert replayed_offset(headers) is None
