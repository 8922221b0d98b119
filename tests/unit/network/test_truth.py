from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.errors import TruthFileError
from stream_app.network.truth import Truth, read_truths, write_truths

_TRUTHS = st.lists(
    st.builds(Truth, st.text(), st.text(), st.floats(-90, 90), st.floats(-180, 180)), unique_by=lambda t: t.capture_id
)


@given(truths=_TRUTHS)
def test_truths_come_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, truths: list[Truth]) -> None:
    path = tmp_path_factory.mktemp("truth") / "truth.jsonl"
    with path.open("w", encoding="utf-8") as file:
        write_truths(file, truths)
    assert list(read_truths(path).values()) == truths


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"capture_id": "b", "emit', "no JSON object"),
        ("[1]", "no JSON object"),
        ('{"emitter": "e", "latitude": 1, "longitude": 2}', "capture_id"),
        ('{"capture_id": "b", "emitter": "e", "latitude": 91, "longitude": 2}', "latitude"),
        ('{"capture_id": "b", "emitter": "e", "latitude": 1, "longitude": NaN}', "longitude"),
        ('{"capture_id": "b", "emitter": "e", "latitude": true, "longitude": 2}', "latitude"),
        ('{"capture_id": "a", "emitter": "e", "latitude": 1, "longitude": 2}', "twice"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text('{"capture_id": "a", "emitter": "e", "latitude": 1, "longitude": 2}\n' + line + "\n")
    with pytest.raises(TruthFileError, match=rf"truth\.jsonl: line 2: .*{words}"):
        read_truths(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TruthFileError, match=r"none\.jsonl: cannot be read"):
        read_truths(tmp_path / "none.jsonl")
