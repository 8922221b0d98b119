from __future__ import annotations

from pathlib import Path

import pytest

from stream_app.errors import NetworkFileError
from stream_app.network.file import load_network

_GOOD = """\
name: test
center_frequency_hz: 433.92e+6
sample_rate_hz: 1.0e+6
receivers:
  - {receiver_id: a, latitude: 47.8, longitude: 9.0}
  - {receiver_id: b, latitude: 47.7, longitude: 9.1}
area: {south: 47.6, west: 8.9, north: 47.9, east: 9.2}
emitters:
  - {name: e, latitude: 47.75, longitude: 9.05, bandwidth_hz: 5.0e+5, snr_db: 10}
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "net.yaml"
    path.write_text(text)
    return path


def test_a_good_file_loads_with_its_defaults(tmp_path: Path) -> None:
    network = load_network(_write(tmp_path, _GOOD))
    assert [r.receiver_id for r in network.receivers] == ["a", "b"]
    assert (network.path, network.timing_sigma_us, network.simulation.samples) == ("line_of_sight", 0.0, 4480)
    assert network.receiver("b") == network.receivers[1]
    assert network.receiver("z") is None


@pytest.mark.parametrize("name", ["demo", "dcf77"])
def test_the_examples_load(name: str) -> None:
    assert load_network(Path(__file__).parents[3] / "examples" / f"{name}.yaml").name == name


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("latitude: 47.7,", "latitude: 147.7,", r"line 6: receivers\.1\.latitude"),
        ("latitude: 47.7,", "", r"line 6: receivers\.1\.latitude is missing"),
        ("receiver_id: b", "receiver_id: a", "receiver_id 'a' is given twice"),
        ("south: 47.6", "south: 48.6", r"line 7: area: south"),
        ("snr_db: 10", "snr_db: loud", r"line 9: emitters\.0\.snr_db"),
        ("snr_db: 10", "snr_db: 10, colour: red", r"line 9: emitters\.0\.colour is not a known key"),
        ("5.0e+5", "9.5e+5", "emitter e: bandwidth_hz is above"),
        ("sample_rate_hz: 1.0e+6", "sample_rate_hz: 1.0e+6\nname: again", "line 4: name is given twice"),
        (
            "name: test",
            "name: test\nsimulation: {clock_errors_us: {z: 1}}",
            "clock_errors_us names 'z', which is none of the receivers",
        ),
        ("name: test", "name: [test", r"line \d+: is not YAML"),
        ("latitude: 47.75, longitude: 9.05, ", "", r"line 9: emitters\.0: give latitude and longitude"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in _GOOD
    with pytest.raises(NetworkFileError, match=rf"net\.yaml: .*{words}") as caught:
        load_network(_write(tmp_path, _GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match="cannot be read"):
        load_network(tmp_path / "none.yaml")
    with pytest.raises(NetworkFileError, match="no mapping"):
        load_network(_write(tmp_path, "- 1\n"))
