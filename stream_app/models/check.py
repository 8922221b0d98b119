"""The contract's check: does an ONNX file look as the model contract says? Where not, in words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from stream_app.dsp.features import make_extractor
from stream_app.errors import ContractViolation, ModelError
from stream_app.models.contract import (
    CONTRACT_VERSION,
    INPUT_COUNT,
    INPUT_FEATURES,
    INPUT_POSITIONS,
    INPUT_TIMING,
    META_AREA,
    META_CONTRACT,
    META_FEATURES,
    META_NETWORK,
    OUTPUT_BORDER,
    OUTPUT_CONFIDENCE,
    OUTPUT_COVARIANCE,
    OUTPUT_POSITION,
    OUTPUT_SIGMA,
    ModelInfo,
)
from stream_app.models.safety import check_graph

_INPUTS = {INPUT_FEATURES, INPUT_POSITIONS, INPUT_COUNT, INPUT_TIMING}
_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


def dtype_of(kind: str) -> type[np.generic] | None:
    """NumPy's type of an ONNX Runtime type name; None for one that the contract does not use."""
    return _DTYPES.get(kind)


def read_model(path: Path, max_bytes: int | None = None) -> bytes:
    """The file's bytes. Raises ContractViolation where there is no such file, ModelError above ``max_bytes``."""
    try:
        size = path.stat().st_size
        if max_bytes is not None and size > max_bytes:
            raise ModelError(f"{path} has {size} bytes, above FIXSTREAM_MAX_MODEL_BYTES ({max_bytes})")
        return path.read_bytes()
    except OSError as error:
        raise ContractViolation(f"there is no model file {path}: {error.strerror}") from error


def open_session(data: bytes, where: str, threads: int) -> ort.InferenceSession:
    """A session with full graph optimisation, of an ONNX file's bytes; ``where`` names it in errors.

    From bytes, so that what was hashed and checked is what runs. Raises ContractViolation or ModelRefused.
    """
    check_graph(data, where)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Spinning threads would take the cores that the features' stage needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # ONNX Runtime would otherwise guess, and its own format is one that check_graph does not read.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ContractViolation(f"{where} does not load as an ONNX model: {' '.join(str(error).split())}") from error


def check_model(path: str | Path) -> ModelInfo:
    """What the file holds, after every clause of the contract and a probe were checked, in this process.

    Raises ContractViolation or ModelRefused, which say what is wrong and what to do.
    """
    data = read_model(Path(path))
    return check_session(open_session(data, str(path), 1), data, str(path))


def check_session(session: ort.InferenceSession, data: bytes, where: str, batch: int = 2) -> ModelInfo:
    """As check_model, of a session that is open already. The probe of ``batch`` captures warms it up."""
    meta = session.get_modelmeta().custom_metadata_map
    if meta.get(META_CONTRACT) != CONTRACT_VERSION:
        raise ContractViolation(
            f"{where}: metadata_props {META_CONTRACT!r} is {meta.get(META_CONTRACT)!r}, not {CONTRACT_VERSION!r}: "
            "set it to the version of the contract that the model keeps"
        )
    spec = _json(where, meta, META_FEATURES)
    try:
        extractor = make_extractor(spec)
    except (ValueError, TypeError) as error:
        raise ContractViolation(f"{where}: metadata_props {META_FEATURES!r}: {error}") from error
    _check_names(where, session)
    for seed, count in ((0, 1), (1, batch)):
        _probe(where, session, extractor.max_receivers, count, seed)
    by_name = {i.name: i for i in session.get_inputs()}
    axis = by_name[INPUT_POSITIONS].shape[1] if INPUT_POSITIONS in by_name else None
    return ModelInfo(
        digest=hashlib.sha256(data).hexdigest(),
        feature_spec=spec,
        network=meta.get(META_NETWORK, ""),
        inputs=tuple(by_name),
        outputs=tuple(o.name for o in session.get_outputs()),
        max_receivers=axis if isinstance(axis, int) else None,
        area=_json(where, meta, META_AREA) if META_AREA in meta else None,
    )


