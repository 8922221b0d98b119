"""Brokers that end, freeze and get lost, and the cable to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stream_app.settings import Guarantee
from tests.faults.scenario import Scenario
from tests.faults.stage import KAFKA, SESSION_MS, Rig, Stage
from tests.support.brokers import KraftBroker
from tests.support.cluster import KraftCluster, wait_whole
from tests.support.netns import Namespace

_RATE = 60.0
_AWAY_S = 10.0  # how long a node of three stays away
_CUT_S = 3 * SESSION_MS / 1e3


def restart(stage: Stage, times: int) -> None:
    """In turn by SIGKILL and by SIGTERM, and at once up again."""
    broker = stage.rig.kafka
    stage.start("one", "two")
    with stage.load(_RATE):
        for number in range(times):
            time.sleep(stage.random.uniform(1.0, 3.0))
            stage.disturbances += len(stage.workers)
            if number % 2:
                broker.stop()
            else:
                broker.kill()
            broker.start()
            stage.wait_answering()


def freeze(stage: Stage, seconds: int) -> None:
    """Nobody is told: connections stay open, and nothing comes back."""
    stage.start("one", "two")
    with stage.load(_RATE):
        time.sleep(2)
        stage.disturbances += len(stage.workers)
        with stage.frozen(stage.rig.kafka, seconds):
            pass
        stage.wait_answering()


@contextmanager
def on_cluster(rig: Rig, delivery: Guarantee, short: bool, **more: Any) -> Iterator[Stage]:
    """A stage on three brokers of its own."""
    with (
        KraftCluster(rig.place("cluster"), KAFKA) as cluster,
        Stage(rig, delivery, short, cluster.nodes, replication_factor=len(cluster.nodes), **more) as stage,
    ):
        yield stage


def lose_one(stage: Stage, times: int) -> None:
    """SIGKILL of each node in turn, which stays away for a while and comes back with what it had."""
    stage.start("one", "two")
    with stage.load(_RATE):
        for number in range(times):
            wait_whole(stage.nodes)
            time.sleep(stage.random.uniform(0.0, 2.0))
            node = stage.nodes[number % len(stage.nodes)]
            stage.disturbances += len(stage.workers)
            node.kill()
            time.sleep(_AWAY_S)
            stage.wait_answering()  # without it
            node.launch()
        wait_whole(stage.nodes)


@contextmanager
def on_cable(rig: Rig, delivery: Guarantee, short: bool, **more: Any) -> Iterator[Stage]:
    """A stage whose broker is reached through a cable by workers in the other network."""
    with Namespace("fixfaults") as cable:
        broker = KraftBroker(rig.place("kafka"), cable.outside, KAFKA)
        with broker, Stage(rig, delivery, short, [broker], **more) as stage:
            stage.cable = cable
            yield stage


def cut(stage: Stage, times: int) -> None:
    """One worker of two is cut off for three session timeouts; it lives on and comes back."""
    cable = stage.cable
    assert cable is not None
    stage.launch("near")
    stage.launch("far", inside=cable.command, host=cable.inside)
    stage.wait_shared()
    with stage.load(_RATE):
        for _ in range(times):
            time.sleep(stage.random.uniform(0.5, 2.0))
            stage.disturbances += 1
            cable.cut()
            try:
                time.sleep(_CUT_S)
            finally:
                cable.mend()
            stage.wait_shared()


SCENARIOS = (
    Scenario("broker-restarted", "the only broker ends (SIGKILL and SIGTERM in turn) and starts again", restart, 5, 1),
    Scenario("broker-frozen", "the only broker is frozen", freeze, 30, 6, unit="s"),
    Scenario(
        "broker-lost",
        f"one of three brokers is killed and stays away for {_AWAY_S:.0f} s, min.insync.replicas 2",
        lose_one,
        3,
        1,
        stage=on_cluster,
    ),
    Scenario(
        "network-cut",
        f"the cable between one of two workers and the broker is cut for {_CUT_S:.0f} s",
        cut,
        3,
        1,
        stage=on_cable,
        lacking=Namespace.lacking,
    ),
)
