"""Deployments that make no sense are refused in words, before any worker sees them."""

from __future__ import annotations

import math

import pytest

from stream_app.errors import DeploymentRefused, UndecodableRecord
from stream_app.records.codec import Codecs
from stream_app.records.deployment import Deployment, Route, RouteMode

LIVE, SHADOW = RouteMode.LIVE, RouteMode.SHADOW


@pytest.mark.parametrize(
    "routes",
    [
        [Route("7", 100.0)],
        [Route("7", 0.9), Route("@challenger", 0.1)],
        [Route("7", 1.0), Route("6", 0.0)],  # stands by as a fallback
        [Route("7", 90.0), Route("8", 10.0), Route("9", 100.0, SHADOW)],
        [Route("7", 1.0), Route("7", 0.5, SHADOW)],
    ],
)
def test_what_makes_sense_passes(routes: list[Route]) -> None:
    Deployment("m", 1, tuple(routes)).check()


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ([], "no LIVE route"),
        ([Route("7", 0.0)], "no LIVE route"),
        ([Route("7", 1.0, SHADOW)], "no LIVE route"),
        ([Route("7", -1.0)], "the weight -1.0 of version 7"),
        ([Route("7", math.nan)], "the weight nan of version 7"),
        ([Route("7", math.inf)], "the weight inf of version 7"),
        ([Route("champion", 1.0)], "'champion' is neither a number nor an @alias"),
        ([Route("@", 1.0)], "'@' is neither"),
        ([Route("", 1.0)], "'' is neither"),
        ([Route("7", 1.0), Route("7", 2.0)], "version 7 twice as LIVE"),
        ([Route("7", 1.0), Route("8", 0.0, SHADOW)], "SHADOW version 8 has the weight 0.0"),
        ([Route("7", 1.0), Route("8", 2.0, SHADOW)], "up to 1.0"),
    ],
)
def test_what_makes_none_is_refused_in_words(routes: list[Route], words: str) -> None:
    with pytest.raises(DeploymentRefused, match=words) as raised:
        Deployment("m", 3, tuple(routes)).check()
    assert "deployment 3 of model 'm'" in str(raised.value)


def test_names_and_revisions_must_be_there() -> None:
    with pytest.raises(DeploymentRefused, match="model_name"):
        Deployment("", 1, (Route("7", 1.0),)).check()
    with pytest.raises(DeploymentRefused, match="negative"):
        Deployment("m", -1, (Route("7", 1.0),)).check()


def test_a_tombstone_is_no_deployment_and_says_so() -> None:
    with pytest.raises(UndecodableRecord, match="a tombstone"):
        Codecs().decode_deployment(None)
    with pytest.raises(UndecodableRecord, match="a tombstone"):
        Codecs().decode_status(None)
