"""Receivers of different kinds in one network: other rates, datatypes and lengths, and some missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stream_app.cache.dedup import DedupCache
from stream_app.errors import UnanswerableCapture
from stream_app.geo.geodesy import offset_en_m
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.session import OnnxSession
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import BYTES_PER_SAMPLE
from stream_app.records.codec import Codecs
from stream_app.records.fix import Fix
from stream_app.settings import Settings

PLACES = [(47.842, 9.010), (47.748, 9.169), (47.654, 9.006), (47.752, 8.847)]
COUNT = 40


def network(kinds: list[dict[str, Any]], missing: float = 0.0) -> Network:
    """Four receivers around an emitter of 200 kHz at 15 dB."""
    receivers = [
        {"receiver_id": f"r{k}", "latitude": lat, "longitude": lon, **kind}
        for k, ((lat, lon), kind) in enumerate(zip(PLACES, kinds, strict=True))
    ]
    emitter = {"name": "mast", "latitude": 47.781, "longitude": 9.064, "modulation": "noise", "bandwidth_hz": 200e3}
    values = {
        "name": "kinds",
        "receivers": receivers,
        "area": {"south": 47.63, "west": 8.81, "north": 47.865, "east": 9.205},
        "center_frequency_hz": 433.92e6,
        "sample_rate_hz": 1e6,
        "features": {"band_hz": [0, 110e3]},
        "simulation": {"missing": missing},
        "emitters": [{**emitter, "snr_db": 15}],
    }
    return Network.model_validate(values)


@pytest.fixture(scope="module")
def locator() -> Locator:
    data = build_tdoa(network([{}] * 4)).SerializeToString()
    model = OnnxSession.from_bytes(data, "kinds", "kinds", "1", 1, 8)
    return Locator(Fleet.of(model), DedupCache(None), Codecs(), Settings(cache_url="none://"), Metrics())


def _errors(locator: Locator, where: Network) -> tuple[list[float], list[bool], list[Fix]]:
    """Errors in metres, whether the 95 % ellipse holds the truth, and the fixes."""
    errors, held, fixes = [], [], []
    pairs = list(Simulator(where, seed=5).captures(COUNT))
    for fix, (_, truth) in zip(locator.locate([capture for capture, _ in pairs]), pairs, strict=True):
        assert isinstance(fix, Fix), fix
        away = np.array(offset_en_m(fix.latitude, fix.longitude, truth.latitude, truth.longitude)).ravel()
        errors.append(float(np.hypot(*away)))
        held.append(bool(away @ np.linalg.inv(fix.covariance) @ away < -2 * np.log(0.05)))
        fixes.append(fix)
    return errors, held, fixes


SLOW, FAST = {"sample_rate_hz": 250e3}, {"sample_rate_hz": 2.4e6}


@pytest.mark.parametrize(
    "kinds",
    [
        [{}, SLOW, FAST, {}],
        [{"datatype": "cu8"}, {"datatype": "ci16_le"}, {"datatype": "cf32_le"}, {"datatype": "ci8"}],
        [{"samples": 3000}, {"samples": 9000}, {}, {"samples": 5000}],
        [{**FAST, "datatype": "cu8"}, {**SLOW, "datatype": "cf32_le"}, {"samples": 6000}, {"sample_rate_hz": 2.048e6}],
    ],
    ids=["rates", "datatypes", "lengths", "all at once"],
)
def test_receivers_of_different_kinds_give_one_honest_fix(locator: Locator, kinds: list[dict[str, Any]]) -> None:
    errors, held, fixes = _errors(locator, network(kinds))
    assert np.median(errors) < 20
    assert np.mean(held) >= 0.85
    assert np.median([fix.semi_major_m for fix in fixes]) < 60


def test_captures_that_lack_receivers_are_answered_by_those_that_are_there(locator: Locator) -> None:
    where = network([{}] * 4, missing=0.4)
    counts = [len(capture.channels) for capture, _ in Simulator(where, seed=5).captures(COUNT)]
    _, held, fixes = _errors(locator, where)
    assert set(counts) == {2, 3, 4}
    assert np.mean(held) >= 0.9
    reach = {n: np.median([f.semi_major_m for f, c in zip(fixes, counts, strict=True) if c == n]) for n in (2, 3, 4)}
    assert reach[4] < 50
    assert reach[3] < 100
    assert reach[2] > 10_000  # a hyperbola


def test_a_receiver_of_an_impossible_kind_is_refused_by_its_figure(locator: Locator) -> None:
    [(capture, _)] = Simulator(network([{}] * 4), seed=5).captures(1)
    slow = replace(capture.channels[1], sample_rate_hz=12e3)
    late = replace(capture.channels[1], start_time_ns=capture.channels[1].start_time_ns + 10_000_000)
    for channel, why in ((slow, "slowest channel came at 12000 Hz"), (late, "share 0 samples of time")):
        [found] = locator.locate([replace(capture, channels=(capture.channels[0], channel, *capture.channels[2:]))])
        assert isinstance(found, UnanswerableCapture)
        assert why in str(found)
    [alone] = locator.locate([replace(capture, channels=capture.channels[:1])])
    assert "it has 1 channel" in str(alone)


def test_the_simulator_gives_each_receiver_its_own_kind() -> None:
    kinds = [{}, {**SLOW, "datatype": "cu8"}, {**FAST, "datatype": "cf32_le"}, {"samples": 100}]
    [(capture, _)] = Simulator(network(kinds), seed=5).captures(1)
    found = [(c.sample_rate_hz, c.datatype, c.sample_count) for c in capture.channels]
    assert found == [
        (1e6, "ci16_le", 4480), (250e3, "cu8", 1120), (2.4e6, "cf32_le", 10752), (1e6, "ci16_le", 100)
    ]  # fmt: skip
    assert all(len(c.samples) == c.sample_count * BYTES_PER_SAMPLE[c.datatype] for c in capture.channels)


def test_a_slow_receiver_s_filter_keeps_out_what_its_rate_cannot_hold() -> None:
    levels = []
    for rate_hz in (50e3, 1e6):
        where = network([{}, {"sample_rate_hz": rate_hz, "datatype": "cf32_le"}, {}, {}])
        loud = where.model_copy(update={"emitters": (where.emitters[0].model_copy(update={"snr_db": 60.0}),)})
        [(capture, _)] = Simulator(loud, seed=5).captures(1)
        channel = capture.channels[1]
        power = float(np.mean(np.abs(np.frombuffer(channel.samples, np.complex64)) ** 2))
        levels.append(10 * np.log10(power) - (channel.gain_db or 0.0))
    # Over noise of unit power: 50 of 50 kHz hold the signal, and 200 of 1000. Aliases would make it 13 dB.
    assert levels[0] - levels[1] == pytest.approx(10 * np.log10(1 / 0.2), abs=1.5)


@pytest.mark.parametrize("kind", [{"datatype": "u4"}, {"sample_rate_hz": 0}, {"samples": 3}])
def test_a_wrong_kind_is_refused_with_the_file(kind: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        network([kind, {}, {}, {}])
