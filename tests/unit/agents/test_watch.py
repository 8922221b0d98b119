"""What a worker's watch makes of the fixes and captures that it is offered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.agents.watch import Budget, Watch
from stream_app.errors import NetworkFileError
from stream_app.locate.batch import Batch, Item
from stream_app.metrics import Metrics
from stream_app.network.file import Network, load_networks
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture
from stream_app.records.deployment import BeaconLevel
from stream_app.records.fix import CacheOutcome, Fix, Timings
from tests.support.worker import eventually
from tests.unit.network.networks import network

_PLACE = (47.75, 9.05)


@pytest.fixture
def beacon_network() -> Network:
    """Three receivers, the first one's clock 2 us late, and a beacon at 40 dB."""
    mast = {"name": "mast", "latitude": _PLACE[0], "longitude": _PLACE[1], "bandwidth_hz": 500e3, "snr_db": 40.0}
    beacon = {"name": "mast", "latitude": _PLACE[0], "longitude": _PLACE[1]}
    return network({"clock_errors_us": {"a": 2.0}, "start_sigma_ns": 15.0}, [mast], beacons=[beacon])


@pytest.fixture
def watch(beacon_network: Network) -> Iterator[Watch]:
    made = Watch([beacon_network], Metrics())
    made.use(["1"])
    yield made
    made.close()


def fix_of(
    capture: IqCapture, cache: CacheOutcome = CacheOutcome.MISS, at: tuple[float, float] = _PLACE, version: str = "1"
) -> Fix:
    return Fix(
        capture.capture_id, capture.network, 0, capture.center_frequency_hz, *at, 100.0, 100.0, 0.0, 10, 10, 0, 25, 25,
        0, 0.95, None, "m", version, False, None, False, cache, Timings(0, 0, 0, 0),
    )  # fmt: skip


def offer(watch: Watch, captures: list[IqCapture], fixes: list[Fix]) -> None:
    watch.offer(Batch([Item(0.0, capture=capture) for capture in captures], 0.0), fixes)


def captures(of: Network, count: int) -> list[IqCapture]:
    return [capture for capture, _ in Simulator(of, seed=2).captures(count)]


def counted(watch: Watch, inside: str) -> float:
    value = watch._metrics.registry.get_sample_value(
        "fixstream_beacon_fixes_total", {"beacon": "mast", "inside": inside, "network": "test"}
    )
    return value or 0.0


def test_remembered_answers_and_other_networks_fixes_do_not_count(watch: Watch, beacon_network: Network) -> None:
    heard = captures(beacon_network, 6)
    elsewhere = IqCapture("else", "elsewhere", 0, heard[0].center_frequency_hz, heard[0].channels)
    other = IqCapture("other", "test", 0, 500e6, heard[0].channels)
    outcomes = (CacheOutcome.EXACT, CacheOutcome.FEATURES, CacheOutcome.BATCH, CacheOutcome.MISS, CacheOutcome.DISABLED)
    some = [*heard[:5], elsewhere, other]
    offer(watch, some, [fix_of(c, o) for c, o in zip(some, (*outcomes, *2 * [CacheOutcome.MISS]), strict=True)])
    offer(watch, heard[5:], [fix_of(heard[5], at=(47.80, 9.05))])
    eventually(lambda: counted(watch, "none") == 1, what="the last fix")
    assert counted(watch, "68") == 2


def test_the_wrong_clock_of_three_is_named_by_the_beacon(watch: Watch, beacon_network: Network) -> None:
    heard = captures(beacon_network, 40)
    offer(watch, heard, [fix_of(capture) for capture in heard])
    eventually(lambda: watch.status()[1] and watch.status()[1][0].captures == 40, what="the last measurement")
    assert {clock.receiver_id: clock.distrusted for clock in watch.status()[1]} == {"a": True, "b": False, "c": False}
    assert watch.lowered("test") == {"a": pytest.approx(2000, rel=0.04)}
    assert watch.lowered("elsewhere") == {}
    watch.refresh()
    text = watch._metrics.text().decode()
    assert 'fixstream_receiver_distrusted{network="test",receiver="a"} 1.0' in text
    assert 'fixstream_beacon_level{beacon="mast",network="test"} 1.0' in text


