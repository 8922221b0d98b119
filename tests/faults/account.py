"""The account of a run: what became of each capture that was sent. Pure: no Kafka, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream_app.settings import Guarantee

_SAME_DEG, _SAME_SHARE = 1e-6, 1e-3  # a batch's size moves an answer by a thousandth of these


@dataclass(frozen=True, slots=True)
class Place:
    """What a capture must be answered with: WGS 84 degrees, and the ellipse's longer half axis."""

    latitude: float
    longitude: float
    semi_major_m: float

    def agrees(self, other: Place) -> bool:
        """Whether both are answers to the same capture, as near as arithmetic goes."""
        apart = max(abs(self.latitude - other.latitude), abs(self.longitude - other.longitude))
        return apart <= _SAME_DEG and abs(self.semi_major_m - other.semi_major_m) <= _SAME_SHARE * other.semi_major_m


@dataclass(frozen=True, slots=True)
class Sent:
    """A capture that Kafka has: its number in the order of sending, and its answer; None: a dead letter."""

    number: int
    key: bytes
    sent_ms: int
    place: Place | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A fix, or a dead letter (place None), as a reader of committed records got it."""

    name: str
    key: bytes
    seen_ms: int
    place: Place | None


@dataclass(frozen=True, slots=True)
class Account:
    """Names of captures, by what befell them; what they and the reader had to wait."""

    sent: int
    answered: int
    lost: list[str]
    twice: list[str]
    again: int  # answers beyond the first of each capture
    out_of_order: list[str]
    wrong: list[str]  # another answer than the capture's own, or to a capture that nobody sent
    longest_gap_s: float  # in which nothing came although something was owed
    longest_wait_s: float  # of one capture, from sending to its first answer

    def broken(self, delivery: Guarantee, most_again: int) -> list[str]:
        """The promises that were broken, in words. ``most_again``: answers that at_least_once may repeat."""
        found = [
            f"{len(names)} {what}: {', '.join(names[:3])}"
            for names, what in (
                (self.lost, "lost"),
                (self.out_of_order, "out of order"),
                (self.wrong, "answered wrongly"),
            )
            if names
        ]
        if delivery is Guarantee.EXACTLY_ONCE and self.twice:
            found.append(f"{len(self.twice)} answered more than once: {', '.join(self.twice[:3])}")
        if delivery is Guarantee.AT_LEAST_ONCE and self.again > most_again:
            found.append(f"{self.again} answers repeated, but at most {most_again} were in flight")
        return found


def account(sent: Mapping[str, Sent], answers: Sequence[Answer], end_ms: int, unsure: frozenset[str]) -> Account:
    """``answers`` of one key and kind come in their partition's order; ``end_ms`` is when the reader stopped.

    ``unsure`` were not acknowledged: they may be answered, once, and need not be.
    """
    counts: dict[str, int] = defaultdict(int)
    firsts: list[Answer] = []
    wrong: dict[str, None] = {}
    for answer in answers:
        counts[answer.name] += 1
        if counts[answer.name] == 1:
            firsts.append(answer)
        if answer.name not in unsure and not _right(sent.get(answer.name), answer):
            wrong[answer.name] = None
    return Account(
        sent=len(sent),
        answered=sum(name in counts for name in sent),
        lost=[name for name in sent if name not in counts],
        twice=[name for name, count in counts.items() if count > 1],
        again=sum(counts.values()) - len(counts),
        out_of_order=_late(sent, firsts),
        wrong=list(wrong),
        longest_gap_s=_longest_gap_ms(sent, answers, end_ms) / 1e3,
        longest_wait_s=_longest_wait_ms(sent, firsts, end_ms) / 1e3,
    )


def _right(sent: Sent | None, answer: Answer) -> bool:
    if sent is None or sent.key != answer.key:
        return False
    if sent.place is None or answer.place is None:
        return sent.place is answer.place
    return answer.place.agrees(sent.place)


def _late(sent: Mapping[str, Sent], firsts: Sequence[Answer]) -> list[str]:
    """Captures first answered after a later one of their key; fixes and dead letters have an order each."""
    newest: dict[tuple[bytes, bool], int] = {}
    late = []
    for answer in firsts:
        capture = sent.get(answer.name)
        if capture is None:
            continue
        lane = capture.key, answer.place is None
        if capture.number < newest.get(lane, -1):
            late.append(answer.name)
        newest[lane] = max(capture.number, newest.get(lane, -1))
    return late


def _longest_gap_ms(sent: Mapping[str, Sent], answers: Sequence[Answer], end_ms: int) -> int:
    """From the last answer, or from when something was first owed again, to the next answer."""
    sends = [(capture.sent_ms, 0, name) for name, capture in sent.items()]
    events = sorted(sends + [(answer.seen_ms, 1, answer.name) for answer in answers])
    owed: set[str] = set()
    done: set[str] = set()
    since, longest = 0, 0
    for at_ms, is_answer, name in events:
        if is_answer:
            if owed:
                longest, since = max(longest, at_ms - since), at_ms
            owed.discard(name)
            done.add(name)
        elif name not in done:
            since = since if owed else at_ms
            owed.add(name)
    return max(longest, end_ms - since) if owed else longest


def _longest_wait_ms(sent: Mapping[str, Sent], firsts: Sequence[Answer], end_ms: int) -> int:
    seen = {answer.name: answer.seen_ms for answer in firsts}
    return max((seen.get(name, end_ms) - capture.sent_ms for name, capture in sent.items()), default=0)
