"""``fixstream export`` from real topics."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any
from xml.etree import ElementTree

import pytest
from confluent_kafka import Producer

from stream_app.kafka.topics import ensure_topics
from stream_app.records.codec import Codecs
from stream_app.settings import Settings
from tests.golden.make import TRACK
from tests.support.brokers import Broker
from tests.support.worker import environment_of, settings_for
from tests.unit.tracks.fixes import a_fix

pytestmark = pytest.mark.kafka
_CODECS = Codecs()


def _send(settings: Settings, topic: str, values: list[bytes | None], at_ms: int) -> None:
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    for number, value in enumerate(values):
        producer.produce(topic, value, b"key", timestamp=at_ms + number)
    assert producer.flush(30) == 0


def _started(settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "stream_app.cli.main", "export", *arguments],
        env=os.environ | environment_of(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _exported(settings: Settings, *arguments: str) -> tuple[str, str]:
    with _started(settings, *arguments) as process:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    return out.decode(), err.decode()


def test_a_topic_is_exported_whole_or_from_a_time_and_followed_until_ctrl_c(broker: Broker, unique: str) -> None:
    settings = settings_for(broker.bootstrap, unique, partitions=2)
    ensure_topics(settings)
    now_ms = time.time_ns() // 1_000_000
    fixes: list[Any] = [_CODECS.encode_fix(a_fix(f"c{n}", n, 47.7, 9.0)) for n in range(6)]
    _send(settings, settings.positions_topic, [*fixes[:3], b"no fix"], now_ms - 7_200_000)
    _send(settings, settings.positions_topic, fixes[3:5], now_ms)

    out, err = _exported(settings, "--format", "geojson")
    assert [json.loads(line)["properties"]["capture_id"] for line in out.splitlines()] == ["c0", "c1", "c2", "c3", "c4"]
    assert err.startswith("1 records were left out, the first one: ")
    recent = csv.DictReader(io.StringIO(_exported(settings, "--format", "csv", "--since", "1h")[0], newline=""))
    assert [row["capture_id"] for row in recent] == ["c3", "c4"]

    with _started(settings, "--format", "kml", "--follow", "--from-start") as process:
        assert process.stdout is not None
        text = b""
        for count, more in ((5, fixes[5:]), (6, [])):
            while text.count(b"</Placemark>") < count:
                line = process.stdout.readline()
                assert line, text
                text += line
            _send(settings, settings.positions_topic, more, now_ms)
        process.send_signal(signal.SIGINT)
        text += process.stdout.read()
        assert process.wait(30) == 0
    assert len(ElementTree.fromstring(text)[0].findall("{*}Placemark")) == 6


def test_tracks_are_exported_and_tombstones_are_passed_over(broker: Broker, unique: str) -> None:
    settings = settings_for(broker.bootstrap, unique, partitions=1)
    ensure_topics(settings)
    _send(settings, settings.tracks_topic, [_CODECS.encode_track(TRACK), None], time.time_ns() // 1_000_000)
    out, err = _exported(settings, "--format", "cot", "--topic", "tracks")
    assert ElementTree.fromstring(out).get("uid") == f"fixstream.{TRACK.track_id}"
    assert err == ""
