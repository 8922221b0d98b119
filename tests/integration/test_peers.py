"""The benchmark's peers do FixStream's work: every capture located once, where FixStream locates it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import onnx
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.harness import ModuleProcess
from benchmarks.network import BENCH_NETWORK
from benchmarks.peers import BENCH_PYTHON, PEERS, python_of
from stream_app.cache.dedup import DedupCache
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.session import OnnxSession
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture, key_of
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from tests.support.brokers import Broker
from tests.support.worker import TopicReader, eventually, send_all, settings_for

pytestmark = pytest.mark.kafka
CAPTURES = 40
ROUNDING_DEG = 1e-8  # a millimetre: the model's sums in single precision differ with the size of a batch
Places = dict[str, tuple[bytes, float, float]]  # by capture: its key, latitude, longitude


class Peers:
    """All peers that are installed, started at once on one topic of captures, each with an output of its own."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._codecs = Codecs()
        captures = [capture for capture, _ in Simulator(BENCH_NETWORK, seed=5).captures(CAPTURES)]
        keys = [key_of(capture) + str(n % 8).encode() for n, capture in enumerate(captures)]
        model = folder / "model.onnx"
        onnx.save(build_tdoa(BENCH_NETWORK), str(model))
        self.expected = self._located(model, captures, keys)
        settings = settings_for(broker.bootstrap, f"peers{uuid4().hex[:8]}", cache_url="none://")
        send_all(settings, [(k, self._codecs.encode_capture(c)) for k, c in zip(keys, captures, strict=True)])
        self.bootstrap = broker.bootstrap
        self.output = {name: f"{settings.positions_topic}.{n}" for n, name in enumerate(PEERS)}
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for made in admin.create_topics([NewTopic(topic, 4) for topic in self.output.values()]).values():
            made.result(30)
        self.processes: dict[str, ModuleProcess] = {}
        for name, (module, extra) in PEERS.items():
            python = python_of(module)
            if python is None:
                continue
            more = [*extra, "--output", self.output[name], "--group", self.output[name]]
            self.processes[name] = ModuleProcess(
                python, f"peers.{module}", broker.bootstrap, settings.captures_topic, model, more, folder
            )

    def _located(self, model: Path, captures: list[IqCapture], keys: list[bytes]) -> Places:
        session = OnnxSession.load(model, "bench", "1", 1)
        settings = settings_for("unused", "unused", cache_url="none://")
        fixes = Locator(Fleet.of(session), DedupCache(None), self._codecs, settings, Metrics()).locate(captures)
        return {
            fix.capture_id: (key, fix.latitude, fix.longitude)
            for key, fix in zip(keys, fixes, strict=True)
            if isinstance(fix, Fix)
        }

    def answers(self, name: str) -> list[tuple[bytes, Fix]]:
        """All that the peer has sent when it has ended at SIGTERM, in order and with code 0."""
        peer, reader = self.processes[name], TopicReader(self.bootstrap, self.output[name])

        def answered() -> bool:
            assert peer.process.poll() is None, f"it ended: {peer.said()}"
            return len(reader.read()) >= CAPTURES

        try:
            eventually(answered, 200, f"{CAPTURES} fixes")
            peer.process.terminate()
            assert peer.process.wait(30) == 0, peer.said()
            return [(message.key(), self._codecs.decode_fix(message.value())) for message in reader.read_out()]
        finally:
            reader.close()


@pytest.fixture(scope="module")
def peers(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    started = Peers(broker, tmp_path_factory.mktemp("peers"))
    try:
        yield started
    finally:
        for peer in started.processes.values():
            peer.kill()


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_answers_every_capture_once_and_as_fixstream_does(peers: Peers, name: str) -> None:
    if name not in peers.processes:
        pytest.skip(f"the packages of benchmarks.peers.{PEERS[name][0]} are neither here nor in {BENCH_PYTHON}")
    answers = peers.answers(name)
    assert len(peers.expected) == CAPTURES
    assert sorted(fix.capture_id for _, fix in answers) == sorted(peers.expected)
    for key, fix in answers:
        expected_key, latitude, longitude = peers.expected[fix.capture_id]
        assert key == expected_key
        assert (fix.latitude, fix.longitude) == pytest.approx((latitude, longitude), abs=ROUNDING_DEG, rel=0)
