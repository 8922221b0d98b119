"""The pipeline of one micro-batch: bytes to captures, features, answers, fixes. It knows no Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from stream_app.cache.dedup import DedupCache
from stream_app.dsp.features import FeatureError, make_extractor
from stream_app.errors import CaptureError, UnanswerableCapture
from stream_app.geo.ellipse import error_ellipses
from stream_app.geo.outline import outlines
from stream_app.locate.answer import Answer
from stream_app.locate.batch import Batch, Item, Record
from stream_app.locate.keys import exact_key, feature_key, model_part, quantise
from stream_app.locate.outputs import answers_of, on_rim
from stream_app.metrics import Metrics
from stream_app.models.base import LocatingModel
from stream_app.models.contract import INPUT_COUNT, INPUT_FEATURES, INPUT_POSITIONS, INPUT_TIMING
from stream_app.records.capture import IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome, Fix, Timings
from stream_app.settings import Settings


class Locator:
    """Stages for a batch, in order: decode, features, infer, finish. Each may run in its own thread."""

    def __init__(
        self, model: LocatingModel, cache: DedupCache, codecs: Codecs, settings: Settings, metrics: Metrics
    ) -> None:
        self.model, self._cache, self._codecs = model, cache, codecs
        self._settings, self._metrics = settings, metrics
        self._extractor = make_extractor(model.info.feature_spec)
        self._model_part = model_part(model)
        limits = [self._extractor.max_receivers]
        if model.info.max_receivers is not None:
            limits.append(model.info.max_receivers)
        self._max_receivers = min(limits)
        self._width = model.info.max_receivers or self._extractor.max_receivers
        # What is being computed now; an item leaves with its batch, even with one that failed.
        self._under_way: WeakValueDictionary[bytes, Item] = WeakValueDictionary()
        self._miss = CacheOutcome.DISABLED if settings.cache_url.startswith("none:") else CacheOutcome.MISS

    def locate(self, captures: Sequence[IqCapture]) -> list[Fix | CaptureError]:
        """Fixes of captures that are at hand, through the very stages that the worker uses."""
        now = time.perf_counter()
        batch = Batch([Item(now, capture=capture) for capture in captures], now)
        self.features(batch)
        self.infer(batch)
        return self.finish(batch)

    def decode(self, records: Sequence[Record]) -> Batch:
        """Captures of records; a record that does not decode holds its error and harms no neighbour."""
        batch = Batch([], time.perf_counter())
        for record in records:
            item = Item(record.received_at)
            try:
                item.capture = self._codecs.decode_capture(record.value)
            except CaptureError as error:
                item.error = error
            batch.items.append(item)
        return batch

    def features(self, batch: Batch) -> None:
        """Looks captures up by their bytes, makes features of the others, looks those up too."""
        begun = time.perf_counter()
        leaders: dict[bytes, Item] = {}
        for item, capture in batch.open_items():
            if not 0 < len(capture.channels) <= self._max_receivers:
                item.error = UnanswerableCapture(
                    f"capture {capture.capture_id!r} has {len(capture.channels)} channels, but model "
                    f"{self.model.name!r} version {self.model.version} takes 1 to {self._max_receivers}: "
                    "send fewer channels, or build the model for more receivers"
                )
                continue
            item.exact_key = exact_key(self._model_part, capture)
            leader = leaders.setdefault(item.exact_key, item)
            item.same_as = None if leader is item else leader
        self._look_up(list(leaders.values()), [i.exact_key for i in leaders.values()], CacheOutcome.EXACT)
        self._follow(leaders.values())
        self._extract(batch.open_items())
        computed: dict[bytes, Item] = {}
        for item, capture in batch.open_items():
            assert item.features is not None  # noqa: S101
            item.feature_key = feature_key(self._model_part, capture, item.features)
            leader = computed.setdefault(item.feature_key, item)
            item.same_as = None if leader is item else leader
        self._look_up(list(computed.values()), [i.feature_key for i in computed.values()], CacheOutcome.FEATURES)
        batch.features_s = time.perf_counter() - begun

    def infer(self, batch: Batch) -> None:
        """Answers of what no cache knew, in one call of the model."""
        begun = time.perf_counter()
        self._take_over(batch)
        work = batch.open_items()
        if work:
            rows = [item.features for item, _ in work if item.features is not None]
            inputs: dict[str, NDArray[np.generic]] = {INPUT_FEATURES: np.stack(rows)}
            inputs.update(self._receivers([capture for _, capture in work]))
            results = answers_of(self.model.infer(inputs), len(work))
            for (item, capture), result in zip(work, results, strict=True):
                item.outcome = self._miss
                if isinstance(result, Answer):
                    item.answer = self._flagged(result)
                else:
                    item.error = UnanswerableCapture(
                        f"capture {capture.capture_id!r}: model {self.model.name!r} version "
                        f"{self.model.version} {result}; check the capture's samples and receiver positions"
                    )
        batch.inference_s = time.perf_counter() - begun

    def finish(self, batch: Batch) -> list[Fix | CaptureError]:
        """Fixes, or errors, in the order of the records; stores new answers in one write."""
        new: dict[bytes, bytes] = {}
        for item in batch.items:
            if item.same_as is not None:
                self._copy(item)
            if item.answer is None:
                continue
            stored = item.answer.to_bytes()
            if item.exact_key and item.outcome is not CacheOutcome.EXACT:
                new[item.exact_key] = stored
            if item.feature_key and item.outcome is self._miss:
                new[item.feature_key] = stored
        if new:
            self._cache.set_many(new)
        return self._fixes(batch)

    def _look_up(self, items: list[Item], keys: list[bytes], outcome: CacheOutcome) -> None:
        if not items:
            return
        for item, stored in zip(items, self._cache.get_many(keys), strict=True):
            answer = Answer.from_bytes(stored) if stored is not None else None
            if answer is not None:
                item.answer, item.outcome = self._flagged(answer), outcome

    def _follow(self, items: Iterable[Item]) -> None:
        """Leaves to the batches before this one what they compute already."""
        for item in items:
            if item.answer is None:
                item.follows = self._under_way.get(item.exact_key)
                if item.follows is None:
                    self._under_way[item.exact_key] = item

    def _take_over(self, batch: Batch) -> None:
        """Takes the answers of the batches before this one; what they failed to answer is computed here."""
        left = []
        for item in batch.items:
            before, item.follows = item.follows, None
            if before is None or item.capture is None:
                continue
            if before.answer is not None:
                item.answer, item.outcome = before.answer, CacheOutcome.BATCH
            elif before.error is not None:
                item.error = _same_error(item.capture, before.error)
            else:
                left.append((item, item.capture))
        self._extract(left)

    def _extract(self, work: Sequence[tuple[Item, IqCapture]]) -> None:
        if not work:
            return
        try:
            made = quantise(self._extractor.extract([capture.channels for _, capture in work]))
        except FeatureError as error:
            for index, why in error.reasons.items():
                item, capture = work[index]
                item.error = UnanswerableCapture(f"capture {capture.capture_id!r} has no features: {why}")
            # A FeatureError that names nobody would otherwise be tried again for ever.
            if error.reasons:
                self._extract([pair for pair in work if pair[0].error is None])
            else:
                self._extract_singly(work, error)
        except ValueError as error:
            self._extract_singly(work, error)
        else:
            for (item, _), row in zip(work, made, strict=True):
                item.features = row

    def _extract_singly(self, work: Sequence[tuple[Item, IqCapture]], error: ValueError) -> None:
        if len(work) > 1:
            for pair in work:
                self._extract([pair])
            return
        item, capture = work[0]
        item.error = UnanswerableCapture(f"capture {capture.capture_id!r} has no features: {error}")

    def _receivers(self, captures: Sequence[IqCapture]) -> dict[str, NDArray[np.generic]]:
        positions = np.zeros((len(captures), self._width, 3))
        sigma = np.zeros((len(captures), self._width), np.float32)
        for n, capture in enumerate(captures):
            for r, channel in enumerate(capture.channels):
                positions[n, r] = channel.latitude, channel.longitude, channel.altitude_m
                sigma[n, r] = (channel.start_sigma_ns or 0.0) * 1e-9
        counts = np.array([len(capture.channels) for capture in captures], np.int64)
        return {INPUT_POSITIONS: positions, INPUT_COUNT: counts, INPUT_TIMING: sigma}

    def _flagged(self, answer: Answer) -> Answer:
        if np.isnan(answer.border_mass):
            border = on_rim(answer, self.model.info.area)
        else:
            border = answer.border_mass > self._settings.border_mass_limit
        return Answer(
            answer.latitude,
            answer.longitude,
            answer.cov_east_m2,
            answer.cov_north_m2,
            answer.cov_east_north_m2,
            answer.confidence,
            answer.border_mass,
            bool(border),
        )

    @staticmethod
    def _copy(item: Item) -> None:
        leader = item.same_as
        while leader is not None and leader.same_as is not None:
            leader = leader.same_as
        if leader is None or item.capture is None:
            return
        item.answer = leader.answer
        if leader.error is not None:
            item.error = _same_error(item.capture, leader.error)
        hit = leader.outcome in (CacheOutcome.EXACT, CacheOutcome.FEATURES)
        item.outcome = leader.outcome if hit else CacheOutcome.BATCH

    def _fixes(self, batch: Batch) -> list[Fix | CaptureError]:
        good = [item.answer for item in batch.items if item.answer is not None]
        cov = np.array(
            [[[a.cov_east_m2, a.cov_east_north_m2], [a.cov_east_north_m2, a.cov_north_m2]] for a in good]
        ).reshape(-1, 2, 2)
        ellipses = error_ellipses(cov, self._settings.ellipse_confidence)
        shapes: list[str] | list[None] = [None] * len(good)
        if self._settings.geojson_outline and good:
            shapes = outlines(
                np.array([a.latitude for a in good]),
                np.array([a.longitude for a in good]),
                ellipses.semi_major_m,
                ellipses.semi_minor_m,
                ellipses.orientation_deg,
            )
        now = time.perf_counter()
        self._metrics.latency.labels("features").observe(batch.features_s)
        self._metrics.latency.labels("inference").observe(batch.inference_s)
        results: list[Fix | CaptureError] = []
        row = 0
        for item in batch.items:
            if item.answer is None or item.capture is None:
                results.append(item.error or CaptureError("the capture has neither fix nor error: report this"))
                continue
            answer, capture = item.answer, item.capture
            queue_s = max(0.0, batch.started_at - item.received_at)
            self._metrics.latency.labels("queue").observe(queue_s)
            hit = item.outcome not in (CacheOutcome.MISS, CacheOutcome.DISABLED)
            self._metrics.answered(item.outcome.value.lower(), hit=hit)
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
                    confidence=self._settings.ellipse_confidence,
                    outline_geojson=shapes[row],
                    model_name=self.model.name,
                    model_version=self.model.version,
                    fallback=False,
                    model_confidence=None if np.isnan(answer.confidence) else answer.confidence,
                    border=answer.border,
                    cache=item.outcome,
                    timings=Timings(
                        queue_s * 1e3,
                        batch.features_s * 1e3,
                        batch.inference_s * 1e3,
                        (now - item.received_at) * 1e3,
                    ),
                )
            )
            row += 1
        return results


def _same_error(capture: IqCapture, error: CaptureError) -> CaptureError:
    return type(error)(f"capture {capture.capture_id!r} equals another: {error}")
