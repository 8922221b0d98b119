from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stream_app.dsp.samples import bytes_per_sample, sample_bytes, to_complex64
from stream_app.records.capture import BYTES_PER_SAMPLE

INTEGERS = {"cu8": "u1", "ci8": "i1", "ci16_le": "<i2", "ci32_le": "<i4"}


@given(data=st.data(), datatype=st.sampled_from(sorted(INTEGERS)), wrap=st.sampled_from([bytes, memoryview]))
def test_integers_scale_to_full_scale_one(data, datatype, wrap):
    kind = np.dtype(INTEGERS[datatype])
    raw = data.draw(hnp.arrays(kind, st.tuples(st.integers(1, 4), st.integers(0, 20).map(lambda n: 2 * n))))
    found = to_complex64(datatype, [wrap(row.tobytes()) for row in raw])
    exact = raw.astype(np.float64)
    exact = (exact - 127.5) / 127.5 if datatype == "cu8" else exact / 2.0 ** (8 * kind.itemsize - 1)
    assert found.dtype == np.complex64
    assert np.allclose(found, exact[:, ::2] + 1j * exact[:, 1::2], atol=1e-7, rtol=1e-6)
    assert not found.size or np.abs(found.view(np.float32)).max() <= 1


@given(hnp.arrays(np.dtype("<f4"), (3, 8)))
def test_floats_pass_through_bit_for_bit(raw):
    found = to_complex64("cf32_le", [row.tobytes() for row in raw])
    assert np.array_equal(found.view(np.float32), raw, equal_nan=True)


def test_full_scale_and_sign():
    assert to_complex64("cu8", [b"\xff\x00"])[0, 0] == 1 - 1j
    assert to_complex64("ci8", [b"\x80\x40"])[0, 0] == -1 + 0.5j
    assert to_complex64("ci16_le", [b"\x00\x80\x00\x40"])[0, 0] == -1 + 0.5j


def test_widths_are_those_of_the_records():
    assert {name: bytes_per_sample(name) for name in BYTES_PER_SAMPLE} == BYTES_PER_SAMPLE


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="cf64_be"):
        bytes_per_sample("cf64_be")
    with pytest.raises(ValueError, match="need 8"):
        sample_bytes(b"1234567", "ci16_le", 2)
    with pytest.raises(ValueError, match="unequal"):
        to_complex64("ci8", [b"12", b"1234"])
    assert to_complex64("ci8", []).shape == (0, 0)
