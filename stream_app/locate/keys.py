"""What the cache remembers answers by: BLAKE3 over all that an answer depends on, and nothing else."""

from __future__ import annotations

import json
import struct

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from stream_app.models.base import LocatingModel
from stream_app.records.capture import Channel, IqCapture

_STEPS = np.float32(2**20)
_CHANNEL, _PLACE, _OPTIONAL = struct.Struct("<qdqQI"), struct.Struct("<3d"), struct.Struct("<?d")


def model_part(model: LocatingModel) -> bytes:
    """Name, version, digest and feature parameters: a new version never serves an old answer."""
    parts = [model.name, model.version, model.info.digest, dict(model.info.feature_spec)]
    return blake3(json.dumps(parts, sort_keys=True).encode()).digest()


def exact_key(model: bytes, content: bytes) -> bytes:
    """The key of a capture's ``content_digest`` at a model: samples are read once, whatever versions look at them."""
    return blake3(b"fixstream/exact/3" + model + content).digest()


def content_digest(capture: IqCapture) -> bytes:
    """What a capture's answer depends on. Start times are relative: when it was does not move the emitter."""
    origin = capture.channels[0].start_time_ns
    parts = [struct.pack("<I", len(capture.channels))]
    for channel in capture.channels:
        datatype = channel.datatype.encode()
        parts += (
            _CHANNEL.pack(
                channel.start_time_ns - origin,
                channel.sample_rate_hz,
                channel.sample_count,
                len(channel.samples),
                len(datatype),
            ),
            datatype,
            _where(channel),
            _optional(channel.gain_db),
            # By themselves and at once: BLAKE3 takes twice as long over samples that follow something.
            blake3(channel.samples).digest(),
        )
    return blake3(b"".join(parts)).digest()


def feature_key(model: bytes, capture: IqCapture, features: NDArray[np.float32]) -> bytes:
    """The key of what the model sees: one capture's quantised features, positions, sigmas and count."""
    parts = [b"fixstream/features/2" + model + struct.pack("<I", len(capture.channels))]
    parts += [_where(channel) for channel in capture.channels]
    parts.append(repr(features.shape).encode())
    parts.append(blake3(np.ascontiguousarray(features, dtype="<f4").tobytes()).digest())
    return blake3(b"".join(parts)).digest()


def quantise(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features rounded to steps of 2**-20, without negative zeros: equal content gets equal bytes."""
    rounded = features * _STEPS
    np.rint(rounded, out=rounded)
    rounded /= _STEPS
    rounded += np.float32(0)
    return rounded


def _where(channel: Channel) -> bytes:
    return _PLACE.pack(channel.latitude, channel.longitude, channel.altitude_m) + _optional(channel.start_sigma_ns)


def _optional(value: float | None) -> bytes:
    return _OPTIONAL.pack(value is not None, value or 0.0)
