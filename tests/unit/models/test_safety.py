"""Files that ask for more than a model may have are refused before ONNX Runtime sees them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from stream_app.errors import ContractViolation, ModelError, ModelRefused
from stream_app.models.check import check_model, open_session
from stream_app.models.loader import Loader
from stream_app.models.registry import ModelFile, Registry
from stream_app.models.safety import check_graph
from stream_app.models.trial import try_model
from stream_app.records.deployment import Deployment, Route
from stream_app.settings import Settings
from tests.unit.models.test_check import model

PLACES = ["weights.bin", "../../etc/passwd", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"]


def elsewhere(place: str) -> TensorProto:
    """A tensor whose values lie in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=place)
    return tensor


def in_branch(node: onnx.NodeProto) -> onnx.NodeProto:
    """An If with the node in a branch of a branch."""
    inner = helper.make_node("If", ["c"], ["o"], then_branch=graph([node]), else_branch=graph([node]))
    return helper.make_node("If", ["c"], ["o"], then_branch=graph([inner]), else_branch=graph([inner]))


def graph(nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    return helper.make_graph(nodes, "g", [], [])


def with_node(node: onnx.NodeProto) -> onnx.ModelProto:
    made = model()
    made.graph.node.append(node)
    return made


def with_function(node: onnx.NodeProto) -> onnx.ModelProto:
    made = model()
    made.functions.append(helper.make_function("", "F", [], ["o"], [node], made.opset_import))
    return made


def with_initializer(tensor: TensorProto) -> onnx.ModelProto:
    made = model()
    made.graph.initializer.append(tensor)
    return made


def with_sparse(tensor: TensorProto) -> onnx.ModelProto:
    made = model()
    made.graph.sparse_initializer.add(values=tensor, dims=[4])
    return made


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], value=tensor)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "hide",
    [
        with_initializer,
        with_sparse,
        lambda tensor: with_node(constant(tensor)),
        lambda tensor: with_node(in_branch(constant(tensor))),
        lambda tensor: with_function(constant(tensor)),
    ],
    ids=["initializer", "sparse", "attribute", "branch", "function"],
)
def test_weights_in_other_files_are_refused_wherever_they_hide(
    hide: Callable[[TensorProto], onnx.ModelProto], place: str
) -> None:
    check_graph(model().SerializeToString(), "a")
    with pytest.raises(
        ModelRefused, match=r"a: tensor 'w' lies in another file .*save_as_external_data=False"
    ) as raised:
        open_session(hide(elsewhere(place)).SerializeToString(), "a", 1)
    assert place in str(raised.value)


@pytest.mark.parametrize("domain", ["evil", "com.microsoft", "ai.onnx.preview.training"])
@pytest.mark.parametrize(
    "hide", [with_node, lambda node: with_node(in_branch(node)), with_function], ids=["graph", "branch", "function"]
)
def test_operators_that_are_not_onnx_s_own_are_refused(
    hide: Callable[[onnx.NodeProto], onnx.ModelProto], domain: str
) -> None:
    node = helper.make_node("Steal", ["features"], ["o"], name="thief", domain=domain)
    with pytest.raises(
        ModelRefused, match=f"node 'thief' is 'Steal' of the domain '{domain}'.*custom operators are off"
    ):
        open_session(hide(node).SerializeToString(), "a", 1)
    node.domain = "ai.onnx.ml"
    check_graph(hide(node).SerializeToString(), "a")


def test_another_format_than_onnx_s_is_refused(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(model().SerializeToString(), options, providers=["CPUExecutionProvider"])
    data = (tmp_path / "model.ort").read_bytes()
    ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    with pytest.raises(ContractViolation, match="does not load"):
        open_session(data, "a", 1)
    # A field that ONNX Runtime takes for the mark of its own format.
    disguised = b"\x12\x06xxORTM" + model().SerializeToString()
    with pytest.raises(Exception, match="ORT model verification"):
        ort.InferenceSession(disguised, providers=["CPUExecutionProvider"])
    assert open_session(disguised, "a", 1).get_inputs()[0].name == "features"


def hungry(numbers: int) -> onnx.ModelProto:
    """A model that keeps the contract, and fills that many floats on the way."""
    made = model()
    made.graph.initializer.append(numpy_helper.from_array(np.array([numbers]), "size"))
    made.graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["large"]))
    made.graph.node.insert(1, helper.make_node("ReduceMax", ["large"], ["top"], keepdims=0))
    made.graph.node.insert(2, helper.make_node("Add", ["features", "top"], ["fed"]))
    made.graph.node[3].input[0] = "fed"
    return made


def endless() -> onnx.ModelProto:
    """A model that keeps the contract, were it ever to answer."""
    made = model()
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Sin", ["state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    made.graph.initializer.append(numpy_helper.from_array(np.array(2**60), "rounds"))
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    made.graph.node.insert(0, helper.make_node("Loop", ["rounds", "yes", "features"], ["fed"], body=body))
    made.graph.node[1].input[0] = "fed"
    return made


def test_a_trial_finds_what_the_check_finds(tmp_path: Path) -> None:
    onnx.save(model(), str(tmp_path / "model.onnx"))
    data = (tmp_path / "model.onnx").read_bytes()
    assert try_model(data, "a", Settings()) == check_model(tmp_path / "model.onnx")
    with pytest.raises(ContractViolation, match="a: output 'position' of a probe is not finite"):
        try_model(model(position=(float("nan"), 0.0)).SerializeToString(), "a", Settings())
    with pytest.raises(ModelRefused, match="tensor 'w' lies in another file"):
        try_model(with_initializer(elsewhere("x")).SerializeToString(), "a", Settings())


@pytest.mark.parametrize("numbers", [10**9, 10**10, 10**14])
def test_a_model_that_takes_too_much_memory_is_refused(numbers: int) -> None:
    with pytest.raises(ModelRefused, match="FIXSTREAM_MAX_MODEL_MEMORY_BYTES") as raised:
        try_model(hungry(numbers).SerializeToString(), "a", Settings())
    assert "\n" not in str(raised.value)


def test_the_memory_limit_is_the_settings_own() -> None:
    data = hungry(50 * 10**6).SerializeToString()
    assert try_model(data, "a", Settings()).inputs == ("features",)
    with pytest.raises(ModelRefused, match=r"FIXSTREAM_MAX_MODEL_MEMORY_BYTES \(167772160\)"):
        try_model(data, "a", Settings(max_model_memory_bytes=160 * 2**20))


def test_a_model_that_takes_too_long_is_refused() -> None:
    with pytest.raises(ModelRefused, match="FIXSTREAM_MODEL_CHECK_S"):
        try_model(endless().SerializeToString(), "a", Settings(model_check_s=3))


class Exchanging(Registry):
    """A registry whose cached file somebody exchanges as soon as it was checked."""

    def fetch(self, name: str, ref: str) -> ModelFile:
        found = super().fetch(name, ref)
        os.replace(found.path.with_name("other.onnx"), found.path)
        return found


def test_a_file_that_is_exchanged_after_its_check_is_not_opened(tmp_path: Path) -> None:
    cache = tmp_path / "models"
    cache.mkdir()
    registry = Exchanging(f"sqlite:///{tmp_path / 'r.db'}", cache)
    onnx.save(model(), str(tmp_path / "model.onnx"))
    onnx.save(model(position=(1.0, 2.0)), str(cache / "other.onnx"))
    registry.register("m", tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="is not what was fetched"):
        Loader(Settings(), registry).load(Deployment("m", 1, (Route("1", 1.0),)))