def test_a_new_version_begins_anew(watch: Watch, beacon_network: Network) -> None:
    [capture] = captures(beacon_network, 1)
    offer(watch, 30 * [capture], [fix_of(capture, at=(47.76, 9.05)) for _ in range(30)])
    eventually(lambda: counted(watch, "none") == 30, what="the last fix")
    [old] = eventually(lambda: watch.status()[0], what="the level")
    assert (old.fixes, old.level) == (30, BeaconLevel.ALERT)
    watch.use(["2"])
    eventually(lambda: watch.status()[0] == (), what="the end of the old version's fixes")
    offer(watch, 30 * [capture], [fix_of(capture, at=(47.76, 9.05)) for _ in range(30)])  # the last ones under way
    offer(watch, [capture], [fix_of(capture, version="2")])
    eventually(lambda: watch.status()[0], what="the new version's fix")
    [new] = watch.status()[0]
    assert (new.fixes, new.level) == (1, BeaconLevel.WAITING)


def test_a_level_is_told_once(watch: Watch, beacon_network: Network, caplog: pytest.LogCaptureFixture) -> None:
    [capture] = captures(beacon_network, 1)
    for _ in range(3):
        offer(watch, 30 * [capture], [fix_of(capture, at=(47.76, 9.05)) for _ in range(30)])
    eventually(lambda: counted(watch, "none") == 90, what="the last fix")
    eventually(lambda: watch.status()[0] and watch.status()[0][0].fixes == 90, what="the level after the last fix")
    assert sum("ALERT" in record.getMessage() for record in caplog.records) == 1


def test_a_capture_that_cannot_be_measured_harms_nothing(watch: Watch, beacon_network: Network) -> None:
    good, bad = captures(beacon_network, 2)
    bad.channels[1].start_time_ns += 10**9  # nothing in common with the others
    offer(watch, [bad], [fix_of(bad)])
    offer(watch, [good], [fix_of(good)])
    eventually(lambda: watch.status()[1] and watch.status()[1][0].captures == 1, what="the good capture")
    assert watch._metrics.registry.get_sample_value("fixstream_errors_total", {"reason": "internal"}) is None


def test_a_budget_lets_through_its_share_of_the_time_and_what_was_saved() -> None:
    budget = Budget(share=0.01, saved_s=0.05)
    taken = 0
    for tick in range(10_000):  # 100 s of something always at hand, which costs 2 ms
        if budget.take(tick * 0.01):
            budget.took(0.002)
            taken += 1
    assert 0.002 * taken == pytest.approx(0.01 * 100 + 0.05, rel=0.05)


def test_time_that_is_left_is_saved_up_to_a_bound() -> None:
    budget = Budget(share=0.5, saved_s=0.1)
    assert budget.take(0.0)
    budget.took(0.001)
    burst = 0
    while budget.take(1e6):
        budget.took(0.01)
        burst += 1
    assert burst == pytest.approx(10, abs=1)


def test_two_files_of_one_network_are_refused(tmp_path: Path) -> None:
    text = network().model_dump_json()
    (tmp_path / "one.yaml").write_text(text)
    (tmp_path / "two.yaml").write_text(text)
    assert [one.name for one in load_networks(f"{tmp_path}/one.yaml")] == ["test"]
    assert load_networks("") == []
    with pytest.raises(NetworkFileError, match="two files name their network 'test'"):
        load_networks(f"{tmp_path}/one.yaml, {tmp_path}/two.yaml")
    with pytest.raises(NetworkFileError, match=r"none\.yaml"):
        load_networks(f"{tmp_path}/none.yaml")
