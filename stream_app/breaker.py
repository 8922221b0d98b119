"""A circuit breaker: after repeated failures a resource is left alone for a while, then tried once."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from threading import Lock


class State(Enum):
    """Whether calls go through."""

    CLOSED = "closed"  # all
    OPEN = "open"  # none
    HALF_OPEN = "half-open"  # one, whose outcome decides


class Event(Enum):
    """What can happen to a breaker."""

    SUCCEEDED = "a call succeeded"
    FAILED = "a call failed"
    FAILED_TOO_OFTEN = "a call failed, and with it as many in a row as are allowed"
    PAUSE_ENDED = "a call is wanted, and the pause is over"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CLOSED, Event.SUCCEEDED): State.CLOSED,
    (State.CLOSED, Event.FAILED): State.CLOSED,
    (State.CLOSED, Event.FAILED_TOO_OFTEN): State.OPEN,
    (State.CLOSED, Event.PAUSE_ENDED): State.CLOSED,
    # While open, only calls from before can still come back: they say nothing about now.
    (State.OPEN, Event.SUCCEEDED): State.OPEN,
    (State.OPEN, Event.FAILED): State.OPEN,
    (State.OPEN, Event.FAILED_TOO_OFTEN): State.OPEN,
    (State.OPEN, Event.PAUSE_ENDED): State.HALF_OPEN,
    (State.HALF_OPEN, Event.SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Event.FAILED): State.OPEN,
    (State.HALF_OPEN, Event.FAILED_TOO_OFTEN): State.OPEN,
    # The probe never reported: another may try.
    (State.HALF_OPEN, Event.PAUSE_ENDED): State.HALF_OPEN,
}


class CircuitBreaker:
    """Opens after ``failures`` in a row, for ``pause_s`` seconds. Thread-safe."""

    def __init__(self, failures: int = 3, pause_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._pause_s, self._clock = failures, pause_s, clock
        self._state = State.CLOSED
        self._in_a_row = 0
        self._since = 0.0  # when the breaker opened, or let its last probe go
        self._lock = Lock()

    @property
    def state(self) -> State:
        """The present state; an open breaker turns half-open only when a call is wanted."""
        return self._state

    @property
    def resting(self) -> bool:
        """Whether a call would be refused now. Unlike ``allow`` it lets no probe go."""
        with self._lock:
            return self._state is not State.CLOSED and self._clock() - self._since < self._pause_s

    def allow(self) -> bool:
        """Whether a call may be made now. Each True must be followed by ``succeeded`` or ``failed``."""
        with self._lock:
            if self._state is State.CLOSED:
                return True
            now = self._clock()
            if now - self._since < self._pause_s:
                return False
            self._move(Event.PAUSE_ENDED, now)
            return True

    def succeeded(self) -> None:
        """A call came back well."""
        with self._lock:
            self._in_a_row = 0
            self._move(Event.SUCCEEDED, self._since)

    def failed(self) -> None:
        """A call failed."""
        with self._lock:
            self._in_a_row += 1
            often = self._in_a_row >= self._limit
            before = self._state
            # A late failure of an older call must not lengthen the pause.
            since = self._since if before is State.OPEN else self._clock()
            self._move(Event.FAILED_TOO_OFTEN if often else Event.FAILED, since)

    def _move(self, event: Event, since: float) -> None:
        self._state = TRANSITIONS[self._state, event]
        self._since = since
