"""Numbered captures whose answers are known beforehand, and poison among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx

from stream_app.cache.dedup import DedupCache
from stream_app.errors import CaptureError
from stream_app.locate.pipeline import Locator
from stream_app.metrics import Metrics
from stream_app.models.fleet import Fleet
from stream_app.models.reference import build_tdoa
from stream_app.models.session import OnnxSession
from stream_app.network.file import Network, load_network
from stream_app.network.simulator import Simulator
from stream_app.records.fix import Fix
from stream_app.resources import example_network
from stream_app.settings import Settings
from tests.faults.account import Place
from tests.load.traffic import CODECS, Numbered

KEYS = 16
_POISON_EVERY = 50
_POISON = "this is no capture: "
_COUNT = 200
_SEED = 11


def small_network(samples: int) -> Network:
    """The demo network with short captures of one byte a component."""
    network = load_network(example_network("demo"))
    short = network.simulation.model_copy(update={"samples": samples, "datatype": "ci8"})
    return network.model_copy(update={"simulation": short})


class Pool:
    """Captures that are sent again and again under new names; every 50th record is poison."""

    def __init__(self, folder: Path, samples: int = 512) -> None:
        """Writes the network's model to ``folder``, and asks it for all answers."""
        network = small_network(samples)
        self.model = folder / f"tdoa-{samples}.onnx"
        onnx.save(build_tdoa(network), str(self.model))
        self._captures = [capture for capture, _ in Simulator(network, _SEED).captures(_COUNT)]
        session = OnnxSession.load(self.model, "offline", "1", 1)
        locator = Locator(Fleet.of(session), DedupCache(None), CODECS, Settings(cache_url="none://"), Metrics())
        self._places = [place_of(fix) for fix in locator.locate(self._captures) if isinstance(fix, Fix)]
        assert len(self._places) == _COUNT, "the model must be able to answer the whole pool"

    def records(self, fresh: bool = False) -> Iterator[Numbered]:
        """Without end. ``fresh``: no two have the same bytes, so that the cache's first level never helps."""
        number = 0
        while True:
            name, key = name_of(number), key_of(number)
            if self.place(number) is None:
                yield Numbered(name, key, f"{_POISON}{name}".encode())
            else:
                capture = replace(self._captures[number % _COUNT], capture_id=name)
                if fresh:
                    first, *others = capture.channels
                    capture = replace(capture, channels=(replace(first, gain_db=number / 1e3), *others))
                yield Numbered(name, key, CODECS.encode_capture(capture))
            number += 1

    def place(self, number: int) -> Place | None:
        """What must be answered; None: a dead letter."""
        return None if number % _POISON_EVERY == _POISON_EVERY - 1 else self._places[number % _COUNT]


def name_of(number: int) -> str:
    """A capture's name."""
    return f"capture-{number}"


def number_of(name: str) -> int:
    """The number in a name."""
    return int(name.rpartition("-")[2])


def key_of(number: int) -> bytes:
    """Not ``number % KEYS``: that would keep an emitter of the pool on one key."""
    return f"key-{number // 3 % KEYS}".encode()


def place_of(fix: Fix) -> Place:
    """What the account compares of a fix."""
    return Place(fix.latitude, fix.longitude, fix.semi_major_m)


def refused_name(value: bytes) -> str:
    """The name of what came back as a dead letter; its bytes, where they are none of ours."""
    text = value.decode(errors="replace")
    if text.startswith(_POISON):
        return text.removeprefix(_POISON)
    try:
        return CODECS.decode_capture(value).capture_id
    except CaptureError:
        return repr(value[:40])
