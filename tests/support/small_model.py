"""The cheapest ONNX model that keeps the contract: it answers near the first receiver, by what the features are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stream_app.models import contract
from stream_app.models.session import OnnxSession

RATE_HZ, MAX_LAG_S, RECEIVERS = 1e6, 8e-6, 4
SPEC = {
    "extractor": "tdoa",
    "max_receivers": RECEIVERS,
    "sample_rate_hz": RATE_HZ,
    "max_lag_s": MAX_LAG_S,
    "oversample": 1,
}


def small_model() -> onnx.ModelProto:
    """Position: the first receiver's less 0.1 degree times the mean feature. Sigma: 10 m and a little of the same."""
    constants = {
        "first": np.array([0]),
        "place": np.array([0, 1]),
        "flat": np.array([-1, 1]),
        "low": np.array(-1, np.float32),
        "high": np.array(1, np.float32),
        "tenth": np.array(0.1, np.float32),
        "sigma0": np.array([[10.0, 5.0, 0.5]], np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["receiver_positions", "first"], ["one"], axis=1),
        helper.make_node("Gather", ["one", "place"], ["degrees3"], axis=2),
        helper.make_node("ReduceMean", ["degrees3"], ["degrees"], axes=[1], keepdims=0),
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Reshape", ["mean", "flat"], ["column"]),
        helper.make_node("Clip", ["column", "low", "high"], ["small"]),
        helper.make_node("Mul", ["small", "tenth"], ["step"]),
        helper.make_node("Sub", ["degrees", "step"], ["position"]),
        helper.make_node("Add", ["small", "sigma0"], ["sigma"]),
    ]
    pairs, lags = RECEIVERS * (RECEIVERS - 1) // 2, 2 * round(MAX_LAG_S * RATE_HZ) + 1
    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", pairs, 2 * lags + 1]),
            helper.make_tensor_value_info("receiver_positions", TensorProto.FLOAT, ["N", RECEIVERS, 3]),
        ],
        [
            helper.make_tensor_value_info("position", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["N", 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, {contract.META_CONTRACT: "1", contract.META_FEATURES: json.dumps(SPEC)})
    return made


def small_session(folder: Path) -> OnnxSession:
    """The model, checked and loaded as a worker loads it."""
    path = folder / "small.onnx"
    onnx.save(small_model(), str(path))
    return OnnxSession.load(path, "small", "1", 1)
