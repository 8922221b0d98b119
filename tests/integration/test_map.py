"""The map as people see it: the real page in Chromium, a real server, fixes on a real broker."""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from stream_app.geo.geodesy import destination
from stream_app.records.fix import CacheOutcome, Fix
from stream_app.resources import example_network
from tests.conftest import say_part
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.chromium import chromium, executable
from tests.support.map_server import MapServer
from tests.support.map_traffic import EMITTERS, MapTraffic, fix_at
from tests.support.worker import eventually, settings_for

pytest.importorskip("playwright", reason="playwright is not installed (pip install playwright)")
from playwright.sync_api import Browser, Page, ViewportSize

pytestmark = [pytest.mark.kafka, pytest.mark.browser]
# Sent before the server starts, as if it had been 19 minutes ago.
PAST = fix_at(47.69, 8.91, hz=407e6, capture_id="of the past")
PAST_MS = 19 * 60_000
NEWEST = "() => Number(document.body.dataset.newest ?? 0)"
PHONE = ViewportSize(width=390, height=844)
DESKTOP = ViewportSize(width=1000, height=700)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if executable() is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with chromium() as found:
        say_part("Chromium", f"Chromium {found.version}")
        yield found


@pytest.fixture(scope="module")
def traffic(broker: Broker) -> MapTraffic:
    return MapTraffic(settings_for(broker.bootstrap, f"map{time.time_ns()}", status_every_s=3600))


