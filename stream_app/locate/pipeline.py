"""The pipeline of one micro-batch: bytes to captures, features, answers, fixes. It knows no Kafka."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from weakref import WeakValueDictionary

from stream_app.cache.dedup import DedupCache
from stream_app.dsp.features import FeatureError, FeatureExtractor
from stream_app.errors import CaptureError, UnanswerableCapture
from stream_app.locate.answer import Answer
from stream_app.locate.batch import Batch, Item, Record
from stream_app.locate.fixes import make_fixes
from stream_app.locate.keys import content_digest, exact_key, feature_key, quantise
from stream_app.locate.lane import Lane
from stream_app.locate.weights import lowered
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome, Fix
from stream_app.settings import Settings

_Work = Sequence[tuple[Item, IqCapture]]
_PATIENCE_S = 60.0
_ALL_TRUSTED: Mapping[str, float] = {}


class Locator:
    """Stages for a batch, in order: decode, features, infer, finish. Each may run in its own thread.

    Batches pass ``features`` one at a time and in order; later stages may work on several, begun in that order.
    One batch may hold captures of several versions. A capture that its version cannot answer goes to the next live
    one; features are made once for versions with equal parameters.
    """

    def __init__(
        self,
        fleet: Fleet,
        cache: DedupCache,
        codecs: Codecs,
        settings: Settings,
        metrics: Metrics,
        distrusted: Callable[[str], Mapping[str, float]] = lambda network: _ALL_TRUSTED,
    ) -> None:
        """``distrusted``: receivers of a network whose weight is to be lowered, and their clocks' offsets in ns."""
        self.fleet, self._cache, self._codecs = fleet, cache, codecs
        self._settings, self._metrics, self._distrusted = settings, metrics, distrusted
        self._lanes = {version: Lane(version, settings.border_mass_limit) for version in fleet.versions}
        self._only = self._lanes[fleet.live[0]] if len(fleet.live) == 1 else None
        # What is being computed now; an item leaves with its batch, even with one that failed.
        self._under_way: WeakValueDictionary[bytes, Item] = WeakValueDictionary()
        self._remembers = not settings.cache_url.startswith("none:")  # else nothing is compared, and no key is made
        self._miss = CacheOutcome.MISS if self._remembers else CacheOutcome.DISABLED

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
            item = Item(record.received_at, key=record.key)
            try:
                if record.refusal is not None:
                    raise record.refusal
                item.capture = record.capture or self._codecs.decode_capture(record.value)
            except CaptureError as error:
                item.error = error
            batch.items.append(item)
        return batch

    def shadow(self, batch: Batch) -> Batch | None:
        """A batch for the shadow versions of what a live batch has decoded, or None where they see nothing of it."""
        items = []
        for live in batch.items if self.fleet.shadows else ():
            if live.capture is None:
                continue
            for version in self.fleet.shadowed_by(live.capture.capture_id, _key(live, live.capture)):
                item = Item(live.received_at, live.capture, live.key, lane=self._lanes[version], content=live.content)
                item.distrusted = live.distrusted
                if live.features_of == self._lanes[version].features_of:
                    item.features, item.features_of = live.features, live.features_of
                items.append(item)
        return Batch(items, time.perf_counter(), shadow=True) if items else None

    def features(self, batch: Batch) -> None:
        """Looks captures up by their bytes, makes features of the others, looks those up too."""
        try:
            self._features(batch)
        except BaseException:
            batch.inferred.set()  # it will not be: whoever follows must not wait for ever
            raise

    def _features(self, batch: Batch) -> None:
        begun = time.perf_counter()
        for item, capture in batch.open_items():
            lane = item.lane or self._drawn(item, capture)
            item.tried += (lane.model.version,)
            if lane.by_time and not batch.shadow and (offsets_ns := self._distrusted(capture.network)):
                item.original = capture
                capture, item.distrusted = lowered(capture, offsets_ns)
                item.capture = capture
            if why := lane.refusal(capture):
                item.error = UnanswerableCapture(f"capture {capture.capture_id!r} cannot be answered: {why}")
            item.lane = lane
        if self._remembers:
            self._recall_content(batch)
        self._extract(batch.open_items())
        if self._remembers:
            self._recall_features(batch)
        batch.features_s = time.perf_counter() - begun

    def infer(self, batch: Batch) -> None:
        """Answers of what no cache knew: one call for each version, and again for what a version failed at."""
        try:
            self._infer(batch)
        finally:
            batch.inferred.set()

    def _infer(self, batch: Batch) -> None:
        begun = time.perf_counter()
        self._take_over(batch)
        while work := batch.open_items():
            by_lane: dict[Lane, list[tuple[Item, IqCapture]]] = defaultdict(list)
            for item, capture in work:
                if item.lane is not None:
                    by_lane[item.lane].append((item, capture))
            for lane, mine in by_lane.items():
                self._infer_by(lane, mine)
            self._extract(batch.open_items())
        batch.inference_s = time.perf_counter() - begun

    def finish(self, batch: Batch) -> list[Fix | CaptureError]:
        """Fixes, or errors, in the order of the records; stores new answers in one write."""
        new: dict[bytes, bytes] = {}
        for item in batch.items:
            if item.same_as is not None:
                self._copy(item)
            if item.error is not None:
                item.error.versions = item.tried
            if item.answer is None or not self._remembers:
                continue
            stored = item.answer.to_bytes()
            if item.exact_key and item.outcome is not CacheOutcome.EXACT:
                new[item.exact_key] = stored
            if item.feature_key and item.outcome is self._miss:
                new[item.feature_key] = stored
        if new:
            self._cache.set_many(new)
        fixes = make_fixes(batch, self._settings)
        if not batch.shadow:
            self._count(batch, fixes)
        return fixes

    def _drawn(self, item: Item, capture: IqCapture) -> Lane:
        """The version that is to answer: the drawn one, or where it rests or cannot, the next that can."""
        if self._only is not None:
            return self._only
        order = [self._lanes[v] for v in self.fleet.order(capture.capture_id, _key(item, capture))]
        able = [lane for lane in order if not lane.refusal(capture)]
        awake = [lane for lane in able if not lane.version.breaker.resting]
        first = (awake or able or order)[0]
        if first is not order[0]:
            item.failures += (f"version {order[0].model.version} is suspended or cannot take it",)
        item.others = [lane for lane in awake if lane is not first]
        return first

    def _recall_content(self, batch: Batch) -> None:
        leaders: dict[bytes, Item] = {}
        for item, capture in batch.open_items():
            if item.lane is None:
                continue
            item.content = item.content or content_digest(capture)
            item.exact_key = exact_key(item.lane.model_part, item.content)
            leader = leaders.setdefault(item.exact_key, item)
            item.same_as = None if leader is item else leader
        self._look_up(list(leaders.values()), list(leaders), CacheOutcome.EXACT)
        if not batch.shadow:
            self._follow(leaders.values(), batch)

    def _recall_features(self, batch: Batch) -> None:
        computed: dict[bytes, Item] = {}
        for item, _ in batch.open_items():
            leader = computed.setdefault(item.feature_key, item)
            item.same_as = None if leader is item else leader
        self._look_up(list(computed.values()), list(computed), CacheOutcome.FEATURES)

    def _look_up(self, items: list[Item], keys: list[bytes], outcome: CacheOutcome) -> None:
        if not items:
            return
        for item, stored in zip(items, self._cache.get_many(keys), strict=True):
            answer = Answer.from_bytes(stored) if stored is not None else None
            if answer is not None and item.lane is not None:
                item.answer, item.outcome = item.lane.flag(answer), outcome

    def _follow(self, items: Iterable[Item], batch: Batch) -> None:
        """Leaves to the batches before this one what they compute already."""
        for item in items:
            if item.answer is None:
                item.settled = batch.inferred
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
            if before.settled is not None:
                # That batch was begun before this one, and waits for none after it: it ends soon, or never will.
                before.settled.wait(_PATIENCE_S)
            if before.answer is not None:
                _take(item, before)
            elif before.error is not None:
                item.error, item.tried = _same_error(item.capture, before.error), before.tried
            else:
                left.append((item, item.capture))
        self._extract(left)

    def _extract(self, work: _Work) -> None:
        """Features and their keys; in one call for all captures whose versions want the same."""
        wanted: dict[str, tuple[FeatureExtractor, list[tuple[Item, IqCapture]]]] = {}
        for item, capture in work:
            lane = item.lane
            if lane is not None and item.features_of != lane.features_of:
                wanted.setdefault(lane.features_of, (lane.extractor, []))[1].append((item, capture))
        for features_of, (extractor, mine) in wanted.items():
            self._extract_by(extractor, mine)
            for item, _ in mine:
                item.features_of = features_of
        for item, capture in work:
            if not self._remembers or item.feature_key or item.error is not None:
                continue
            if item.lane is not None and item.features is not None:
                item.feature_key = feature_key(item.lane.model_part, capture, item.features)

    def _extract_by(self, extractor: FeatureExtractor, work: _Work) -> None:
        if not work:
            return
        try:
            made = quantise(extractor.extract([capture.channels for _, capture in work]))
        except FeatureError as error:
            for index, why in error.reasons.items():
                item, capture = work[index]
                item.error = UnanswerableCapture(f"capture {capture.capture_id!r} has no features: {why}")
            # A FeatureError that names nobody would otherwise be tried again for ever.
            if error.reasons:
                self._extract_by(extractor, [pair for pair in work if pair[0].error is None])
            else:
                self._extract_singly(extractor, work, error)
        except ValueError as error:
            self._extract_singly(extractor, work, error)
        else:
            for (item, _), row in zip(work, made, strict=True):
                item.features = row

    def _extract_singly(self, extractor: FeatureExtractor, work: _Work, error: ValueError) -> None:
        if len(work) > 1:
            for pair in work:
                self._extract_by(extractor, [pair])
            return
        item, capture = work[0]
        item.error = UnanswerableCapture(f"capture {capture.capture_id!r} has no features: {error}")

    def _infer_by(self, lane: Lane, work: _Work) -> None:
        """One version's answers. What it fails at goes to the next live version, or is an error."""
        begun = time.perf_counter()
        rows = [item.features for item, _ in work if item.features is not None]
        try:
            results = lane.infer([capture for _, capture in work], rows)
        except Exception as error:  # whatever a model raises is the model's failure, not the capture's
            results = [f"failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})"] * len(work)
        version = lane.model.version
        self._metrics.version_inference.labels(version).observe(time.perf_counter() - begun)
        failed = sum(not isinstance(result, Answer) for result in results)
        breaker = lane.version.breaker
        if breaker.allow():
            # A capture that no model can answer must not suspend one: most of a call must fail.
            (breaker.failed if 2 * failed > len(results) else breaker.succeeded)()
        for (item, capture), result in zip(work, results, strict=True):
            item.outcome = self._miss
            if isinstance(result, Answer):
                item.answer = result
                continue
            item.failures += (f"version {version} {result}",)
            self._metrics.version_failures.labels(version).inc()
            self._pass_on(item, capture, lane)

    def _pass_on(self, item: Item, capture: IqCapture, lane: Lane) -> None:
        if item.others:
            item.lane, item.others = item.others[0], item.others[1:]
            item.tried += (item.lane.model.version,)
            item.feature_key = b""
            item.exact_key = exact_key(item.lane.model_part, item.content) if self._remembers else b""
        else:
            item.error = UnanswerableCapture(
                f"capture {capture.capture_id!r}: model {lane.model.name!r} {'; '.join(item.failures)}; "
                "check the capture's samples and receiver positions"
            )

    @staticmethod
    def _copy(item: Item) -> None:
        leader = item.same_as
        while leader is not None and leader.same_as is not None:
            leader = leader.same_as
        if leader is None or item.capture is None:
            return
        if leader.error is not None:
            item.error, item.tried = _same_error(item.capture, leader.error), leader.tried
        if leader.answer is not None:
            _take(item, leader)

    def _count(self, batch: Batch, fixes: Sequence[Fix | CaptureError]) -> None:
        metrics = self._metrics
        metrics.latency.labels("features").observe(batch.features_s)
        metrics.latency.labels("inference").observe(batch.inference_s)
        answered = [fix for fix in fixes if isinstance(fix, Fix)]
        queue = metrics.latency.labels("queue")
        for fix in answered:
            queue.observe(fix.timings.queue_ms / 1e3)
        metrics.answered(Counter(fix.cache for fix in answered), sum(fix.timings.total_ms for fix in answered) / 1e3)
        for version, count in Counter(fix.model_version for fix in answered).items():
            metrics.version_captures.labels(version).inc(count)
        for version, count in Counter(fix.model_version for fix in answered if fix.fallback).items():
            metrics.fallbacks.labels(version).inc(count)


def _take(item: Item, other: Item) -> None:
    """The answer of an equal capture."""
    hit = other.outcome in (CacheOutcome.EXACT, CacheOutcome.FEATURES) and item.same_as is not None
    item.answer, item.outcome = other.answer, other.outcome if hit else CacheOutcome.BATCH
    if other.lane is not item.lane:  # its keys are the drawn version's: nothing may be remembered under them
        item.exact_key = item.feature_key = b""
    item.lane, item.failures = other.lane, other.failures


def _key(item: Item, capture: IqCapture) -> bytes:
    return item.key if item.key is not None else key_of(capture)


def _same_error(capture: IqCapture, error: CaptureError) -> CaptureError:
    return type(error)(f"capture {capture.capture_id!r} equals another: {error}")
