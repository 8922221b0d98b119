"""Fixes from a batch's answers: ellipses, outlines and timings, over all of them at once."""

from __future__ import annotations

import time

import numpy as np

from stream_app.errors import CaptureError
from stream_app.geo.ellipse import error_ellipses
from stream_app.geo.outline import outlines
from stream_app.locate.batch import Batch
from stream_app.records.fix import Fix, Timings
from stream_app.settings import Settings


def make_fixes(batch: Batch, settings: Settings) -> list[Fix | CaptureError]:
    """A fix or an error for each item, in order."""
    good = [item.answer for item in batch.items if item.answer is not None]
    cov = np.array([[[a.cov_east_m2, a.cov_east_north_m2], [a.cov_east_north_m2, a.cov_north_m2]] for a in good])
    ellipses = error_ellipses(cov.reshape(-1, 2, 2), settings.ellipse_confidence)
    shapes: list[str] | list[None] = [None] * len(good)
    if settings.geojson_outline and good:
        shapes = outlines(
            np.array([a.latitude for a in good]),
            np.array([a.longitude for a in good]),
            ellipses.semi_major_m,
            ellipses.semi_minor_m,
            ellipses.orientation_deg,
        )
    now = time.perf_counter()
    results: list[Fix | CaptureError] = []
    row = 0
    for item in batch.items:
        if item.answer is None or item.capture is None or item.lane is None:
            results.append(item.error or CaptureError("the capture has neither fix nor error: report this"))
            continue
        answer, capture, model = item.answer, item.capture, item.lane.model
        queue_s = max(0.0, batch.started_at - item.received_at)
        results.append(
            Fix(
                capture_id=capture.capture_id,
                network=capture.network,
                captured_at_us=capture.captured_at_us,
                center_frequency_hz=capture.center_frequency_hz,
                latitude=answer.latitude,
                longitude=answer.longitude,
                cov_east_m2=answer.cov_east_m2,
                cov_north_m2=answer.cov_north_m2,
                cov_east_north_m2=answer.cov_east_north_m2,
                sigma_x_m=float(ellipses.sigma_x_m[row]),
                sigma_y_m=float(ellipses.sigma_y_m[row]),
                theta_rad=float(ellipses.theta_rad[row]),
                semi_major_m=float(ellipses.semi_major_m[row]),
                semi_minor_m=float(ellipses.semi_minor_m[row]),
                orientation_deg=float(ellipses.orientation_deg[row]),
                confidence=settings.ellipse_confidence,
                outline_geojson=shapes[row],
                model_name=model.name,
                model_version=model.version,
                fallback=item.fallback,
                model_confidence=None if np.isnan(answer.confidence) else answer.confidence,
                border=answer.border,
                cache=item.outcome,
                timings=Timings(
                    queue_s * 1e3,
                    batch.features_s * 1e3,
                    batch.inference_s * 1e3,
                    (now - item.received_at) * 1e3,
                ),
                receivers=tuple([channel.receiver_id for channel in capture.channels]),
                distrusted=item.distrusted,
            )
        )
        row += 1
    return results
