"""``fixstream track`` on real Kafka: each fix is in its track once, whoever dies in between."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stream_app.errors import SettingsError
from stream_app.geo.geodesy import moved
from stream_app.kafka.topics import ensure_topics
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.records.track import Track, TrackState
from stream_app.settings import Settings
from stream_app.tracks.keeper import PartitionTracks
from stream_app.tracks.restore import check_partitions
from tests.support.brokers import Broker
from tests.support.worker import TopicReader, TrackerProcess, eventually, settings_for
from tests.unit.tracks.fixes import a_fix

pytestmark = pytest.mark.kafka
_CODECS = Codecs()


def _wander(count: int, emitters: int) -> Iterator[Fix]:
    """Fixes of emitters that drive about, each on a frequency of its own; one in ten is far off, some come twice."""
    rng = np.random.default_rng(11)
    places = [(47.6 + 0.02 * n, 9.0) for n in range(emitters)]
    headings = rng.normal(0, 12.0, (emitters, 2))
    for number in range(count):
        turn = number % emitters
        headings[turn] += rng.normal(0, 1.0, 2)
        latitude, longitude, _ = moved(*places[turn], *(headings[turn] * 0.5).tolist())
        places[turn] = latitude, longitude
        far = rng.random() < 0.1
        east, north = (rng.normal(0, 8000.0, 2) if far else rng.normal(0, 5.0, 2)).tolist()
        where = moved(latitude, longitude, east, north)[:2]
        again = number - emitters if rng.random() < 0.03 and number >= emitters else number
        yield a_fix(f"f{again}", number * 0.5 / emitters, *where, center_frequency_hz=433e6 + turn * 25e3)


def _send(settings: Settings, fixes: list[Fix], at_ms: int) -> None:
    """Each with a record's time one millisecond after the one before."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "enable.idempotence": True})
    for number, fix in enumerate(fixes):
        key = f"{fix.network}/{fix.center_frequency_hz:.0f}".encode()
        producer.produce(settings.positions_topic, _CODECS.encode_fix(fix), key, timestamp=at_ms + number)
    assert producer.flush(30) == 0


def _committed(settings: Settings) -> int:
    """Fixes that the trackers' group is done with; 0 also where the group's coordinator is not there yet."""
    member = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": f"{settings.group_id}-track"})
    with closing(member):
        places = [TopicPartition(settings.positions_topic, p) for p in range(settings.partitions)]
        with suppress(KafkaException):
            return sum(max(0, place.offset) for place in member.committed(places, timeout=10))
    return 0


def _values(topic: list[Any]) -> dict[int, list[tuple[bytes, bytes | None]]]:
    """Keys and values by partition, in order."""
    found: dict[int, list[tuple[bytes, bytes | None]]] = defaultdict(list)
    for message in topic:
        found[message.partition()].append((message.key(), message.value()))
    return found


def _undisturbed(settings: Settings, positions: list[Any]) -> dict[int, list[tuple[bytes, bytes | None]]]:
    """What one tracker that nothing ever happens to would write."""
    keepers: dict[int, PartitionTracks] = defaultdict(lambda: PartitionTracks(settings))
    written: dict[int, list[tuple[bytes, bytes | None]]] = defaultdict(list)
    for message in positions:
        fix = _CODECS.decode_fix(message.value())
        for change in keepers[message.partition()].take(fix, message.timestamp()[1])[1]:
            value = None if change.track is None else _CODECS.encode_track(change.track)
            written[message.partition()].append((change.track_id.encode(), value))
    return written


