"""Location by received power: log-distance path loss, the emitter's power unknown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx

from stream_app.models import contract
from stream_app.models.reference.answer import OUTPUTS, posterior, write
from stream_app.models.reference.geometry import Plane
from stream_app.models.reference.graph import DOUBLE, FLOAT, INT64, Graph

if TYPE_CHECKING:
    from stream_app.network.file import Network

_CELLS = 48
_SHADOWING_DB = 6.0  # usual for log-normal shadowing outdoors
_NEAREST_M = 10.0
_SPEC = {"extractor": "spectrogram", "n_fft": 256, "hop": 128, "bands": 16, "db": True}


def build_power(network: Network) -> onnx.ModelProto:
    """A model of ``spectrogram`` features float32 [N, R, 1, 16] in dB: one grid over the area."""
    g, plane, count = Graph(), Plane(network), len(network.receivers)
    nodes = plane.grid(_CELLS)
    power = g.op("Exp", g.op("Mul", g.cast(contract.INPUT_FEATURES, DOUBLE), g.const(np.log(10) / 10)))
    total = g.op("Log", g.op("Add", g.sum(power, 2, 3), g.const(1e-30)))
    level = g.axes("Unsqueeze", g.op("Mul", total, g.const(10 / np.log(10))), 1)
    distance = plane.distances(g, g.const(nodes[None]), contract.INPUT_POSITIONS)
    distance = g.op("Max", g.op("Transpose", distance, perm=[0, 2, 1]), g.const(_NEAREST_M))
    loss = g.op("Mul", g.op("Log", distance), g.const(10 / np.log(10) * network.path_loss_exponent))
    sent = g.op("Add", level, loss)
    present = g.op(
        "Less",
        g.const(np.arange(count)[None, None], np.int64),
        g.axes("Unsqueeze", contract.INPUT_COUNT, 1, 2),
    )
    used = g.cast(present, DOUBLE)
    mean = g.op("Div", g.sum(g.op("Mul", sent, used), 2, keep=True), g.sum(used, 2, keep=True))
    residual = g.op("Mul", g.op("Sub", sent, mean), used)
    misfit = g.sum(g.op("Mul", residual, residual), 2)
    log_mass = g.op("Mul", misfit, g.const(-0.5 / _SHADOWING_DB**2))
    cell = np.array([plane.width, plane.height]) / (_CELLS - 2)
    batch = g.op("Concat", g.op("Shape", contract.INPUT_COUNT), g.const([1, 1], np.int64), axis=0)
    points = g.op("Expand", g.const(nodes.T[None], np.float32), batch)
    spread = np.tile(cell**2 / 12, (len(nodes), 1))
    found = posterior(g, g.const(np.zeros((1, 1, 2))), points, log_mass, spread)
    write(g, plane, _CELLS, found, found.mean, found.covariance)
    inputs: dict[str, tuple[int, list[int | str]]] = {
        contract.INPUT_FEATURES: (FLOAT, ["N", count, 1, _SPEC["bands"]]),  # type: ignore[list-item]
        contract.INPUT_POSITIONS: (DOUBLE, ["N", count, 3]),
        contract.INPUT_COUNT: (INT64, ["N"]),
    }
    metadata = {
        contract.META_CONTRACT: contract.CONTRACT_VERSION,
        contract.META_FEATURES: json.dumps({**_SPEC, "max_receivers": count}),
        contract.META_NETWORK: network.name,
        contract.META_AREA: plane.area_json,
    }
    return g.model(inputs, OUTPUTS, metadata)
