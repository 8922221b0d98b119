"""Estimates as records, and back: a track's record is all of its state."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from stream_app.geo.ellipse import error_ellipses
from stream_app.records.fix import Fix
from stream_app.records.track import Track, TrackState
from stream_app.tracks.course import course_of
from stream_app.tracks.filter import Estimate


def estimate_of(track: Track) -> Estimate:
    """The filter's state at ``track.at_us``."""
    velocity = np.array([track.velocity_east_m_s, track.velocity_north_m_s])
    return Estimate(track.latitude, track.longitude, velocity, np.array(track.covariance).reshape(4, 4))


def new_track(fix: Fix, estimate: Estimate, state: TrackState, confidence: float) -> Track:
    """The track that a fix begins. The same fix begins one of the same name, whoever does it."""
    origin = f"{fix.network}/{fix.center_frequency_hz!r}/{fix.capture_id}".encode()
    empty = Track(
        track_id=f"T-{hashlib.blake2b(origin, digest_size=8).hexdigest()}",
        network=fix.network,
        center_frequency_hz=fix.center_frequency_hz,
        state=state,
        at_us=fix.captured_at_us,
        started_at_us=fix.captured_at_us,
        latitude=0.0,
        longitude=0.0,
        velocity_east_m_s=0.0,
        velocity_north_m_s=0.0,
        covariance=(),
        semi_major_m=0.0,
        semi_minor_m=0.0,
        orientation_deg=0.0,
        confidence=confidence,
        speed_m_s=0.0,
        speed_sigma_m_s=0.0,
        course_deg=None,
        course_sigma_deg=None,
        fixes=0,
        rejected=0,
        capture_id="",
    )
    return with_fix(empty, fix, estimate)


def with_fix(track: Track, fix: Fix, estimate: Estimate) -> Track:
    """The track after a fix was taken into its estimate."""
    ellipse = error_ellipses(estimate.covariance[None, :2, :2], track.confidence)
    course = course_of(estimate.velocity, estimate.covariance[2:, 2:])
    return replace(
        track,
        at_us=fix.captured_at_us,
        latitude=estimate.latitude,
        longitude=estimate.longitude,
        velocity_east_m_s=float(estimate.velocity[0]),
        velocity_north_m_s=float(estimate.velocity[1]),
        covariance=tuple(estimate.covariance.ravel().tolist()),
        semi_major_m=float(ellipse.semi_major_m[0]),
        semi_minor_m=float(ellipse.semi_minor_m[0]),
        orientation_deg=float(ellipse.orientation_deg[0]),
        speed_m_s=course.speed_m_s,
        speed_sigma_m_s=course.speed_sigma_m_s,
        course_deg=course.course_deg,
        course_sigma_deg=course.course_sigma_deg,
        fixes=track.fixes + 1,
        capture_id=fix.capture_id,
    )