def test_of_two_trackers_one_killed_in_the_middle_write_what_an_undisturbed_one_would(
    broker: Broker, unique: str, tmp_path: Path
) -> None:
    settings = settings_for(broker.bootstrap, unique, partitions=3, track_silence_s=3600, transaction_timeout_ms=1000)
    ensure_topics(settings)
    fixes, at_ms = list(_wander(3000, 7)), time.time_ns() // 1_000_000
    _send(settings, fixes[:2000], at_ms)
    trackers = [TrackerProcess(settings, tmp_path, name) for name in ("one", "two")]

    def at_work() -> list[TrackerProcess]:
        return [tracker for tracker in trackers if tracker.metric("fixstream_track_fixes_total")]

    with closing(TopicReader(broker.bootstrap, settings.tracks_topic)) as tracks:
        try:
            eventually(lambda: at_work() and tracks.read(), 60, "the first tracks")
            [killed, *_] = at_work()  # who came first may have taken all before the other had its share
            [other] = [tracker for tracker in trackers if tracker is not killed]
        except BaseException:
            for tracker in trackers:
                tracker.process.kill()
            raise
        killed.process.kill()
        _send(settings, fixes[2000:], at_ms + 2000)
        try:
            eventually(lambda: _committed(settings) == len(fixes), 90, "the end")
        finally:
            assert other.stop() == 0
        with closing(TopicReader(broker.bootstrap, settings.positions_topic)) as positions:
            expected = _undisturbed(settings, positions.read_out())
        assert _values(tracks.read_out()) == expected
    alive = {key: value for part in expected.values() for key, value in part}
    counts = sorted(track.fixes for track in map(_track, alive.values()) if track is not None)
    assert counts[-7] > 300  # each of the seven was followed all along


def test_a_tracks_topic_with_too_few_partitions_is_refused_at_the_start(broker: Broker, unique: str) -> None:
    settings = settings_for(broker.bootstrap, unique, partitions=3)
    ensure_topics(settings.model_copy(update={"partitions": 2, "positions_topic": f"{unique}.other"}))
    ensure_topics(settings)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    wanted = {settings.positions_topic, settings.tracks_topic}
    eventually(lambda: wanted <= admin.list_topics(timeout=10).topics.keys(), 30, "the topics")
    with pytest.raises(SettingsError, match=r"tracks has 2 partitions, .*positions 3"):
        check_partitions(settings)


def _track(value: bytes | None) -> Track | None:
    return None if value is None else _CODECS.decode_track(value)


def test_a_silent_track_ends_although_nothing_more_comes_and_bad_records_stop_nobody(
    broker: Broker, unique: str, tmp_path: Path
) -> None:
    """Also after a restart: who takes over an abandoned partition ends what was left there."""
    settings = settings_for(broker.bootstrap, unique, partitions=1)
    ensure_topics(settings)
    at_ms = time.time_ns() // 1_000_000
    _send(settings, [a_fix(f"c{n}", n, 47.7, 9.0) for n in range(4)], at_ms)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for value in (b"no fix", None):
        producer.produce(settings.positions_topic, value, b"lake/433920000", timestamp=at_ms)
    assert producer.flush(10) == 0
    first = TrackerProcess(settings, tmp_path, "first")
    eventually(lambda: _committed(settings) == 6, 60, "all fixes")
    assert first.get("/health/ready")[0] == 200
    assert first.metric('fixstream_track_fixes_total{outcome="undecodable"}') == 2
    assert first.metric('fixstream_track_fixes_total{outcome="taken"}') == 3
    assert first.metric("fixstream_tracks ") == 1
    assert first.stop() == 0
    assert "0:4 is no fix" in first.log()
    impatient = settings.model_copy(update={"track_silence_s": 1.0})
    second = TrackerProcess(impatient, tmp_path, "second")
    with closing(TopicReader(broker.bootstrap, settings.tracks_topic)) as tracks, ExitStack() as stack:
        stack.callback(second.process.kill)
        eventually(lambda: any(message.value() is None for message in tracks.read()), 90, "the track's end")
        assert second.stop() == 0
        values = [message.value() for message in tracks.read_out()]
    last = _track(values[-2])
    assert values[-1] is None
    assert last is not None
    assert last.state is TrackState.ENDED
    before = _track(values[-3])
    assert before is not None
    assert asdict(last) | {"state": before.state} == asdict(before)
    assert Counter(track.state for track in map(_track, values) if track) == {
        TrackState.TENTATIVE: 2,
        TrackState.CONFIRMED: 2,
        TrackState.ENDED: 1,
    }
