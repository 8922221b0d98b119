"""The table of a track's life."""

from __future__ import annotations

import itertools

import pytest

from stream_app.records.track import TrackState
from stream_app.tracks.life import Event, after


def test_what_has_ended_stays_so_and_what_is_confirmed_is_never_doubted() -> None:
    for event in Event:
        with pytest.raises(ValueError, match=f"ENDED cannot be {event}"):
            after(TrackState.ENDED, event)
    for event in (Event.DOUBTED, Event.CONFIRMED, Event.STARTED):
        with pytest.raises(ValueError, match="CONFIRMED cannot be"):
            after(TrackState.CONFIRMED, event)


def test_every_way_begins_tentative_and_can_end() -> None:
    assert [event for event in Event if _legal(None, event)] == [Event.STARTED]
    for state, event in itertools.product((TrackState.TENTATIVE, TrackState.CONFIRMED), (Event.SILENT, Event.CROWDED)):
        assert after(state, event) is TrackState.ENDED


def _legal(state: TrackState | None, event: Event) -> bool:
    try:
        after(state, event)
    except ValueError:
        return False
    return True
