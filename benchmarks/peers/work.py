"""What every peer does with captures, between its reads and its sends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from stream_app.locate.answer import Answer
from stream_app.locate.batch import Batch, Item
from stream_app.locate.fixes import make_fixes
from stream_app.locate.keys import quantise
from stream_app.locate.lane import Lane
from stream_app.models.fleet import Fleet
from stream_app.models.session import OnnxSession
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome, Fix
from stream_app.settings import Settings


class Work:
    """Decode, features, inference, ellipse, outline, encode, with FixStream's own parts, model and ONNX threads.

    Not through its Locator: a peer has no cache and no versions to choose from, and must not pay for their hashes
    (2 to 4 % of its work).
    """

    def __init__(self, model: Path) -> None:
        self._settings = Settings(cache_url="none://", inference_threads=1)
        self._codecs = Codecs()
        session = OnnxSession.load(model, "bench", "1", self._settings.inference_threads)
        self._lane = Lane(Fleet.of(session).live[0], self._settings.border_mass_limit)

    def one(self, value: bytes) -> bytes:
        """A capture's record to its fix's."""
        return self.many([value])[0]

    def many(self, values: Sequence[bytes]) -> list[bytes]:
        """The same for several, in one call of the model. Raises FixStreamError or ValueError where one has no fix."""
        now = time.perf_counter()
        captures = [self._codecs.decode_capture(value) for value in values]
        items = [Item(now, capture, lane=self._lane, outcome=CacheOutcome.DISABLED) for capture in captures]
        batch = Batch(items, now)
        features = quantise(self._lane.extractor.extract([capture.channels for capture in captures]))
        inferred = time.perf_counter()
        for item, answer in zip(items, self._lane.infer(captures, list(features)), strict=True):
            item.answer = answer if isinstance(answer, Answer) else None
        batch.features_s, batch.inference_s = inferred - now, time.perf_counter() - inferred
        return [self._encoded(fix) for fix in make_fixes(batch, self._settings)]

    def _encoded(self, fix: Fix | Exception) -> bytes:
        if isinstance(fix, Fix):
            return self._codecs.encode_fix(fix)
        raise fix
