"""A recording that others made: the Effelsberg telescope's, both polarizations, as the package baseband ships it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stream_app.network.sources import Given, captures_from, read_recordings
from tests.unit.network.networks import network

pytest.importorskip("sigmf")

_PACKAGE = "baseband==4.2.0"
_MEMBER = "baseband/data/sample.dada"
_HEADER, _FRAMES = 4096, 16_000
# Its own header: UTC_START, and OBS_OFFSET of 6,400,000,000 bytes at 4 bytes a frame and 16 MHz: 100 s later.
_START = "2013-07-02T01:39:20Z"


@pytest.fixture
def sample(pytestconfig: pytest.Config) -> bytes:
    """The file, fetched once from PyPI."""
    folder = pytestconfig.cache.mkdir("recordings")
    if not list(folder.glob("baseband-*.whl")):
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*fetch, "-d", str(folder), _PACKAGE], capture_output=True, check=False, timeout=120)
        if done.returncode:
            pytest.skip(f"{_PACKAGE}, which ships the recording, is not to be had here")
    with zipfile.ZipFile(next(folder.glob("baseband-*.whl"))) as wheel:
        return wheel.read(_MEMBER)


def test_a_telescopes_recording_is_read_beside_sigmf_metadata(sample: bytes, tmp_path: Path) -> None:
    """SigMF's way for files of other programs: metadata that says how many bytes stand before the samples."""
    (tmp_path / "sample.dada").write_bytes(sample)
    meta = {
        "global": {
            "core:version": "1.2.0",
            "core:datatype": "ci8",
            "core:sample_rate": 16e6,
            "core:num_channels": 2,
            "core:dataset": "sample.dada",
            "core:geolocation": {"type": "Point", "coordinates": [6.88278, 50.52472, 319.0]},
        },
        "captures": [
            {"core:sample_start": 0, "core:header_bytes": _HEADER, "core:frequency": 320e6, "core:datetime": _START}
        ],
        "annotations": [{"core:sample_start": 1, "core:sample_count": 1600}],
    }
    path = tmp_path / "effelsberg.sigmf-meta"
    path.write_text(json.dumps(meta))
    polarizations = read_recordings([path], Given(receivers=("left", "right")))
    assert [recording.samples.shape for recording in polarizations] == [(_FRAMES, 2), (_FRAMES, 2)]
    # The first samples as the package's own documentation prints them.
    read = np.stack([recording.samples[:3].astype(float) @ [1, 1j] for recording in polarizations], axis=1)
    np.testing.assert_array_equal(read, [[-38 - 38j, -38 - 38j], [-38 - 38j, -40 + 0j], [-105 + 60j, 85 - 15j]])

    total, captures = captures_from([path], network(), None, Given(receivers=("left", "right")))
    (capture,) = captures
    assert total == 1
    assert capture.center_frequency_hz == 320e6
    for channel in capture.channels:
        assert (channel.sample_count, channel.altitude_m) == (1600, 319.0)
        assert channel.start_time_ns == 1_372_729_160_000_000_062  # one sample of 62.5 ns later
    assert capture.channels[1].samples[:2] == bytes([256 - 40, 0])
