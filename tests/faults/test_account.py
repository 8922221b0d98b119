"""The checker itself: it notices what it is there to notice."""

from __future__ import annotations

from dataclasses import replace

from stream_app.settings import Guarantee
from tests.faults.account import Account, Answer, Place, Sent, account

ONCE, AT_LEAST = Guarantee.EXACTLY_ONCE, Guarantee.AT_LEAST_ONCE
PLACES = [Place(47.0 + number / 100, 9.0, 10.0 + number) for number in range(6)]
# Two keys in turn; every capture 10 ms after the one before; number 5 cannot be decoded.
SENT = {
    f"c{number}": Sent(number, b"ab"[number % 2 : number % 2 + 1], 10 * number, None if number == 5 else place)
    for number, place in enumerate(PLACES)
}
ANSWERS = [Answer(name, capture.key, capture.sent_ms + 5, capture.place) for name, capture in SENT.items()]


def judged(answers: list[Answer], end_ms: int = 100, unsure: frozenset[str] = frozenset()) -> Account:
    return account(SENT, answers, end_ms, unsure)


def test_a_clean_run_breaks_no_promise() -> None:
    found = judged(ANSWERS)
    assert (found.sent, found.answered, found.longest_gap_s) == (6, 6, 0.005)
    assert found.broken(ONCE, 0) == found.broken(AT_LEAST, 0) == []


def test_a_lost_capture_is_named_under_both_promises() -> None:
    found = judged(ANSWERS[:2] + ANSWERS[3:])
    assert (found.lost, found.answered) == (["c2"], 5)
    assert found.broken(ONCE, 0) == found.broken(AT_LEAST, 99) == ["1 lost: c2"]


def test_a_lost_dead_letter_is_lost_too() -> None:
    assert judged(ANSWERS[:5]).lost == ["c5"]


def test_a_second_answer_is_forbidden_once_and_bounded_otherwise() -> None:
    found = judged([*ANSWERS, ANSWERS[2], ANSWERS[2], ANSWERS[5]])
    assert (found.twice, found.again) == (["c2", "c5"], 3)
    assert found.broken(ONCE, 99) == ["2 answered more than once: c2, c5"]
    assert found.broken(AT_LEAST, 3) == []
    assert found.broken(AT_LEAST, 2) == ["3 answers repeated, but at most 2 were in flight"]


def test_a_later_capture_of_its_key_must_not_be_answered_before() -> None:
    swapped = [ANSWERS[2], ANSWERS[1], ANSWERS[0], *ANSWERS[3:]]
    assert judged(swapped).out_of_order == ["c0"]
    assert judged(swapped).broken(AT_LEAST, 99) == ["1 out of order: c0"]
    other_keys = [ANSWERS[1], ANSWERS[0], ANSWERS[2], *ANSWERS[3:]]
    assert judged(other_keys).out_of_order == []


def test_answers_repeated_after_a_crash_are_no_disorder() -> None:
    assert judged([*ANSWERS, ANSWERS[0], ANSWERS[2]]).out_of_order == []


def test_a_dead_letter_has_no_order_among_fixes() -> None:
    assert judged([ANSWERS[5], *ANSWERS[:5]]).out_of_order == []


def test_another_captures_answer_is_wrong() -> None:
    mixed = [replace(ANSWERS[0], place=PLACES[1]), *ANSWERS[1:]]
    assert judged(mixed).wrong == ["c0"]
    assert judged(mixed).broken(ONCE, 0) == ["1 answered wrongly: c0"]


def test_a_wrong_repetition_is_wrong_though_the_first_was_right() -> None:
    assert judged([*ANSWERS, replace(ANSWERS[0], place=PLACES[1])]).wrong == ["c0"]


def test_a_fix_for_poison_a_dead_letter_for_a_capture_and_another_key_are_wrong() -> None:
    changed = [replace(ANSWERS[0], place=None), replace(ANSWERS[1], key=b"z"), *ANSWERS[2:5]]
    assert judged([*changed, replace(ANSWERS[5], place=PLACES[0])]).wrong == ["c0", "c1", "c5"]


def test_an_answer_to_what_nobody_sent_is_wrong_unless_the_sending_was_in_doubt() -> None:
    stranger = Answer("c9", b"a", 70, PLACES[0])
    assert judged([*ANSWERS, stranger]).wrong == ["c9"]
    assert judged([*ANSWERS, stranger], unsure=frozenset({"c9"})).wrong == []
    assert judged([*ANSWERS, stranger, stranger], unsure=frozenset({"c9"})).twice == ["c9"]


def test_the_gap_counts_only_while_something_is_owed() -> None:
    late = [replace(answer, seen_ms=answer.seen_ms + 700 * (answer.name > "c2")) for answer in ANSWERS]
    # c3, c4 and c5 (sent at 30, 40 and 50 ms) come at 735, 745 and 755: nothing from 30 to 735.
    assert judged(late, 5000).longest_gap_s == judged(late, 5000).longest_wait_s == 0.705
    assert judged(ANSWERS, 5000).longest_gap_s == 0.005


def test_what_never_comes_is_a_gap_to_the_end() -> None:
    found = judged(ANSWERS[:5], 5000)
    assert found.longest_gap_s == found.longest_wait_s == 4.95


def test_a_key_that_waits_shows_though_others_are_answered() -> None:
    held = [*ANSWERS[:2], ANSWERS[3], ANSWERS[5], replace(ANSWERS[2], seen_ms=90), replace(ANSWERS[4], seen_ms=91)]
    assert (judged(held).longest_gap_s, judged(held).longest_wait_s) == (0.035, 0.07)
