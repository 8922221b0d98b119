"""The short form of the fuzzer: see tests/faults/fuzz.py for the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.records.codec import Codecs
from tests.faults.fuzz import Broken, Fuzzer, keep, run
from tests.faults.mutate import Mutator

INPUTS = 10_000


def test_no_input_breaks_the_pipeline_or_harms_a_neighbour(tmp_path: Path) -> None:
    try:
        account = run(INPUTS, seed=7, folder=tmp_path)
    except Broken as broken:
        pytest.fail(f"{broken}; the records are in {keep(broken, 7)}")
    assert account.inputs >= INPUTS
    assert set(account.codes) == {"fix", "undecodable", "unknown-schema", "invalid-capture", "unanswerable"}
    assert account.inference > 0.05 * account.inputs


def test_equal_seeds_make_equal_records() -> None:
    one, other = (Mutator(3, Codecs()) for _ in range(2))
    assert [one.mutant() for _ in range(200)] == [other.mutant() for _ in range(200)]


def test_a_pipeline_that_fails_is_found_with_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzzer = Fuzzer(1, tmp_path)

    def broken(*_: object) -> None:
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr("stream_app.locate.pipeline.content_digest", broken)
    with pytest.raises(Broken, match="OverflowError") as raised:
        fuzzer.batch()
    assert len(raised.value.values) == 32
