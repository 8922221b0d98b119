"""Workers that are killed, frozen, and come and go."""

from __future__ import annotations

import time

from tests.faults.scenario import Scenario
from tests.faults.stage import SESSION_MS, Stage
from tests.support.worker import eventually

_RATE = 60.0


def kill(stage: Stage, times: int) -> None:
    """In turn, each at a random moment after it has taken up its work again."""
    names = ("one", "two")
    stage.start(*names)
    with stage.load(_RATE):
        for number in range(times):
            victim = names[number % 2]
            stage.workers[victim].wait_ready()
            time.sleep(stage.random.uniform(0.0, 3.0))
            stage.kill(victim)
            stage.launch(victim)


def zombie(stage: Stage, times: int, rate: float = _RATE) -> None:
    """Frozen for twice its session timeout: the group gives its partitions away, and it wakes up not knowing."""
    names = ("one", "two")
    stage.start(*names)
    with stage.load(rate):
        for number in range(times):
            time.sleep(stage.random.uniform(0.5, 1.5))
            with stage.frozen(stage.workers[names[number % 2]], 2 * SESSION_MS / 1e3):
                pass
            stage.wait_shared()


def storm(stage: Stage, times: int) -> None:
    """Every 3 s one comes or goes, beside one that stays; none goes before it had its share."""
    stage.start("steady")
    with stage.load(_RATE):
        guests: list[str] = []
        begin = time.monotonic()
        for number in range(times):
            time.sleep(max(0.0, begin + 3.0 * number - time.monotonic()))
            if number % 2 and len(guests) > 2:
                eventually(stage.workers[guests[0]].partitions, 90, "a share for a guest")
                stage.stop(guests.pop(0))
            else:
                guests.append(f"guest{number}")
                stage.launch(guests[-1])
                stage.disturbances += 1


SCENARIOS = (
    Scenario(
        "worker-killed",
        "kill -9 of two workers in turn, each within 3 s of being ready, restarted at once: often both are down",
        kill,
        50,
        2,
    ),
    Scenario("worker-zombie", "SIGSTOP of one of two workers for twice its session timeout, SIGCONT", zombie, 10, 1),
    Scenario(
        "rebalance-storm",
        "beside one worker, others come, or go (SIGTERM) once they had partitions, every 3 s",
        storm,
        40,
        7,
    ),
)
