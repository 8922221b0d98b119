"""The one ONNX file of a model version, from wherever the registry keeps it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from stream_app.errors import ModelError

_MAX_FILES = 1000


def download_model(uri: str, registry_uri: str, folder: Path, what: str, max_bytes: int | None) -> Path:
    """Brings the ONNX file at or below an artifact URI into ``folder``; ``what`` names the model in errors.

    Raises ModelError where there is not one such file, or where it is above ``max_bytes``, which is looked at before
    the download where the registry states sizes; besides whatever MLflow raises.
    """
    from mlflow.artifacts import download_artifacts

    files = [found for found in _files(uri, registry_uri) if found[0].endswith(".onnx")]
    if len(files) != 1:
        raise ModelError(f"{what} holds {len(files)} ONNX files, not one")
    [(place, stated)] = files
    _check_size(stated, max_bytes, what)
    found = Path(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=registry_uri))
    if found.is_symlink() or not found.is_file():
        raise ModelError(f"{what}: what the registry sends is no file")
    _check_size(found.stat().st_size, max_bytes, what)
    return found


def _check_size(size: int | None, max_bytes: int | None, what: str) -> None:
    if size is not None and max_bytes is not None and size > max_bytes:
        raise ModelError(f"{what} has {size} bytes, above FIXSTREAM_MAX_MODEL_BYTES ({max_bytes})")


def _files(uri: str, registry_uri: str) -> Iterator[tuple[str, int | None]]:
    """URIs and stated sizes of the files below ``uri``, or of ``uri`` itself."""
    from mlflow.artifacts import list_artifacts

    parent, name = posixpath.split(uri.rstrip("/"))
    if name.endswith(".onnx"):
        for entry in list_artifacts(artifact_uri=parent, tracking_uri=registry_uri):
            if posixpath.basename(entry.path) == name and not entry.is_dir:
                yield uri, entry.file_size
                return
    folders, seen = [uri.rstrip("/")], 0
    while folders:
        folder = folders.pop()
        for entry in list_artifacts(artifact_uri=folder, tracking_uri=registry_uri):
            seen += 1
            if seen > _MAX_FILES:
                raise ModelError(
                    f"more than {_MAX_FILES} files lie beside the model: register it in a folder of its own"
                )
            place = f"{folder}/{posixpath.basename(entry.path)}"
            if entry.is_dir:
                folders.append(place)
            else:
                yield place, entry.file_size
