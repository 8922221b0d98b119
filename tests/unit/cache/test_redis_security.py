"""Redis over TLS with a password, and values in it that are not to be believed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import redis

from stream_app.app import make_dedup_cache
from stream_app.cache.backends import make_cache
from stream_app.cache.dedup import DedupCache
from stream_app.cache.seal import Seal
from stream_app.errors import FixStreamError, SettingsError
from stream_app.locate.answer import Answer
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.session import OnnxSession
from stream_app.network.file import load_network
from stream_app.network.simulator import Simulator
from stream_app.records.codec import Codecs
from stream_app.records.fix import CacheOutcome, Fix
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.support.certificates import Authority
from tests.support.servers import RedisServer, SecureRedisServer

KEY, VALUE = b"k" * 32, Answer(50.0, 9.0, 4.0, 4.0, 1.0, 0.9, 0.0, False).to_bytes()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRedisServer]:
    if not RedisServer.installed():
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    folder = tmp_path_factory.mktemp("secure")
    with SecureRedisServer(folder, Authority(folder, "authority"), ask_clients=True) as server:
        yield server


@pytest.fixture
def opened(secure: SecureRedisServer, tmp_path: Path) -> Callable[..., tuple[DedupCache, Metrics]]:
    """Makes a worker's cache on the secure server; what is named differs from what is right."""
    cert, key = secure.authority.issue("worker")

    def make(**other: str | None) -> tuple[DedupCache, Metrics]:
        values: dict[str, str | float | None] = {
            "cache_url": secure.uri,
            "cache_ca_file": str(secure.authority.ca_file),
            "cache_cert_file": str(cert),
            "cache_key_file": str(key),
            "cache_timeout_ms": 5000.0,
            **other,
        }
        metrics = Metrics()
        return make_dedup_cache(Settings(_env_file=None, **values), metrics), metrics  # type: ignore[call-arg]

    return make


def errors(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value("fixstream_errors_total", {"reason": reason}) or 0.0


@pytest.mark.redis
def test_answers_are_remembered_over_tls_with_a_password(
    opened: Callable[..., tuple[DedupCache, Metrics]],
) -> None:
    cache, metrics = opened()
    cache.set_many({KEY: VALUE})
    assert cache.get_many([KEY, b"other"]) == [VALUE, None]
    assert errors(metrics, "cache-unavailable") == 0


@pytest.mark.redis
@pytest.mark.parametrize("wrong", ["password", "authority", "system", "no certificate", "no TLS"])
def test_a_redis_that_does_not_open_costs_the_hits_and_one_line_without_the_password(
    wrong: str,
    opened: Callable[..., tuple[DedupCache, Metrics]],
    secure: SecureRedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = f"127.0.0.1:{secure.port}"
    cache, metrics = {
        "password": lambda: opened(cache_url=f"rediss://default:not-the-word@{place}/0"),
        "authority": lambda: opened(cache_ca_file=str(Authority(tmp_path, "stranger").ca_file)),
        "system": lambda: opened(cache_ca_file=None),
        "no certificate": lambda: opened(cache_cert_file=None, cache_key_file=None),
        "no TLS": lambda: opened(cache_url=secure.uri.replace("rediss:", "redis:")),
    }[wrong]()
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            assert cache.get_many([KEY]) == [None]
            cache.set_many({KEY: VALUE})
    assert errors(metrics, "cache-unavailable") >= 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert place in line
    assert "\n" not in line
    for secret in ("not-the-word", secure.password, "se:cr", "cr%2Fet"):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    "url",
    ["redis://u:hunter/topmost@h:1/0", "rediss://u:topmost@h:many/0", "redis://u:topmost@h:1/0?socket_timeout=topmost"],
)
def test_a_url_that_cannot_be_used_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(FixStreamError, match="%2F") as raised:
        make_cache(url, 1, 1, 1)
    assert "topmost" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_tls_files_that_cannot_be_used_are_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    for wrong in (str(tmp_path / "absent.pem"), str(tmp_path / "text.pem")):
        for settings in (
            Settings(cache_url="rediss://h/0", cache_ca_file=wrong),
            Settings(cache_url="rediss://h/0", cache_cert_file=wrong),
        ):
            with pytest.raises(SettingsError, match=wrong):
                make_dedup_cache(settings, Metrics())


def test_every_changed_bit_and_every_other_key_breaks_the_seal() -> None:
    seal = Seal()
    sealed = seal.close(KEY, VALUE)
    assert seal.open(KEY, sealed) == VALUE
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert seal.open(KEY, bytes(changed)) is None
    for size in range(len(sealed)):
        assert seal.open(KEY, sealed[:size]) is None
    assert seal.open(KEY, sealed + b"\0") is None
    assert seal.open(b"l" * 32, sealed) is None
    assert seal.open(KEY + VALUE[:1], sealed[1:]) is None
    assert Seal("secret").open(KEY, sealed) is None


@pytest.mark.redis
def test_damaged_values_in_redis_change_no_fix(redis_server: RedisServer, tmp_path: Path) -> None:
    network = load_network(example_network("demo"))
    onnx.save(build_tdoa(network), str(tmp_path / "model.onnx"))
    model = OnnxSession.load(tmp_path / "model.onnx", "demo", tmp_path.name, 1)
    captures = [capture for capture, _ in Simulator(network, seed=4).captures(6)]
    settings = Settings(cache_url=redis_server.uri, cache_timeout_ms=5000)
    store = redis.Redis(port=redis_server.port)
    store.flushall()

    def located() -> tuple[list[tuple[float, float, float]], set[CacheOutcome], float]:
        """Places and sizes of the fixes, where they came from, and how many values were refused."""
        metrics = Metrics()
        fixes = Locator(Fleet.of(model), make_dedup_cache(settings, metrics), Codecs(), settings, metrics).locate(
            captures
        )
        found = [fix for fix in fixes if isinstance(fix, Fix)]
        places = [(fix.latitude, fix.longitude, fix.semi_major_m) for fix in found]
        return places, {fix.cache for fix in found}, errors(metrics, "cache-corrupt")

    fresh = located()
    assert fresh[1:] == ({CacheOutcome.MISS}, 0)
    assert located() == (fresh[0], {CacheOutcome.EXACT}, 0)
    keys = sorted(store.keys())
    assert len(keys) == 2 * len(captures)
    values = store.mget(keys)
    foreign = Answer(1.0, 2.0, 4.0, 4.0, 1.0, 0.9, 0.0, False).to_bytes()
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        flipped = bytearray(value)
        flipped[number] ^= 4
        other = values[(number + 1) % len(values)]
        store.set(key, [bytes(flipped), foreign, other, value[:-1]][number % 4])
    assert located() == (fresh[0], {CacheOutcome.MISS}, len(keys))
    assert located() == (fresh[0], {CacheOutcome.EXACT}, 0)
    for key in keys:  # a value of another type is an absent one
        store.delete(key)
        store.lpush(key, b"x")
    assert located() == (fresh[0], {CacheOutcome.MISS}, 0)
    assert located() == (fresh[0], {CacheOutcome.EXACT}, 0)
