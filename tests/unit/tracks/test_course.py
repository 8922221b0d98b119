"""Speed and course keep their word, or the course is not stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.tracks.course import course_of


@pytest.mark.parametrize(("velocity", "course"), [((0, 9), 0), ((9, 0), 90), ((0, -9), 180), ((-9, 0), 270)])
def test_a_course_is_clockwise_from_north(velocity: tuple[float, float], course: float) -> None:
    found = course_of(np.array(velocity, float), np.diag([0.04, 0.01]))
    assert found.course_deg == pytest.approx(course)
    assert found.speed_m_s == pytest.approx(9)
    along, across = (0.2, 0.1) if velocity[0] else (0.1, 0.2)
    assert found.speed_sigma_m_s == pytest.approx(along)
    assert found.course_sigma_deg == pytest.approx(math.degrees(across / 9))


@given(st.floats(-400, 400), st.floats(-400, 400), st.floats(1e-3, 1e3), st.floats(0, 1), st.floats(0, 7))
def test_a_stated_course_is_sure_to_24_degrees(
    east: float, north: float, major: float, ratio: float, angle: float
) -> None:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    found = course_of(np.array([east, north]), turn @ np.diag([major, ratio * major]) @ turn.T)
    assert (found.course_deg is None) == (found.course_sigma_deg is None)
    if found.course_deg is not None and found.course_sigma_deg is not None:
        assert 0 <= found.course_deg < 360
        assert 0 <= found.course_sigma_deg < 24


def test_95_percent_of_courses_and_speeds_are_within_1_96_sigmas() -> None:
    rng = np.random.default_rng(3)
    truth, covariance = np.array([6.0, -4.0]), np.array([[1.2, 0.5], [0.5, 0.8]])
    drawn = [course_of(velocity, covariance) for velocity in rng.multivariate_normal(truth, covariance, 4000)]
    stated = [one for one in drawn if one.course_deg is not None and one.course_sigma_deg is not None]
    assert len(stated) > 3800
    course = math.degrees(math.atan2(*truth)) % 360
    off = [math.remainder((one.course_deg or 0) - course, 360) / (one.course_sigma_deg or 1) for one in stated]
    fast = [(one.speed_m_s - math.hypot(*truth)) / one.speed_sigma_m_s for one in stated]
    for ratios in (off, fast):
        assert np.mean(np.abs(ratios) < 1.96) == pytest.approx(0.95, abs=0.015)


def test_who_stands_has_no_course_and_a_speed_that_may_be_none() -> None:
    rng = np.random.default_rng(4)
    covariance = np.diag([1.0, 0.5])
    drawn = [course_of(velocity, covariance) for velocity in rng.multivariate_normal([0, 0], covariance, 4000)]
    assert np.mean([one.course_deg is None for one in drawn]) > 0.95
    assert np.mean([one.speed_m_s < 1.96 * one.speed_sigma_m_s for one in drawn]) > 0.95
