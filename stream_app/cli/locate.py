"""``fixstream locate``: recordings on disk to fixes, without Kafka, through the worker's own pipeline."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_app.cli.recordings import CaptureSeconds, Files, ReceiverNames, Start

if TYPE_CHECKING:
    from stream_app.network.file import Network
    from stream_app.records.capture import IqCapture
    from stream_app.records.fix import Fix

_BATCH = 16


def locate(
    files: Files,
    network: Annotated[Path, typer.Option(help="the network's YAML file")],
    capture_seconds: CaptureSeconds = None,
    receiver: ReceiverNames = None,
    start: Start = None,
    model: Annotated[Path | None, typer.Option(help="an ONNX model; default: built from the network file")] = None,
    confidence: Annotated[float, typer.Option(min=0.01, max=0.999, help="probability the ellipses state")] = 0.95,
    json_lines: Annotated[bool, typer.Option("--json", help="one JSON line a fix instead of GeoJSON")] = False,
) -> None:
    """Locate the emitter of recordings on disk. Prints GeoJSON; captures without a fix go to standard error."""
    from stream_app.network.file import load_network
    from stream_app.network.sources import Given, captures_from

    where = load_network(network)
    _, captures = captures_from(files, where, capture_seconds, Given(tuple(receiver or ()), start))
    fixes = _fixes(captures, where, model, confidence)
    if json_lines:
        for fix in fixes:
            typer.echo(json.dumps(as_json(fix)))
    else:
        typer.echo(json.dumps({"type": "FeatureCollection", "features": [as_feature(fix) for fix in fixes]}))


def _fixes(captures: Iterator[IqCapture], network: Network, model: Path | None, confidence: float) -> list[Fix]:
    import onnx

    from stream_app.cache.dedup import DedupCache
    from stream_app.errors import CaptureError
    from stream_app.locate.pipeline import Locator
    from stream_app.metrics import Metrics
    from stream_app.models.fleet import Fleet
    from stream_app.models.reference import build_tdoa
    from stream_app.models.session import OnnxSession
    from stream_app.records.codec import Codecs
    from stream_app.settings import load_settings

    settings = load_settings(cache_url="none://", ellipse_confidence=confidence)
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            model = Path(folder) / "model.onnx"
            onnx.save(build_tdoa(network), str(model))
        session = OnnxSession.load(model, model.stem, "file", settings.inference_threads)
    locator = Locator(Fleet.of(session), DedupCache(None), Codecs(), settings, Metrics())
    fixes: list[Fix] = []
    while batch := list(islice(captures, _BATCH)):
        for result in locator.locate(batch):
            if isinstance(result, CaptureError):
                typer.echo(f"no fix ({result.code}): {result}", err=True)
            else:
                fixes.append(result)
    return fixes


def as_json(fix: Fix) -> dict[str, Any]:
    """The fields of a fix that people ask for; covariance is [[east, east-north], [east-north, north]], m²."""
    return {
        "capture_id": fix.capture_id,
        "captured_at": datetime.fromtimestamp(fix.captured_at_us / 1e6, UTC).isoformat(timespec="microseconds"),
        "latitude": fix.latitude,
        "longitude": fix.longitude,
        "covariance": fix.covariance,
        "semi_major_m": fix.semi_major_m,
        "semi_minor_m": fix.semi_minor_m,
        "orientation_deg": fix.orientation_deg,
        "confidence": fix.confidence,
        "border": fix.border,
        "model_version": fix.model_version,
        "receivers": fix.receivers,
        "distrusted": fix.distrusted,
    }


def as_feature(fix: Fix) -> dict[str, Any]:
    """A GeoJSON feature: the point, and the ellipse's outline beside it."""
    shapes: list[dict[str, Any]] = [{"type": "Point", "coordinates": [fix.longitude, fix.latitude]}]
    if fix.outline_geojson is not None:
        shapes.append(json.loads(fix.outline_geojson))
    return {
        "type": "Feature",
        "geometry": {"type": "GeometryCollection", "geometries": shapes},
        "properties": as_json(fix),
    }
