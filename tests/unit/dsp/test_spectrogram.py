from __future__ import annotations

import numpy as np
import pytest

from stream_app.dsp.features import FeatureError, make_extractor
from tests.unit.dsp.signals import channel, noise

RATE = 1e6


def spec(**changes):
    base = {"extractor": "spectrogram", "max_receivers": 3, "n_fft": 64, "hop": 32, "bands": 8, "db": False}
    return base | changes


def tone(frequency_hz, amplitude=1.0, count=2048):
    return amplitude * np.exp(2j * np.pi * frequency_hz / RATE * np.arange(count))


def test_a_tone_lies_in_its_band_on_either_side_of_zero():
    extractor = make_extractor(spec())
    features = extractor.extract([[channel(tone(-440e3), RATE), channel(tone(300e3, 0.5), RATE)]])
    assert features.shape == (1, *extractor.shape) == (1, 3, 1, 8)
    assert features[0, 0, 0].argmax() == 0
    assert features[0, 1, 0].argmax() == 6
    assert features[0, :, 0].sum(-1) == pytest.approx([1, 0.25, 0], rel=1e-3)


def test_decibels_are_at_the_antenna_where_the_gain_is_known():
    loud = channel(tone(0), RATE, gain_db=30.0)
    features = make_extractor(spec(db=True, bands=1)).extract([[channel(tone(0), RATE), loud]])
    assert features[0, :, 0, 0] == pytest.approx([0, -30, 0], abs=0.01)
    silent = make_extractor(spec(db=True)).extract([[channel(np.zeros(100), RATE)]])
    assert np.isfinite(silent).all()


def test_frames_follow_time():
    samples = np.concatenate((tone(0), 0.1 * tone(0)))
    features = make_extractor(spec(frames=4, bands=1)).extract([[channel(samples, RATE)]])
    assert features[0, 0, :, 0] == pytest.approx([1, 1, 0.01, 0.01], abs=0.03)


def test_normalisation_keeps_the_difference_between_receivers():
    pair = [channel(tone(0), RATE), channel(tone(0, 0.1), RATE)]
    relative = make_extractor(spec(db=True, bands=1, normalisation="max")).extract([pair])
    assert relative[0, :, 0, 0] == pytest.approx([0, -20, 0], abs=0.01)
    zscore = make_extractor(spec(normalisation="zscore")).extract([pair])[0, :2]
    assert (zscore.mean(), zscore.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, rel=1e-4))


def test_features_of_a_capture_do_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    extractor = make_extractor(spec(db=True, frames=3))
    batch = [[channel(noise(rng, 999, 10), RATE) for _ in range(1 + n % 3)] for n in range(13)]
    together = extractor.extract(batch)
    for n, one in enumerate(batch):
        assert np.array_equal(extractor.extract([one])[0], together[n])


def test_what_does_not_fit_is_refused_in_words():
    extractor = make_extractor(spec(frames=2))
    good, short = channel(tone(0), RATE), channel(tone(0, count=90), RATE)
    with pytest.raises(FeatureError, match="needs at least 96") as caught:
        extractor.extract([[good], [good, short], [good] * 4, [channel(np.full(99, np.inf), RATE)]])
    assert sorted(caught.value.reasons) == [1, 2, 3]
    for change in ({"bands": 65}, {"db": 1}, {"normalisation": "l2"}, {"hop": 0}, {"n_fft": True}):
        with pytest.raises(ValueError, match=next(iter(change))):
            make_extractor(spec(**change))
