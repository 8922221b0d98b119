"""Fixes, tracks, statuses and dead letters for the map, as workers and trackers would send them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Producer

from stream_app.geo.ellipse import error_ellipses
from stream_app.geo.geodesy import destination
from stream_app.geo.outline import outlines
from stream_app.kafka.topics import ensure_topics
from stream_app.records.codec import Codecs
from stream_app.records.deployment import (
    BeaconLevel,
    BeaconStatus,
    DeploymentState,
    ModelStatus,
    ReceiverClock,
    RouteMode,
    RunningVersion,
)
from stream_app.records.fix import CacheOutcome, Fix, Timings
from stream_app.records.track import Track, TrackState
from stream_app.settings import Settings

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Emitter:
    """An emitter that goes straight on: degrees, m/s, degrees from north, and the 1-sigma of its fixes, m."""

    hz: float
    latitude: float
    longitude: float
    speed_m_s: float = 0.0
    course_deg: float = 0.0
    sigma_m: tuple[float, float] = (60.0, 25.0)
    leans_deg: float = 30.0  # the ellipses' major axis, clockwise from north

    def at(self, seconds: float) -> tuple[float, float]:
        """Where it is after so long."""
        lat, lon = destination(
            np.array([self.latitude]),
            np.array([self.longitude]),
            np.array([self.course_deg]),
            np.array([self.speed_m_s * seconds]),
        )
        return float(lat[0]), float(lon[0])


EMITTERS = (
    Emitter(433_920_000, 47.7810, 9.0640, sigma_m=(90, 40), leans_deg=70),
    Emitter(434_420_000, 47.7050, 8.9300, speed_m_s=22, course_deg=60, sigma_m=(140, 60), leans_deg=120),
    Emitter(434_920_000, 47.6900, 9.0300, speed_m_s=8, course_deg=25, sigma_m=(220, 70), leans_deg=10),
    Emitter(435_420_000, 47.7700, 8.9400, speed_m_s=14, course_deg=140, sigma_m=(120, 80), leans_deg=45),
)


def fix_at(
    latitude: float,
    longitude: float,
    sigma_m: tuple[float, float] = (60.0, 25.0),
    leans_deg: float = 30.0,
    hz: float = 433_920_000,
    version: str = "1",
    capture_id: str = "capture",
    captured_at_us: int | None = None,
    cache: CacheOutcome = CacheOutcome.MISS,
    distrusted: Sequence[str] = (),
) -> Fix:
    """A fix with that ellipse: 1-sigma axes, m, and the major one's direction, clockwise from north."""
    turn = math.radians(90 - leans_deg)
    axes = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    cov = axes @ np.diag(np.square(sigma_m)) @ axes.T
    ellipse = error_ellipses(cov[None], _CONFIDENCE)
    major, minor, leans = ellipse.semi_major_m, ellipse.semi_minor_m, ellipse.orientation_deg
    [outline] = outlines(np.array([latitude]), np.array([longitude]), major, minor, leans)
    return Fix(
        capture_id=capture_id,
        network="demo",
        captured_at_us=time.time_ns() // 1000 if captured_at_us is None else captured_at_us,
        center_frequency_hz=hz,
        latitude=latitude,
        longitude=longitude,
        cov_east_m2=cov[0, 0],
        cov_north_m2=cov[1, 1],
        cov_east_north_m2=cov[0, 1],
        sigma_x_m=float(ellipse.sigma_x_m[0]),
        sigma_y_m=float(ellipse.sigma_y_m[0]),
        theta_rad=float(ellipse.theta_rad[0]),
        semi_major_m=float(major[0]),
        semi_minor_m=float(minor[0]),
        orientation_deg=float(leans[0]),
        confidence=_CONFIDENCE,
        outline_geojson=outline,
        model_name="demo",
        model_version=version,
        fallback=False,
        model_confidence=None,
        border=False,
        cache=cache,
        timings=Timings(0.4, 2.1, 4.7, 7.4),
        receivers=("north", "east", "south", "west"),
        distrusted=tuple(distrusted),
    )


