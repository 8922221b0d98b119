"""A worker that watches a beacon and finds the receiver whose clock is wrong, as its operator sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import yaml

from stream_app.geo.geodesy import distance_m
from stream_app.models.reference import build_tdoa
from stream_app.models.registry import Registry
from stream_app.network.file import Network, load_network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import key_of
from stream_app.records.codec import Codecs
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.support.brokers import Broker
from tests.support.worker import TopicReader, WorkerProcess, environment_of, eventually, send_all, settings_for

pytestmark = pytest.mark.kafka
_LATE_US = 2.0
_COUNT = 90  # captures, a third of them the beacon's


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    """The demo network with its mast as a beacon, and its north receiver's clock late by what it does not state."""
    values = yaml.safe_load(Path(example_network("demo")).read_text())
    mast = next(emitter for emitter in values["emitters"] if emitter["name"] == "mast")
    values["beacons"] = [{"name": "mast", "latitude": mast["latitude"], "longitude": mast["longitude"]}]
    values["simulation"]["clock_errors_us"] = {"north": _LATE_US}
    path = tmp_path / "network.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_wrong_clock_is_named_its_weight_is_lowered_and_the_beacon_tells(
    broker: Broker, network_file: Path, unique: str, tmp_path: Path
) -> None:
    network = load_network(network_file)
    onnx.save(build_tdoa(network), str(tmp_path / "model.onnx"))
    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    Registry(uri, tmp_path / "models").register(unique, tmp_path / "model.onnx", alias="champion")
    settings = settings_for(
        broker.bootstrap,
        unique,
        registry_uri=uri,
        model_cache_dir=str(tmp_path / "models"),
        model_name=unique,
        network_file=str(network_file),
        status_every_s=2.0,
        partitions=1,
    )
    captures = _records(network)
    worker = WorkerProcess(settings, tmp_path)
    try:
        worker.wait_ready()
        fixes = TopicReader(broker.bootstrap, settings.positions_topic)
        sent = 0

        def distrusted() -> bool:
            nonlocal sent
            send_all(settings, [next(captures) for _ in range(30)])
            sent += 30
            eventually(lambda: len(fixes.read()) >= sent, what="the fixes")
            return 'fixstream_receiver_distrusted{network="demo",receiver="north"} 1.0' in worker.get("/metrics")[1]

        eventually(distrusted, what="the distrust of the wrong clock")
        before = sent
        send_all(settings, [next(captures) for _ in range(_COUNT)])
        eventually(lambda: len(fixes.read()) >= before + _COUNT, what="the last fix")
        text = worker.get("/metrics")[1]
        status = _status(settings, as_json=True)
        table = _status(settings, as_json=False)
        log = worker.log()
        fixes.close()
    finally:
        worker.stop()
    found = [Codecs().decode_fix(message.value() or b"") for message in fixes.messages]
    assert found[0].receivers == ("north", "east", "south", "west")
    assert found[0].distrusted == ()
    assert found[-1].receivers == ("east", "south", "west")
    assert found[-1].distrusted == ("north",)
    # The wrong clock put the mast 380 m off; without it, some 10 m.
    [mast] = [emitter for emitter in network.emitters if emitter.name == "mast"]
    of_mast = [fix for fix in found if fix.center_frequency_hz == network.center_frequency_hz]
    first, last = (
        [float(distance_m(fix.latitude, fix.longitude, mast.latitude, mast.longitude)) for fix in some]
        for some in (of_mast[:10], of_mast[-10:])
    )
    assert min(first) > 200
    assert max(last) < 50

    assert 'fixstream_beacon_level{beacon="mast",network="demo"} 3.0' in text
    assert 'fixstream_beacon_fixes_total{beacon="mast",inside="none",network="demo"}' in text
    assert 'fixstream_receiver_distrusted{network="demo",receiver="east"} 0.0' in text
    [told] = json.loads(status)["workers"]
    [beacon] = told["beacons"]
    assert (beacon["network"], beacon["name"], beacon["level"]) == ("demo", "mast", "ALERT")
    clocks = {clock["receiver_id"]: clock for clock in told["clocks"]}
    assert [name for name, clock in clocks.items() if clock["distrusted"]] == ["north"]
    assert abs(clocks["north"]["offset_ns"] - 1e3 * _LATE_US) < 50
    assert "demo/mast   alert" in table
    assert "distrusted" in table
    assert log.count("Receiver north of demo is distrusted") == 1
    assert log.count("Beacon mast of demo: ALERT") == 1


def test_a_broken_network_file_ends_the_start_in_one_line(broker: Broker, unique: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: demo\nbeacons: 7\n")
    settings = settings_for(
        broker.bootstrap, unique, registry_uri=f"sqlite:///{tmp_path / 'registry.db'}", network_file=str(path)
    )
    worker = WorkerProcess(settings, tmp_path)
    assert worker.process.wait(60) == 2
    assert "broken.yaml: line 1: " in worker.log()
    assert "Traceback" not in worker.log()


def _records(network: Network) -> Iterator[tuple[bytes, bytes]]:
    codecs = Codecs()
    for capture, _ in Simulator(network, seed=11).captures(None):
        yield key_of(capture), codecs.encode_capture(capture)


def _status(settings: Settings, as_json: bool) -> str:
    return subprocess.run(
        [sys.executable, "-m", "stream_app.cli.main", "status", *(["--json"] if as_json else [])],
        env=os.environ | environment_of(settings) | {"COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