@pytest.fixture(scope="module")
def server(traffic: MapTraffic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MapServer]:
    traffic.send_fix(PAST, time.time_ns() // 1_000_000 - PAST_MS)
    traffic.flush()
    found = MapServer(traffic.settings, tmp_path_factory.mktemp("map"), [example_network("demo")])
    found.start()
    yield found
    if found.process.poll() is None:
        found.stop()


class Watched:
    """A page, and all that it asked for and complained of."""

    def __init__(self, page: Page, server: MapServer) -> None:
        self.page, self.server = page, server
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(60_000)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(server.address)
        page.wait_for_function("() => window.fixstream?.map.loaded()")

    def _note(self, kind: str, text: str) -> None:
        if kind == "error" and "ERR_" not in text:  # a server that is away is part of a test
            self.complaints.append(text)

    def shows(self, capture_id: str, fix: Fix) -> int:
        """The number of a fix that was sent, once the page has drawn it."""
        found: list[int] = []

        def drawn() -> bool:
            rows = self.page.evaluate(
                "([lat, lon]) => (fixstream.store.past ?? fixstream.store).fixes"
                ".filter((row) => row[3] === lat && row[4] === lon).map((row) => row[0])",
                [round(fix.latitude, 6), round(fix.longitude, 6)],
            )
            found[:] = rows
            return bool(rows) and self.page.evaluate(NEWEST) >= rows[-1]

        eventually(drawn, what=f"{capture_id} on the map")
        return found[-1]

    def pixel_of(self, longitude: float, latitude: float) -> tuple[float, float]:
        x, y = self.page.evaluate(
            "(place) => { const {x, y} = fixstream.map.project(place); return [x, y]; }", [longitude, latitude]
        )
        return x, y

    def under(self, layer: str, x: float, y: float) -> set[int]:
        """Numbers of the fixes that are drawn there."""
        found = self.page.evaluate(
            "([layer, x, y]) => fixstream.map.queryRenderedFeatures([x, y], {layers: [layer]})"
            ".map((one) => one.properties.id)",
            [layer, x, y],
        )
        return set(found)

    def look_at(self, latitude: float, longitude: float, zoom: float) -> None:
        self.page.evaluate(
            "async ([lat, lng, zoom]) => { fixstream.map.jumpTo({center: {lat, lng}, zoom});"
            " await fixstream.map.once('idle'); }",
            [latitude, longitude, zoom],
        )


@pytest.fixture(scope="module")
def seen(browser: Browser, server: MapServer) -> Iterator[Watched]:
    """One page for all tests: a start takes seconds with graphics in software."""
    page = browser.new_page(viewport=DESKTOP, color_scheme="dark")
    yield Watched(page, server)
    page.close()


@pytest.fixture
def send(traffic: MapTraffic) -> Callable[..., Fix]:
    def one(latitude: float, longitude: float, at_ms: int = 0, **more: Any) -> Fix:
        fix = fix_at(latitude, longitude, **more)
        traffic.send_fix(fix, at_ms)
        traffic.flush()
        return fix

    return one


def border(fix: Fix, share: float, count: int = 12) -> list[tuple[float, float]]:
    """Longitudes and latitudes on the 95 % ellipse, made smaller or larger, by pyproj's geodesics."""
    turn = np.arange(count) * 2 * np.pi / count
    along, across = share * fix.semi_major_m * np.cos(turn), share * fix.semi_minor_m * np.sin(turn)
    azimuth = fix.orientation_deg - np.degrees(np.arctan2(across, along))
    lat, lon = destination(fix.latitude, fix.longitude, azimuth, np.hypot(along, across))
    return list(zip(lon.tolist(), lat.tolist(), strict=True))


def test_the_ellipse_is_drawn_where_its_record_says(seen: Watched, send: Callable[..., Fix]) -> None:
    fix = send(47.71, 9.05, sigma_m=(900, 250), leans_deg=25, hz=401e6, version="1")
    number = seen.shows("the fix", fix)
    seen.look_at(fix.latitude, fix.longitude, 11.5)
    for place in border(fix, 0.97):
        assert number in seen.under("ellipse-fill", *seen.pixel_of(*place))
    for place in border(fix, 1.03):
        assert number not in seen.under("ellipse-fill", *seen.pixel_of(*place))
    picture = np.asarray(Image.open(BytesIO(seen.page.screenshot())).convert("RGB")).astype(int)
    for place in border(fix, 1.0, 8):
        x, y = (round(part) for part in seen.pixel_of(*place))
        near = picture[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
        assert np.abs(near - (0x56, 0xB4, 0xE9)).sum(axis=1).min() < 60, f"no line at {x}, {y}"


@pytest.mark.parametrize(
    ("latitude", "sigma_m"), [(0.0, (2_000.0, 100.0)), (47.0, (60_000.0, 9_000.0)), (-69.5, (20_000.0, 20_000.0))]
)
def test_outlines_of_the_page_are_geodesic(seen: Watched, latitude: float, sigma_m: tuple[float, float]) -> None:
    fix = fix_at(latitude, 20.0, sigma_m, leans_deg=50.0)
    ring = seen.page.evaluate(
        "([lat, lon, major, minor, leans]) => fixstream.ring([0, 0, 0, lat, lon, major, minor, leans], 12)",
        [latitude, 20.0, fix.semi_major_m, fix.semi_minor_m, fix.orientation_deg],
    )
    for (lon, lat), (true_lon, true_lat) in zip(ring, border(fix, 1.0), strict=False):
        north_m = (lat - true_lat) * 111_200
        east_m = (lon - true_lon) * 111_200 * math.cos(math.radians(lat))
        assert math.hypot(north_m, east_m) < 0.002 * fix.semi_major_m


def test_a_click_on_a_fix_shows_all_of_its_record(seen: Watched, send: Callable[..., Fix]) -> None:
    fix = send(
        47.75, 9.10, hz=402.5e6, version="2", capture_id="the-one", cache=CacheOutcome.FEATURES, distrusted=["south"]
    )
    seen.shows("the-one", fix)
    seen.look_at(fix.latitude, fix.longitude, 12)
    seen.page.mouse.click(*seen.pixel_of(fix.longitude, fix.latitude))
    panel = seen.page.locator("#detail")
    panel.get_by_text("the-one", exact=True).wait_for()
    said = panel.inner_text()
    for words in (
        "402.500 MHz", "47.750000° N", "9.100000° E", "147 m", "61.2 m", "30.0° from north", "ELLIPSE, 95 %", "demo",
        "south: clock is off", "the same features were", "7.4 ms", "2.1 ms", "4.7 ms", "states none",
    ):  # fmt: skip
        assert words in said
    record = json.loads(panel.locator("pre").text_content() or "")
    assert record["cov_east_m2"] == pytest.approx(fix.cov_east_m2)
    assert set(record) == set(Fix.__dataclass_fields__)
    seen.page.keyboard.press("Escape")
    panel.wait_for(state="hidden")


def test_the_panel_tells_how_the_stream_is(seen: Watched, traffic: MapTraffic) -> None:
    traffic.send_status()
    for code in ("undecodable", "invalid-capture", "undecodable"):
        traffic.send_letter(code)
    for number in range(20):
        traffic.send_fix(traffic.fix_of(EMITTERS[0], number, time.time_ns() // 1000))
    traffic.send_track(EMITTERS[1], 60)
    traffic.flush()
    page = seen.page
    page.locator("#letters").get_by_text("undecodable").wait_for()
    page.wait_for_function(
        "() => document.querySelector('#letters').innerText.replace(/\\s+/g, ' ').includes('undecodable 2')"
    )
    page.locator("#workers").get_by_text("worker-1").wait_for()
    page.locator("#beacons").get_by_text("94 % in 95 %").wait_for()
    page.wait_for_function("() => Number(document.querySelector('#rate').innerText) > 0")
    assert page.locator("#latency").inner_text() != "–"
    assert "Version 1" in page.locator("#versions").inner_text()
    page.locator(".mark.track").get_by_text("22.0 m/s · 060°").wait_for()


def test_the_slider_goes_back_in_time_and_live_again(
    seen: Watched, send: Callable[..., Fix], traffic: MapTraffic
) -> None:
    page = seen.page
    page.locator("#time").focus()
    for _ in range(3):
        page.keyboard.press("PageDown")  # a tenth of the hour each
    page.wait_for_function("() => fixstream.store.past !== null")
    assert page.locator("body").get_attribute("data-time") == "past"
    assert "ago" in (page.locator("#time").get_attribute("aria-valuetext") or "")
    page.wait_for_function("() => fixstream.store.past.fixes.map((row) => row[2]).join() === '407000000'")
    seen.look_at(PAST.latitude, PAST.longitude, 12)
    place = seen.pixel_of(PAST.longitude, PAST.latitude)
    eventually(lambda: seen.under("dots", *place), what="the fix of the past")
    page.mouse.click(*place)
    page.locator("#detail").get_by_text("of the past", exact=True).wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    eventually(lambda: not seen.under("dots", *place), what="the way back to now")
    fix = send(47.72, 8.95, hz=403e6)
    seen.look_at(fix.latitude, fix.longitude, 12)
    number = seen.shows("a live fix", fix)
    assert number in seen.under("dots", *seen.pixel_of(fix.longitude, fix.latitude))


def test_fixes_are_reached_with_the_keyboard_alone(seen: Watched, send: Callable[..., Fix]) -> None:
    older = send(47.70, 9.00, hz=300e6, capture_id="older")  # of the lowest frequency: the first of the list
    newer = send(47.71, 9.01, hz=300e6, capture_id="newer")
    seen.shows("older", older)
    seen.shows("newer", newer)
    page = seen.page
    page.locator("#emitters").get_by_text("300.000 MHz").wait_for()
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    page.locator("#detail").get_by_text("newer", exact=True).wait_for()
    page.keyboard.press("[")
    page.locator("#detail").get_by_text("older", exact=True).wait_for()
    page.keyboard.press("Escape")
    page.locator("#detail").wait_for(state="hidden")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("Escape")
    before = page.locator("html").get_attribute("data-theme")
    page.keyboard.press("t")
    assert page.locator("html").get_attribute("data-theme") != before
    page.keyboard.press("t")
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('button, input, select')]"
        ".filter((one) => !(one.ariaLabel || one.innerText.trim() || one.labels?.length)).map((one) => one.outerHTML)"
    )
    assert unnamed == []


def test_on_a_phone_the_panel_gives_way_to_the_map(seen: Watched) -> None:
    page = seen.page
    page.set_viewport_size(PHONE)
    page.reload()
    page.wait_for_function("() => window.fixstream?.map.loaded()")
    panel = page.locator("#panel")
    panel.wait_for(state="hidden")
    page.get_by_role("button", name="Side panel").click()
    panel.wait_for(state="visible")
    page.wait_for_function(
        "() => { const box = document.querySelector('#panel').getBoundingClientRect();"
        " return box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight; }"
    )
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Side panel").click()
    panel.wait_for(state="hidden")
    page.set_viewport_size(DESKTOP)


def test_a_restart_of_the_server_is_survived(seen: Watched, server: MapServer, send: Callable[..., Fix]) -> None:
    before = send(47.73, 9.02, hz=404e6)
    seen.shows("a fix before", before)
    assert server.stop() == 0
    state = seen.page.locator("#state")
    state.get_by_text("Reconnecting").wait_for()
    away = send(47.74, 9.03, hz=405e6)
    server.start()
    state.get_by_text("Connected").wait_for()
    seen.shows("what was sent meanwhile", away)
    seen.shows("what was there before", before)
    after = send(47.75, 9.04, hz=406e6)
    seen.shows("what came after", after)


def test_nothing_was_asked_of_anyone_else(seen: Watched) -> None:
    hosts = {urlsplit(address).hostname for address in seen.asked if not address.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert seen.complaints == []  # such as what the page's own policy forbids


@pytest.mark.skipif(not brokers.java_runs(), reason="a broker that keeps its records when it is restarted needs Java")
def test_a_restart_of_the_broker_is_survived_and_told(tmp_path: Path) -> None:
    broker = brokers.KraftBroker(tmp_path, heap="512m")
    with broker as bootstrap:
        traffic = MapTraffic(settings_for(bootstrap, "again"))
        server = MapServer(traffic.settings, tmp_path)
        server.start()
        news: list[dict[str, Any]] = []
        threading.Thread(target=_read, args=(server.address, news), daemon=True).start()
        eventually(lambda: _problems(news)[-1:] == [""], what="the feed")
        broker.stop()
        eventually(lambda: "does not answer" in _problems(news)[-1], what="word of the broker that is away")
        broker.start()
        traffic.send_fix(fix_at(48.0, 9.0))
        traffic.flush()
        eventually(lambda: any(row[3] == 48.0 for one in news for row in one.get("fixes", ())), what="the fix")
        eventually(lambda: _problems(news)[-1] == "", what="word that all is well")
        assert server.stop() == 0


def _read(address: str, news: list[dict[str, Any]]) -> None:
    with urllib.request.urlopen(f"{address}/events") as answer:
        for line in answer:
            if line.startswith(b"data: "):
                news.append(json.loads(line[6:]))


def _problems(news: list[dict[str, Any]]) -> list[str]:
    return [one["stats"]["problem"] for one in news if "stats" in one]
