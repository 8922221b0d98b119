"""The life of a track: what may happen to it, and what it is then. Every legal move is written once."""

from __future__ import annotations

from enum import StrEnum

from stream_app.records.track import TrackState


class Event(StrEnum):
    """What happens to a track. The values are the metric's label."""

    STARTED = "started"  # a fix that no track took
    TAKEN = "taken"  # another fix of its own
    CONFIRMED = "confirmed"  # the fix that made them enough
    MISSED = "missed"  # a fix of its key that neither it nor a confirmed track took
    DOUBTED = "doubted"  # the miss that made them too many for a tentative track
    SILENT = "silent"  # no fix for too long
    CROWDED = "crowded"  # another track needed its place


_TENTATIVE, _CONFIRMED, _ENDED = TrackState.TENTATIVE, TrackState.CONFIRMED, TrackState.ENDED
_MOVES: dict[tuple[TrackState | None, Event], TrackState] = {
    (None, Event.STARTED): _TENTATIVE,
    (_TENTATIVE, Event.TAKEN): _TENTATIVE,
    (_TENTATIVE, Event.CONFIRMED): _CONFIRMED,
    (_TENTATIVE, Event.MISSED): _TENTATIVE,
    (_TENTATIVE, Event.DOUBTED): _ENDED,
    (_TENTATIVE, Event.SILENT): _ENDED,
    (_TENTATIVE, Event.CROWDED): _ENDED,
    (_CONFIRMED, Event.TAKEN): _CONFIRMED,
    (_CONFIRMED, Event.MISSED): _CONFIRMED,
    (_CONFIRMED, Event.SILENT): _ENDED,
    (_CONFIRMED, Event.CROWDED): _ENDED,
}


def after(state: TrackState | None, event: Event) -> TrackState:
    """The state after an event; None is before the first. Raises ValueError where that cannot happen."""
    try:
        return _MOVES[state, event]
    except KeyError:
        raise ValueError(f"a track that is {state} cannot be {event}") from None
