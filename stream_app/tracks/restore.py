"""The tracks of a partition as the last tracker left them, from the tracks topic itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing, suppress

from confluent_kafka import Message

from stream_app.errors import BrokerUnavailable, SettingsError, UndecodableRecord
from stream_app.kafka.connection import connection
from stream_app.kafka.follow import TopicFollower
from stream_app.kafka.topics import check_broker
from stream_app.records.codec import Codecs
from stream_app.records.track import Track, TrackState
from stream_app.settings import Settings

log = logging.getLogger(__name__)
STEP = "fixstream-step"  # header: which of the partition's commits brought the record
_SILENCE_S = 30.0  # longest wait for the next records; a dead tracker's transaction is open for some 20 s
_TICK_S = 0.1
_METADATA_S = 10.0


def check_partitions(settings: Settings) -> None:
    """A track is in the partition of its fixes. Raises SettingsError where tracks has fewer than positions."""
    topics = check_broker(connection(settings)).list_topics(timeout=_METADATA_S).topics
    fixes, tracks = topics.get(settings.positions_topic), topics.get(settings.tracks_topic)
    if fixes is None or tracks is None:  # made a moment ago, then as it should be
        return
    if len(tracks.partitions) < len(fixes.partitions):
        raise SettingsError(
            f"{settings.tracks_topic} has {len(tracks.partitions)} partitions, {settings.positions_topic} "
            f"{len(fixes.partitions)}: a track is in the "
            f"partition of its fixes, so give {settings.tracks_topic} as many"
        )


def restored(settings: Settings, codecs: Codecs, partition: int, step: int) -> list[tuple[Track, int]]:
    """The tracks that are alive in that partition, each with its record's time (ms).

    ``step`` is that of the last commit: its records may become visible a moment later than its offset. What a dead
    tracker left open is not waited for. Raises BrokerUnavailable.
    """
    newest: dict[bytes | None, Message] = {}
    seen = 0
    with closing(TopicFollower(settings, settings.tracks_topic)) as follower:
        if not follower.go_to(partition, 0):
            raise BrokerUnavailable(f"{settings.tracks_topic} has no partition {partition}: start the tracker anew")
        while True:
            for messages in follower.parts_to_end(_SILENCE_S):
                newest.update((message.key(), message) for message in messages)
                seen = max(seen, *map(_step_of, messages))
            if seen >= step or not follower.held_back():
                break
            for message in follower.poll(_TICK_S):
                newest[message.key()] = message
                seen = max(seen, _step_of(message))
    return _alive(codecs, list(newest.values()))


def _step_of(message: Message) -> int:
    with suppress(ValueError):
        return int(dict(message.headers() or []).get(STEP) or 0)
    return 0


def _alive(codecs: Codecs, messages: Sequence[Message]) -> list[tuple[Track, int]]:
    found = []
    for message in messages:
        if message.value() is None:
            continue
        try:
            track = codecs.decode_track(message.value())
        except UndecodableRecord as error:
            log.warning(
                "%s, partition %s, offset %s is left out: %s",
                message.topic(),
                message.partition(),
                message.offset(),
                error,
            )
            continue
        if track.state is not TrackState.ENDED:
            found.append((track, message.timestamp()[1]))
    return found
