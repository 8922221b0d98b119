"""A model that passed its trial is not tried again, as long as nothing has changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest

from stream_app.errors import ModelRefused
from stream_app.models.loader import Loader
from stream_app.models.registry import Registry
from stream_app.records.deployment import Deployment, Route
from stream_app.settings import Settings
from tests.unit.models.test_check import model


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a registry with two versions of the model m."""
    found = Settings(registry_uri=f"sqlite:///{tmp_path / 'r.db'}", model_cache_dir=str(tmp_path / "cache"))
    for position in ((1.0, 2.0), (3.0, 4.0)):
        onnx.save(model(position=position), str(tmp_path / "m.onnx"))
        Registry.of(found).register("m", tmp_path / "m.onnx")
    return found


def load(settings: Settings, version: str = "1", **changes: Any) -> None:
    """As a worker does that has just started."""
    changed = settings.model_copy(update=changes)
    Loader(changed, Registry.of(changed)).load(Deployment("m", 1, (Route(version, 1.0),)))


def test_only_what_passed_and_only_under_what_it_passed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    load(settings)
    monkeypatch.setattr(sys, "executable", "/bin/false")  # from now on, every trial fails
    load(settings)
    for changes in (
        {"max_batch": 33},
        {"max_model_memory_bytes": 2**28},
        {"model_check_s": 20.0},
        {"version": "2"},
        {"version": "2"},  # what failed is not remembered
    ):
        with pytest.raises(ModelRefused, match="its trial ended with exit code 1"):
            load(settings, **changes)
    load(settings)
    monkeypatch.setattr(ort, "__version__", "another")
    with pytest.raises(ModelRefused, match="its trial ended with exit code 1"):
        load(settings)


def test_where_nothing_can_be_remembered_it_is_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    load(settings)
    load(settings)
    assert caplog.text.count("the next start tries the model") == 2
