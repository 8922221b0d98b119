"""The short forms of the faults that ``make faults`` plays at length."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream_app.settings import Guarantee
from tests.conftest import say_part
from tests.faults.report import line
from tests.faults.run import SCENARIOS
from tests.faults.scenario import Scenario, play
from tests.faults.stage import Rig
from tests.support import brokers
from tests.support.servers import RedisServer

pytestmark = pytest.mark.kafka
SHORT = (
    "worker-killed",
    "worker-zombie",
    "rebalance-storm",
    "assembler-killed",
    "broker-restarted",
    "broker-frozen",
    "redis-killed",
    "redis-corrupted",
    "slow-model",
)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    if not brokers.java_runs():
        pytest.skip("a broker that can be killed and frozen needs Java 17 and Maven")
    say_part("Kafka", f"Apache Kafka {brokers.version()} on Java (KRaft)")
    if RedisServer.installed():
        say_part("Redis", "redis-server")
    with Rig() as found:
        yield found


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.name in SHORT], ids=lambda s: s.name)
def test_every_capture_is_answered_through(scenario: Scenario, rig: Rig) -> None:
    outcome = play(scenario, rig, Guarantee.EXACTLY_ONCE, short=True)
    if outcome.not_run:
        pytest.skip(outcome.not_run)
    assert not outcome.broken, line(outcome.figures())
    assert outcome.account is not None
    assert outcome.account.sent > 0
