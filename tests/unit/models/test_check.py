"""The contract's check says in words what is wrong with a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stream_app.errors import ContractViolation
from stream_app.models import contract
from stream_app.models.check import check_model
from stream_app.models.session import OnnxSession

SPEC = {"extractor": "tdoa", "max_receivers": 3, "sample_rate_hz": 1e6, "max_lag_s": 1e-6, "oversample": 1}
META = {contract.META_CONTRACT: "1", contract.META_FEATURES: json.dumps(SPEC)}
Nodes = list[onnx.NodeProto]


def model(
    position: tuple[float, float] = (50.0, 9.0),
    sigma: tuple[float, ...] = (10.0, 5.0, 0.5),
    names: tuple[str, str, str] = ("features", "position", "sigma"),
    batch: str | int = "N",
    kind: int = TensorProto.FLOAT,
    meta: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """A model that answers the same for any features: zero times their sum, plus a constant."""
    features, first, second = names
    constants = {
        "p": np.array([position], np.float32),
        "s": np.array([sigma], np.float32),
        "zero": np.array(0, np.float32),
        "axes": np.array([1, 2]),
        "flat": np.array([-1, 1]),
    }
    nodes = [
        helper.make_node("Cast", [features], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["cast", "axes"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "flat"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "p"], [first]),
        helper.make_node("Add", ["nothing", "s"], [second]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info(features, kind, [batch, 3, 7])],
        [
            helper.make_tensor_value_info(first, TensorProto.FLOAT, None),
            helper.make_tensor_value_info(second, TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, META if meta is None else meta)
    return made


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[onnx.ModelProto], Path]:
    def save(made: onnx.ModelProto) -> Path:
        path = tmp_path / "model.onnx"
        onnx.save(made, str(path))
        return path

    return save


def test_a_users_model_that_keeps_the_contract_is_described(saved: Callable[[onnx.ModelProto], Path]) -> None:
    info = check_model(saved(model()))
    assert info.feature_spec == SPEC
    assert (info.inputs, info.outputs) == (("features",), ("position", "sigma"))
    assert len(info.digest) == 64


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (model(meta={}), "fixstream.contract"),
        (model(meta={contract.META_CONTRACT: "1"}), "fixstream.features"),
        (model(meta=META | {contract.META_FEATURES: "{"}), "not JSON"),
        (model(meta=META | {contract.META_FEATURES: "[]"}), "JSON object"),
        (model(meta=META | {contract.META_FEATURES: '{"extractor": "magic"}'}), "magic"),
        (model(meta=META | {contract.META_FEATURES: json.dumps(SPEC | {"colour": 1})}), "colour"),
        (model(names=("iq", "position", "sigma")), "no input named 'features'"),
        (model(names=("features", "place", "sigma")), "no output named 'position'"),
        (model(names=("features", "position", "spread")), "'covariance' or 'sigma'"),
        (model(batch=4), "fixed batch of 4"),
        (model(kind=TensorProto.FLOAT16), "float16"),
        (model(position=(91.0, 0.0)), "latitude, longitude"),
        (model(position=(float("nan"), 0.0)), "not finite"),
        (model(sigma=(0.0, 5.0, 0.0)), "not positive"),
        (model(sigma=(1.0, 5.0, 0.0, 3.0)), "'sigma' is"),
    ],
)
def test_what_breaks_the_contract_is_named(
    made: onnx.ModelProto, words: str, saved: Callable[[onnx.ModelProto], Path]
) -> None:
    with pytest.raises(ContractViolation, match=words) as raised:
        check_model(saved(made))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("hello")
    with pytest.raises(ContractViolation, match="does not load"):
        check_model(path)
    with pytest.raises(ContractViolation, match="no model file"):
        check_model(tmp_path / "absent.onnx")


def test_a_session_binds_by_name_and_leaves_out_what_the_model_lacks(
    saved: Callable[[onnx.ModelProto], Path],
) -> None:
    session = OnnxSession.load(saved(model()), "constant", "3")
    features = np.zeros((2, 3, 7))
    found = session.infer({"receiver_count": np.array([3, 3]), "features": features})
    assert set(found) == {"position", "sigma"}
    assert found["position"].tolist() == [[50.0, 9.0]] * 2
