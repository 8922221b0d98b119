"""A small writer of ONNX graphs: every method adds a node and returns the name of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
DOUBLE, FLOAT = TensorProto.DOUBLE, TensorProto.FLOAT
INT32, INT64 = TensorProto.INT32, TensorProto.INT64


class Graph:
    """Nodes and constants under way to a model."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def const(self, value: ArrayLike, dtype: DTypeLike = np.float64) -> str:
        """A constant tensor."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output."""
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def output(self, value: str, name: str) -> None:
        """Give ``value`` the name of an output."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))

    def cast(self, value: str, to: int) -> str:
        """``value`` as another element type."""
        return self.op("Cast", value, to=to)

    def take(self, value: str, index: int, axis: int = -1) -> str:
        """One index of an axis, which goes."""
        return self.op("Gather", value, self.const(index, np.int64), axis=axis)

    def axes(self, kind: str, value: str, *axes: int) -> str:
        """Unsqueeze or Squeeze at ``axes``."""
        return self.op(kind, value, self.const(axes, np.int64))

    def sum(self, value: str, *axes: int, keep: bool = False) -> str:
        """Sum over ``axes``."""
        return self.op("ReduceSum", value, self.const(axes, np.int64), keepdims=int(keep))

    def reshape(self, value: str, *shape: int) -> str:
        """``value`` in another shape; 0 keeps an axis."""
        return self.op("Reshape", value, self.const(shape, np.int64))

    def top(self, value: str, count: int) -> str:
        """Indices of the ``count`` largest along the last axis."""
        name = f"n{len(self._nodes)}"
        size = self.const([count], np.int64)
        self._nodes.append(helper.make_node("TopK", [value, size], [f"{name}_values", name]))
        return name

    def model(
        self,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[int, Sequence[int | str]]],
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The checked model."""
        graph = helper.make_graph(
            self._nodes,
            "fixstream",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model
