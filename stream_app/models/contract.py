"""The model contract: what a user's own ONNX model must look like, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CONTRACT_VERSION = "1"

# Keys of the ONNX file's metadata_props.
META_CONTRACT = "fixstream.contract"  # CONTRACT_VERSION
META_FEATURES = "fixstream.features"  # JSON: {"extractor": "tdoa", ...its parameters}
META_NETWORK = "fixstream.network"  # the network's name
META_AREA = "fixstream.area"  # JSON: {"south":…, "west":…, "north":…, "east":…} degrees, optional

# Inputs. N captures, R receivers (a receiver axis shorter than the model's is padded with receiver_count set).
INPUT_FEATURES = "features"  # float32 [N, ...]
INPUT_POSITIONS = "receiver_positions"  # float32|double [N, R, 3]: deg, deg, m (optional)
INPUT_COUNT = "receiver_count"  # int64 [N] (optional)
INPUT_TIMING = "receiver_timing_sigma"  # float32 [N, R] seconds, 0 where unknown (optional)

OUTPUT_POSITION = "position"  # [N, 2] WGS 84 latitude, longitude, degrees
OUTPUT_COVARIANCE = "covariance"  # [N, 2, 2] m², east/north; or:
OUTPUT_SIGMA = "sigma"  # [N, 2] m east/north, or [N, 3] m, m, theta rad ccw from east
OUTPUT_CONFIDENCE = "confidence"  # [N] optional, 0..1
OUTPUT_BORDER = "border_mass"  # [N] optional, 0..1: posterior mass on the rim of the area


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the contract's check found in a model file."""

    digest: str  # sha256 of the file, hex
    feature_spec: Mapping[str, Any]  # {"extractor": name, ...parameters}
    network: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    max_receivers: int | None  # size of the receiver axis; None where dynamic or absent
    area: Mapping[str, float] | None = field(default=None)
