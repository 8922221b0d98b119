"""What is benchmarked: records, and the model that answers them.

W1 distinct captures of three receivers (4480 samples, ci16_le, 54 KB) and the reference model; W2 the same with four
repeats in five, and repeats alone for what one costs; W3 captures of 1 KB and a model of no cost, where the frame's own
cost shows; W4 captures of W1 and a model of about 20 ms an inference, that batches well; W5 captures of W1, two
versions at 90/10 and a shadow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.features import model_spec
from benchmarks.network import BENCH_NETWORK, with_samples
from stream_app.dsp.features import make_extractor
from stream_app.models import contract
from stream_app.models.reference import build_tdoa
from stream_app.network.file import Network
from stream_app.network.simulator import Simulator
from stream_app.records.capture import IqCapture
from stream_app.records.codec import Codecs
from stream_app.records.deployment import Route, RouteMode

Record = tuple[bytes, bytes]  # key, value

KEYS = 64  # the records' keys: many, so that every partition has its share
_DISTINCT = 512  # captures that are simulated; beyond it they come again with other start times, so none is a repeat
_TINY_SAMPLES = 64
_WIDE = 1024  # of the heavy model's layers
_LAYERS = 50
_CODECS = Codecs()


@dataclass(frozen=True)
class Workload:
    """``source()`` gives captures without end; ``settings`` are the worker's."""

    name: str
    source: Callable[[], Iterator[IqCapture]]
    model: Callable[[], onnx.ModelProto]
    settings: Mapping[str, Any] = field(default_factory=dict)
    routes: tuple[Route, ...] = (Route("1", 1.0),)

    def records(self, count: int) -> Iterator[Record]:
        """The first ``count`` captures as records, over KEYS keys."""
        for number, capture in enumerate(islice(self.source(), count)):
            yield f"key-{number % KEYS}".encode(), _CODECS.encode_capture(capture)


def captures(
    network: Network = BENCH_NETWORK, repeats: float = 0.0, distinct: int = _DISTINCT, fresh: bool = True
) -> Iterator[IqCapture]:
    """Captures without end, made from few: simulating each would take longer than locating it.

    Beyond ``distinct`` the same samples come again. ``fresh``: with one receiver's start time a nanosecond later for
    each round, which is another capture to every cache and the same work.
    """
    made = [capture for capture, _ in Simulator(network, seed=1).captures(distinct, repeats)]
    for number, capture in enumerate(cycle(made)):
        turn = number // distinct if fresh else 0
        first = capture.channels[0]
        moved = replace(first, start_time_ns=first.start_time_ns + turn)
        yield replace(capture, capture_id=f"bench-{number:08d}", channels=(moved, *capture.channels[1:]))


def free_model() -> onnx.ModelProto:
    """A model of no cost on power features: the first receiver's place, 10 m."""
    spec = {"extractor": "spectrogram", "max_receivers": 3, "n_fft": _TINY_SAMPLES, "hop": _TINY_SAMPLES, "bands": 1}
    nodes = [
        helper.make_node("Gather", ["receiver_positions", "first"], ["place"], axis=1),
        helper.make_node("Slice", ["place", "zero", "two", "axis"], ["position"]),
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["level"]),
        helper.make_node("Mul", ["level", "none"], ["nothing"]),
        helper.make_node("Add", ["nothing", "sigma0"], ["sigma"]),
    ]
    constants: dict[str, np.ndarray[Any, Any]] = {
        "first": np.array(0),
        "zero": np.array([0]),
        "two": np.array([2]),
        "axis": np.array([1]),
        "column": np.array([-1, 1]),
        "none": np.array(0, np.float32),
        "sigma0": np.array([[10.0, 5.0, 0.5]], np.float32),
    }
    return _model("free", nodes, constants, spec, (3, 1, 1), 3)


def heavy_model() -> onnx.ModelProto:
    """Layers that read their weights once a batch: about 20 ms for one capture and little more for each other one."""
    spec = model_spec(BENCH_NETWORK)
    shape = make_extractor(spec).shape
    rng = np.random.default_rng(3)
    width = int(np.prod(shape))
    constants: dict[str, np.ndarray[Any, Any]] = {
        "first": np.array(0),
        "zero": np.array([0]),
        "two": np.array([2]),
        "axis": np.array([1]),
        "flat": np.array([-1, width]),
        "inner": (rng.standard_normal((width, _WIDE)) / width).astype(np.float32),
        "layer": (rng.standard_normal((_WIDE, _WIDE)) / np.sqrt(_WIDE)).astype(np.float32),
        "outer": (rng.standard_normal((_WIDE, 2)) / _WIDE).astype(np.float32),
        "sigma0": np.array([[10.0, 5.0]], np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["receiver_positions", "first"], ["place"], axis=1),
        helper.make_node("Slice", ["place", "zero", "two", "axis"], ["position"]),
        helper.make_node("Reshape", ["features", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "inner"], ["h0"]),
    ]
    for n in range(_LAYERS):
        nodes.append(helper.make_node("MatMul", [f"h{n}", "layer"], [f"m{n}"]))
        nodes.append(helper.make_node("Tanh", [f"m{n}"], [f"h{n + 1}"]))
    nodes.append(helper.make_node("MatMul", [f"h{_LAYERS}", "outer"], ["last"]))
    nodes.append(helper.make_node("Add", ["last", "sigma0"], ["sigma"]))
    return _model("heavy", nodes, constants, spec, shape, 2)


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, np.ndarray[Any, Any]],
    spec: Mapping[str, Any],
    shape: tuple[int, ...],
    sigmas: int,
) -> onnx.ModelProto:
    receivers = int(spec["max_receivers"])
    graph = helper.make_graph(
        nodes,
        name,
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", *shape]),
            helper.make_tensor_value_info("receiver_positions", TensorProto.FLOAT, ["N", receivers, 3]),
        ],
        [
            helper.make_tensor_value_info("position", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["N", sigmas]),
        ],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, {contract.META_CONTRACT: "1", contract.META_FEATURES: json.dumps(spec)})
    return made


_SPLIT = (Route("1", 0.9), Route("2", 0.1), Route("3", 1.0, RouteMode.SHADOW))


def _reference() -> onnx.ModelProto:
    return build_tdoa(BENCH_NETWORK)


W1 = Workload("W1", captures, _reference)
W2 = Workload("W2", lambda: captures(repeats=0.8), _reference)
REPEATS = Workload("repeats", lambda: captures(distinct=64, fresh=False), _reference)
W3 = Workload(
    "W3",
    lambda: captures(with_samples(_TINY_SAMPLES)),
    free_model,
    {"cache_url": "none://", "geojson_outline": False, "max_batch": 128},
)
W4 = Workload("W4", captures, heavy_model)
W5 = Workload("W5", captures, _reference, routes=_SPLIT)
BY_NAME = {workload.name: workload for workload in (W1, W2, REPEATS, W3, W4, W5)}