def _json(where: str, meta: dict[str, str], key: str) -> dict[str, Any]:
    try:
        found = json.loads(meta[key])
    except KeyError:
        raise ContractViolation(f"{where}: metadata_props lack {key!r}: add it as a JSON object") from None
    except json.JSONDecodeError as error:
        raise ContractViolation(f"{where}: metadata_props {key!r} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ContractViolation(f"{where}: metadata_props {key!r} must be a JSON object")
    return found


def _check_names(where: str, session: ort.InferenceSession) -> None:
    inputs = {i.name: i for i in session.get_inputs()}
    outputs = {o.name for o in session.get_outputs()}
    if INPUT_FEATURES not in inputs:
        raise ContractViolation(f"{where}: no input named {INPUT_FEATURES!r} (it has {', '.join(inputs) or 'none'})")
    if unknown := set(inputs) - _INPUTS:
        raise ContractViolation(f"{where}: input {min(unknown)!r} is not of the contract: nothing would feed it")
    for name, given in inputs.items():
        if dtype_of(given.type) is None:
            raise ContractViolation(f"{where}: input {name!r} is {given.type}: use float, double, int32 or int64")
        if given.shape and isinstance(given.shape[0], int):
            raise ContractViolation(f"{where}: input {name!r} has a fixed batch of {given.shape[0]}: make it dynamic")
    if OUTPUT_POSITION not in outputs:
        raise ContractViolation(f"{where}: no output named {OUTPUT_POSITION!r} (it has {', '.join(outputs)})")
    if not outputs & {OUTPUT_COVARIANCE, OUTPUT_SIGMA}:
        raise ContractViolation(f"{where}: needs an output {OUTPUT_COVARIANCE!r} or {OUTPUT_SIGMA!r}")


def _probe(where: str, session: ort.InferenceSession, receivers: int, count: int, seed: int) -> None:
    """Runs the model on plausible noise and checks what comes out."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, NDArray[np.generic]] = {}
    for given in session.get_inputs():
        shape = [count] + [s if isinstance(s, int) else receivers for s in given.shape[1:]]
        if given.name == INPUT_COUNT:
            value: NDArray[Any] = np.full(count, min(receivers, 3))
        elif given.name == INPUT_POSITIONS:
            value = np.zeros(shape)
            value[..., 0] = 50 + 0.05 * rng.random(shape[:-1])
            value[..., 1] = 9 + 0.05 * rng.random(shape[:-1])
        else:
            value = 0.01 * rng.random(shape)
        feeds[given.name] = value.astype(dtype_of(given.type))
    names = [o.name for o in session.get_outputs()]
    try:
        found = dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:
        raise ContractViolation(
            f"{where}: a probe of {count} capture(s) failed: {' '.join(str(error).split())}"
        ) from error
    _check_outputs(where, found, count)


def _check_outputs(where: str, found: dict[str, NDArray[Any]], count: int) -> None:
    shapes: dict[str, list[tuple[int, ...]]] = {
        OUTPUT_POSITION: [(count, 2)],
        OUTPUT_COVARIANCE: [(count, 2, 2)],
        OUTPUT_SIGMA: [(count, 2), (count, 3)],
        OUTPUT_CONFIDENCE: [(count,)],
        OUTPUT_BORDER: [(count,)],
    }
    for name, allowed in shapes.items():
        if name not in found:
            continue
        if found[name].shape not in allowed:
            raise ContractViolation(f"{where}: output {name!r} is {found[name].shape} for a probe, not {allowed[0]}")
        if not np.isfinite(found[name]).all():
            raise ContractViolation(f"{where}: output {name!r} of a probe is not finite")
    position = found[OUTPUT_POSITION]
    if (np.abs(position) > (90, 180)).any():
        raise ContractViolation(f"{where}: position {position[0]} of a probe is not latitude, longitude in degrees")
    if OUTPUT_COVARIANCE in found and (np.linalg.eigvalsh(found[OUTPUT_COVARIANCE].astype(float)) <= 0).any():
        raise ContractViolation(f"{where}: covariance of a probe is not positive definite")
    if OUTPUT_SIGMA in found and (found[OUTPUT_SIGMA][:, :2] <= 0).any():
        raise ContractViolation(f"{where}: sigma of a probe is not positive")
