"""A model that thinks for seconds."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

_SIDE = 384
_TRIAL_TURNS = 500


def write_slow(source: Path, target: Path, seconds: float) -> None:
    """The model of ``source`` with a loop of matrix products whose result adds nothing to its position.

    How many it takes is measured on this machine, at rest; beside other work they take longer.
    """
    _write(source, target, _TRIAL_TURNS)
    trial_s = _time_of(target)
    _write(source, target, math.ceil(_TRIAL_TURNS * seconds / trial_s))


def _write(source: Path, target: Path, turns: int) -> None:
    model = onnx.load(str(source))
    graph = model.graph
    position = next(node for node in graph.node if "position" in node.output)
    kind = next(value for value in graph.output if value.name == "position").type.tensor_type.elem_type
    position.output[0] = "slow_position"
    graph.initializer.extend(
        [
            numpy_helper.from_array((0.999 * np.eye(_SIDE)).astype(np.float32), "slow_matrix"),
            numpy_helper.from_array(np.array(turns, np.int64), "slow_turns"),
            numpy_helper.from_array(np.array(True), "slow_on"),
            numpy_helper.from_array(np.array(0, np.float32), "slow_nothing"),
        ]
    )
    graph.node.extend(
        [
            # From the input, so that nothing is computed when the model is loaded.
            helper.make_node("ReduceMax", ["features"], ["slow_largest"], keepdims=0),
            helper.make_node("Mul", ["slow_largest", "slow_nothing"], ["slow_zero"]),
            helper.make_node("Add", ["slow_matrix", "slow_zero"], ["slow_start"]),
            helper.make_node("Loop", ["slow_turns", "slow_on", "slow_start"], ["slow_end"], body=_turn()),
            helper.make_node("ReduceMax", ["slow_end"], ["slow_peak"], keepdims=0),
            helper.make_node("Mul", ["slow_peak", "slow_nothing"], ["slow_gone"]),
            helper.make_node("Cast", ["slow_gone"], ["slow_addend"], to=kind),
            helper.make_node("Add", ["slow_position", "slow_addend"], ["position"]),
        ]
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def _turn() -> onnx.GraphProto:
    shape = [_SIDE, _SIDE]
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["slow_in", "slow_matrix"], ["slow_out"]),
            helper.make_node("Identity", ["slow_go"], ["slow_go_on"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("slow_number", TensorProto.INT64, []),
            helper.make_tensor_value_info("slow_go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("slow_in", TensorProto.FLOAT, shape),
        ],
        [
            helper.make_tensor_value_info("slow_go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("slow_out", TensorProto.FLOAT, shape),
        ],
    )


def _time_of(path: Path) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {}
    for given in session.get_inputs():
        shape = [1 if not isinstance(size, int) else size for size in given.shape]
        kind = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}[given.type]
        feeds[given.name] = (0.01 * rng.random(shape) + (3 if kind is np.int64 else 0)).astype(kind)
    session.run(None, feeds)
    begin = time.process_time()  # not the clock: other processes are no part of the model
    session.run(None, feeds)
    return time.process_time() - begin
