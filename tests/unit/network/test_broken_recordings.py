"""Whatever is in a file: a recording, or one line that names it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_app.errors import NetworkFileError, RecordingError
from stream_app.network.recorded import recorded_captures
from stream_app.network.sources import Given, captures_from
from stream_app.records.capture import IqCapture
from stream_app.records.validate import check_capture
from tests.unit.network import test_sigmf_file, test_wav
from tests.unit.network.networks import network
from tests.unit.network.test_recorder import _one, _written

pytest.importorskip("sigmf")

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(2**63),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_fuzz = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each part of a JSON document."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way] * bool(way) + [place for key, part in parts for place in _places(part, (*way, key))]


def _changed(draw: Callable[..., Any], text: str) -> str:
    """The document with a part or two replaced or removed."""
    root = json.loads(text)
    for _ in range(draw(st.integers(1, 2))):
        places = _places(root)
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        parent = root
        for key in way:
            parent = parent[key]
        if draw(st.integers(0, 3)):
            parent[last] = draw(_JSON)
        else:
            del parent[last]
    return json.dumps(root)


def _mutated(draw: Callable[..., Any], data: bytes, within: int) -> bytes:
    """Bytes changed, cut off or put in among the first ``within``."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(within, max(0, len(changed) - 1))))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            changed[at : at + 1] = draw(st.binary(max_size=4))
        elif kind == 1:
            changed[at : at + 4] = draw(st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\1\0\0\0"]))
        elif kind == 2:
            del changed[at : at + draw(st.integers(1, 64))]
        else:
            del changed[len(changed) - draw(st.integers(0, 2000)) :]
    return bytes(changed)


def _in_one_line(work: Callable[[], Iterable[IqCapture]]) -> None:
    """Makes all captures. Anything but one line of ours fails the test."""
    said = ""
    try:
        for capture in work():
            check_capture(capture)
    except (RecordingError, NetworkFileError) as error:
        said = str(error)
    assert "\n" not in said.strip()


def _read(path: Path, seconds: float | None = None) -> None:
    given = Given(receivers=("a", "b")[: 1 if path.suffix == ".wav" else 2])
    _in_one_line(lambda: captures_from([path], network(), seconds, given)[1])
    _in_one_line(lambda: captures_from([path, path], network(), seconds, Given())[1])


@_fuzz
@given(st.data())
def test_broken_metadata(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = test_sigmf_file.make(Path(name), channels=2, count=50, annotations=[(10, 20)])
        path.write_text(_changed(data.draw, path.read_text()))
        _read(path)


@_fuzz
@given(st.data())
def test_broken_archives(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = test_sigmf_file.make(Path(name), channels=2, count=50, annotations=[(10, 20)], archive=True)
        path.write_bytes(_mutated(data.draw, path.read_bytes(), 4000))
        _read(path)


@_fuzz
@given(st.data())
def test_broken_wav_files(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = test_wav.make(Path(name), count=50)
        path.write_bytes(_mutated(data.draw, path.read_bytes(), 80))
        _read(path, 0.01)


@_fuzz
@given(st.data())
def test_broken_recorded_folders(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "new"
        _written(folder, [_one(n) for n in range(2)])
        meta = data.draw(st.sampled_from(sorted(folder.rglob("*.sigmf-meta"))))
        meta.write_text(_changed(data.draw, meta.read_text()))
        _in_one_line(lambda: recorded_captures(folder))
