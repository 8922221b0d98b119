"""The default models: ONNX graphs built from a network's geometry, without training."""

from stream_app.models.reference.power import build_power
from stream_app.models.reference.tdoa import build_tdoa

__all__ = ["build_power", "build_tdoa"]