class MapTraffic:
    """Sends to the topics of ``settings``. Fixes scatter about their emitters as their ellipses say."""

    def __init__(self, settings: Settings, seed: int = 1) -> None:
        ensure_topics(settings)
        self.settings, self._codecs = settings, Codecs()
        self._producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 5, "log_level": 0})
        self._random = np.random.default_rng(seed)
        self.sent = 0

    def send_fix(self, fix: Fix, at_ms: int = 0) -> None:
        """One fix; ``at_ms``: the record's time, where it is not now."""
        key = f"{fix.network}/{fix.center_frequency_hz:.0f}".encode()
        self._produce(self.settings.positions_topic, key, self._codecs.encode_fix(fix), at_ms)
        self.sent += 1

    def fix_of(self, emitter: Emitter, seconds: float, at_us: int, version: str = "1") -> Fix:
        """A fix of an emitter after so long."""
        latitude, longitude = emitter.at(seconds)
        along, across = self._random.normal(0, emitter.sigma_m)
        azimuth = emitter.leans_deg + math.degrees(math.atan2(across, along))
        lat, lon = destination(
            np.array([latitude]), np.array([longitude]), np.array([azimuth]), np.array([math.hypot(along, across)])
        )
        scale = self._random.uniform(0.85, 1.2)
        sigma = (emitter.sigma_m[0] * scale, emitter.sigma_m[1] * scale)
        cache = CacheOutcome.EXACT if self._random.random() < 0.2 else CacheOutcome.MISS
        leans = emitter.leans_deg + self._random.normal(0, 4)
        captured_us = at_us - round(self._random.uniform(20, 120) * 1e3)
        return fix_at(
            float(lat[0]), float(lon[0]), sigma, leans, emitter.hz, version, f"c{self.sent}", captured_us, cache
        )

    def send_track(self, emitter: Emitter, seconds: float, at_ms: int = 0) -> None:
        """The track of an emitter after so long, as a filter would have it."""
        lat, lon = emitter.at(seconds)
        turn = math.radians(emitter.course_deg)
        moves = emitter.speed_m_s > 0
        at_us = at_ms * 1000 or time.time_ns() // 1000
        track = Track(
            track_id=f"demo/{emitter.hz:.0f}",
            network="demo",
            center_frequency_hz=emitter.hz,
            state=TrackState.CONFIRMED,
            at_us=at_us,
            started_at_us=at_us - round(seconds * 1e6),
            latitude=lat,
            longitude=lon,
            velocity_east_m_s=emitter.speed_m_s * math.sin(turn),
            velocity_north_m_s=emitter.speed_m_s * math.cos(turn),
            covariance=(400.0, 0, 0, 0, 0, 400.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0),
            semi_major_m=50.0,
            semi_minor_m=40.0,
            orientation_deg=20.0,
            confidence=_CONFIDENCE,
            speed_m_s=emitter.speed_m_s,
            speed_sigma_m_s=1.0,
            course_deg=emitter.course_deg if moves else None,
            course_sigma_deg=3.0 if moves else None,
            fixes=int(seconds * 2),
            rejected=0,
            capture_id=f"c{self.sent - 1}",
        )
        self._produce(self.settings.tracks_topic, track.track_id.encode(), self._codecs.encode_track(track), at_ms)

    def send_status(self, worker: str = "worker-1", level: BeaconLevel = BeaconLevel.OK) -> None:
        """A worker's sign of life, with a beacon and a clock."""
        status = ModelStatus(
            worker=worker,
            model_name="demo",
            revision=3,
            state=DeploymentState.APPLIED,
            running_revision=3,
            versions=(
                RunningVersion("1", "1", "ab" * 32, 90.0, RouteMode.LIVE),
                RunningVersion("2", "2", "cd" * 32, 10.0, RouteMode.LIVE),
            ),
            reason="",
            at_us=time.time_ns() // 1000,
            beacons=(BeaconStatus("demo", "church", 512, 0.69, 0.94, 3.2, -1.4, 61.0, level),),
            clocks=tuple(
                ReceiverClock("demo", name, offset, 4.0, 812, distrusted=abs(offset) > 100)
                for name, offset in (("north", 3.0), ("east", -6.0), ("south", 2.0), ("west", 1.0))
            ),
        )
        self._produce(self.settings.status_topic, worker.encode(), self._codecs.encode_status(status))

    def send_letter(self, code: str) -> None:
        """A dead letter."""
        self._produce(
            self.settings.dead_letter_topic, b"demo", b"not a capture", headers=[("fixstream-code", code.encode())]
        )

    def flush(self) -> None:
        """Returns when all of it is acknowledged."""
        assert self._producer.flush(30) == 0

    def _produce(
        self, topic: str, key: bytes, value: bytes, at_ms: int = 0, headers: list[tuple[str, bytes]] | None = None
    ) -> None:
        self._producer.produce(topic, value, key, timestamp=at_ms, headers=headers)
        self._producer.poll(0)
