"""The pictures of docs/map.md: the map of simulated traffic in Chromium. ``make map-pictures``"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from playwright.sync_api import Browser

from stream_app.kafka.embedded import EmbeddedBroker
from stream_app.records.deployment import BeaconLevel
from stream_app.resources import example_network
from tests.support.brokers import ROOT
from tests.support.chromium import chromium
from tests.support.map_server import MapServer
from tests.support.map_traffic import EMITTERS, MapTraffic
from tests.support.worker import settings_for

OUT = ROOT / "docs" / "images"
LARGEST = 400_000  # bytes
_HOUR_S, _RATE_HZ = 3000, 8
_BEACON = (
    "beacons:\n  - {name: church, latitude: 47.8010, longitude: 8.9550, center_frequency_hz: 435.92e+6}\n\nemitters:"
)
DESKTOP, PHONE = (1280, 800), (390, 844)


def main() -> None:
    """Writes map-dark.png, map-light.png and map-phone.png."""
    with tempfile.TemporaryDirectory() as name, EmbeddedBroker() as bootstrap:
        network = Path(name) / "network.yaml"
        network.write_text(example_network("demo").read_text().replace("emitters:", _BEACON, 1))
        traffic = MapTraffic(settings_for(bootstrap, "pictures"))
        _past(traffic)
        stop = threading.Event()
        sender = threading.Thread(target=_send, args=(traffic, stop))
        sender.start()
        server = MapServer(traffic.settings, Path(name), [network])
        try:
            server.start()
            with chromium() as browser:
                time.sleep(15)
                _take(browser, server.address, "dark", DESKTOP, "dark", detail=True)
                _take(browser, server.address, "light", DESKTOP, "light", detail=False)
                _take(browser, server.address, "phone", PHONE, "dark", detail=False)
        finally:
            stop.set()
            sender.join()
            server.stop()


def _take(browser: Browser, address: str, name: str, size: tuple[int, int], scheme: str, detail: bool) -> None:
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="light" if scheme == "light" else "dark",
        device_scale_factor=2 if size == PHONE else 1,
    )
    page.set_default_timeout(90_000)
    page.goto(address)
    page.wait_for_function("() => Number(document.body.dataset.newest) > 0")
    page.wait_for_function("() => fixstream.map.queryRenderedFeatures({layers: ['ellipse']}).length > 10")
    if detail:
        page.locator("#emitters button").nth(1).click()
        page.locator("#detail pre").wait_for(state="attached")
        page.evaluate("() => fixstream.map.jumpTo({center: [9.0100, 47.7350], zoom: 12.6})")
    page.wait_for_timeout(6000)
    file = OUT / f"map-{name}.png"
    page.screenshot(path=file)
    page.close()
    size_bytes = file.stat().st_size
    print(f"{file}: {size_bytes} bytes")
    assert size_bytes < LARGEST


def _version(number: int) -> str:
    return "2" if number % 9 == 4 else "1"


def _past(traffic: MapTraffic) -> None:
    """The last hour, a little thinner."""
    now = time.time()
    for number in range(_HOUR_S):
        ago_s = _HOUR_S - number
        emitter = EMITTERS[number % len(EMITTERS)]
        at_us = round((now - ago_s) * 1e6)
        if number > _HOUR_S - 120 or number % 3:
            traffic.send_fix(traffic.fix_of(emitter, 300 - ago_s, at_us, _version(number)), at_us // 1000)
        if ago_s < 300:
            traffic.send_track(emitter, 300 - ago_s, at_us // 1000)
    traffic.flush()


def _send(traffic: MapTraffic, stop: threading.Event) -> None:
    begin, number = time.monotonic(), 0
    while not stop.wait(max(0.0, begin + number / _RATE_HZ - time.monotonic())):
        emitter, seconds = EMITTERS[number % len(EMITTERS)], 300 + number / _RATE_HZ
        traffic.send_fix(traffic.fix_of(emitter, seconds, time.time_ns() // 1000, _version(number)))
        traffic.send_track(emitter, seconds)
        if number % (5 * _RATE_HZ) == 0:
            for worker in ("worker-1", "worker-2"):
                traffic.send_status(worker, BeaconLevel.OK)
        if number % (40 * _RATE_HZ) == 100:
            traffic.send_letter("invalid-capture")
        number += 1
    traffic.flush()


if __name__ == "__main__":
    main()
