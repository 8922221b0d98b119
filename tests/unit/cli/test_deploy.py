"""What the operators' commands decide: routes, where a rollback goes, who answered, who agrees, which alias moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_app.cli.main import app
from stream_app.errors import DeploymentRefused, SettingsError
from stream_app.models.control import (
    agreement,
    aliases_of,
    answers_to,
    described,
    moves,
    parse_route,
    settings_deployment,
    to_return_to,
)
from stream_app.records.deployment import (
    Deployment,
    DeploymentState,
    ModelStatus,
    Route,
    RouteMode,
    RunningVersion,
    Split,
)

NOW_US = 1_700_000_000_000_000
GONE_US = 30_000_000
FIRST = settings_deployment("m", "@champion")


def deployment(revision: int, *routes: str, split: Split = Split.CAPTURE) -> Deployment:
    return Deployment("m", revision, tuple(map(parse_route, routes)), split, issued_at_us=NOW_US)


def status(worker: str, revision: int, state: str, running: int, *versions: str, age_s: float = 1) -> ModelStatus:
    loaded = tuple(RunningVersion("@champion", v, f"digest of {v}", 100.0, RouteMode.LIVE) for v in versions)
    at_us = NOW_US - round(age_s * 1e6)
    return ModelStatus(worker, "m", revision, DeploymentState(state), running, loaded, "", at_us)


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("7=90", Route("7", 90.0)),
        ("7", Route("7", 100.0)),
        ("@challenger=0.5", Route("@challenger", 0.5)),
        ("@champion", Route("@champion", 100.0)),
    ],
)
def test_a_route_is_a_version_and_its_weight(text: str, route: Route) -> None:
    assert parse_route(text) == route
    assert parse_route(text, RouteMode.SHADOW) == replace(route, mode=RouteMode.SHADOW)


@pytest.mark.parametrize("text", ["7=", "7=much", "7=9=1"])
def test_a_weight_that_is_no_number_is_shown(text: str) -> None:
    with pytest.raises(DeploymentRefused, match=f"route '{text}'"):
        parse_route(text)


def test_a_deployment_is_one_line() -> None:
    shown = Deployment("m", 4, (Route("7", 90.0), Route("@x", 10.0), Route("9", 50.0, RouteMode.SHADOW)), Split.KEY)
    assert described(shown) == "m revision 4: 7=90 @x=10, shadow 9=50, split by key"


def test_a_rollback_goes_to_the_last_deployment_that_differs_and_back_again() -> None:
    history = [deployment(1, "1"), deployment(2, "2"), deployment(3, "2")]  # the third is a reload
    assert to_return_to(history, FIRST).revision == 1
    history.append(replace(history[0], revision=4))
    assert to_return_to(history, FIRST).revision == 3
    assert to_return_to([*history, deployment(5, "1", split=Split.KEY)], FIRST).revision == 4
    assert to_return_to(history, FIRST, 2).revision == 2


def test_before_the_first_deployment_the_settings_own_model_ran() -> None:
    assert to_return_to([deployment(1, "1")], FIRST) == FIRST
    with pytest.raises(DeploymentRefused, match=r"no earlier deployment that differs .*revisions kept: 7\)"):
        to_return_to([deployment(7, "1")], FIRST)  # compaction took the others: nobody knows
    with pytest.raises(DeploymentRefused, match="no revision 9"):
        to_return_to([deployment(1, "1")], FIRST, 9)
    with pytest.raises(DeploymentRefused, match="no earlier"):
        to_return_to([], FIRST)


@pytest.mark.parametrize(
    ("found", "group"),
    [
        (status("w", 5, "APPLIED", 5, "1"), "applied"),
        (status("w", 5, "LOADING", 4, "1"), "missing"),
        (status("w", 4, "APPLIED", 4, "1"), "missing"),
        (status("w", 5, "REFUSED", 4, "1"), "refused"),
        (status("w", 4, "REFUSED", 3, "1"), "missing"),  # it refused the one before
        (status("w", 6, "LOADING", 5, "1"), "applied"),  # and is busy with the next
        (status("w", 6, "REFUSED", 5, "1"), "applied"),
        (status("w", 6, "REFUSED", 4, "1"), "refused"),
        (status("w", 0, "LOADING", -1), "missing"),
        (status("w", 4, "APPLIED", 4, "1", age_s=29), "missing"),
        (status("w", 4, "APPLIED", 4, "1", age_s=31), "nowhere"),  # gone before it was issued
    ],
)
def test_who_answered_a_deployment(found: ModelStatus, group: str) -> None:
    answers = answers_to(deployment(5, "1"), [found], NOW_US, GONE_US)
    groups = {"applied": answers.applied, "refused": answers.refused, "missing": answers.missing}
    assert [name for name, held in groups.items() if held] == [name for name in groups if name == group]


def test_a_worker_that_falls_silent_over_a_deployment_is_missing() -> None:
    silent = status("w", 5, "LOADING", 4, "1", age_s=-2)
    assert answers_to(deployment(5, "1"), [silent], NOW_US + 10 * GONE_US, GONE_US).missing == [silent]


@pytest.mark.parametrize(
    ("alive", "agree", "words"),
    [
        ([], False, "No worker"),
        ([status("a", 5, "APPLIED", 5, "1")], True, "The worker runs revision 5, the newest deployment."),
        ([status("a", 5, "APPLIED", 5, "1"), status("b", 5, "APPLIED", 5, "1")], True, "All 2 workers run revision 5"),
        ([status("a", 5, "APPLIED", 5, "1"), status("b", 5, "LOADING", 4, "1")], False, "revisions 4, 5; revision 5"),
        ([status("a", 5, "APPLIED", 5, "1"), status("b", 5, "APPLIED", 5, "2")], False, "other versions"),
        ([status("a", 4, "APPLIED", 4, "1")], False, "runs revision 4, but revision 5 is newest"),
        ([status("a", 0, "APPLIED", 0, "1")], False, "the settings' own model, but revision 5"),
        ([status("a", 5, "REFUSED", -1)], False, "no version yet"),
    ],
)
def test_whether_workers_agree_on_the_newest_deployment(alive: list[ModelStatus], agree: bool, words: str) -> None:
    found = agreement(alive, 5)
    assert found[0] is agree
    assert words in found[1]


def test_an_alias_moved_where_workers_or_the_last_look_know_another_version() -> None:
    running = deployment(5, "@champion", "7")
    assert aliases_of(running) == ["@champion"]
    now = {"@champion": "4"}
    said = ["@champion moved from version 3 to 4"]
    assert moves(running, now, [status("a", 5, "APPLIED", 5, "3")], {}) == said
    assert moves(running, now, [], {"@champion": "3"}) == said
    assert moves(running, now, [status("a", 5, "APPLIED", 5, "4")], {"@champion": "4"}) == []
    assert moves(running, now, [status("a", 5, "LOADING", 4, "3")], {}) == []  # it is on its way
    assert moves(running, now, [], {}) == []
    both = [status("a", 5, "APPLIED", 5, "2"), status("b", 5, "APPLIED", 5, "3")]
    assert moves(running, now, both, {}) == ["@champion moved from version 2 and 3 to 4"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def test_nonsense_is_refused_before_anything_is_asked() -> None:
    assert isinstance(run("deploy", "7=much", "--bootstrap", "127.0.0.1:1").exception, DeploymentRefused)
    assert run("deploy").exit_code == 2
    refused = run("control", "follow", "--webhook-port", "1", "--bootstrap", "127.0.0.1:1").exception
    assert isinstance(refused, SettingsError)
    assert "FIXSTREAM_WEBHOOK_SECRET" in str(refused)
