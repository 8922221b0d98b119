"""Each kind of bad input gets its own error in words, and its neighbours the very fixes that they get alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream_app.cache.dedup import DedupCache
from stream_app.errors import CaptureError
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.network.file import load_network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.faults.fuzz import Taken, alike
from tests.support.bad_input import CATALOGUE, CODECS, Bad
from tests.support.small_model import small_session


@pytest.fixture(scope="module")
def good() -> list[IqCapture]:
    return [capture for capture, _ in Simulator(load_network(example_network("demo")), seed=3).captures(3)]


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[bytes | None]], list[Fix | CaptureError]]:
    session = small_session(tmp_path_factory.mktemp("model"))
    locator = Locator(
        Fleet.of(session), DedupCache(None), Codecs(), Settings(_env_file=None, cache_url="none://"), Metrics()
    )

    def run(values: list[bytes | None]) -> list[Fix | CaptureError]:
        batch = locator.decode([Taken(value, 0.0) for value in values])
        locator.features(batch)
        locator.infer(batch)
        return locator.finish(batch)

    return run


@pytest.mark.parametrize("bad", CATALOGUE, ids=[bad.name for bad in CATALOGUE])
def test_bad_input_is_named_and_harms_no_neighbour(
    bad: Bad, good: list[IqCapture], answer: Callable[[list[bytes | None]], list[Fix | CaptureError]]
) -> None:
    first, base, last = good
    neighbours: list[bytes | None] = [CODECS.encode_capture(first), CODECS.encode_capture(last)]
    before, result, after = answer([neighbours[0], bad.make(base), neighbours[1]])
    assert alike(before, answer(neighbours[:1])[0])
    assert alike(after, answer(neighbours[1:])[0])
    if bad.code is None:
        assert isinstance(result, Fix), result
        return
    assert isinstance(result, CaptureError), "it was answered"
    assert (result.code, bad.words in str(result)) == (bad.code, True), str(result)[:500]
    assert len(str(result)) < 1000
