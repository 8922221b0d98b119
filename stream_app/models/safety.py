"""What a model file may ask for: ONNX's own operators, and weights in the file itself. Nothing else is opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from stream_app.errors import ContractViolation, ModelRefused

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_SHOWN = 80  # characters of a name that somebody else chose


def check_graph(data: bytes, where: str) -> None:
    """Looks at every node and tensor of the file: of nested graphs, functions and attributes, too.

    Raises ContractViolation where it is no ONNX file, ModelRefused where it has custom operators or names other files.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ContractViolation(f"{where} does not load as an ONNX model: {error}") from error
    for part in _parts(model):
        if isinstance(part, onnx.NodeProto) and part.domain not in _DOMAINS:
            raise ModelRefused(
                f"{where}: node {_shown(part.name)} is {_shown(part.op_type)} of the domain {_shown(part.domain)}, but "
                "custom operators are off: use those of ai.onnx and ai.onnx.ml, and inline a model's own functions "
                "(onnx.inliner.inline_local_functions)"
            )
        if isinstance(part, onnx.TensorProto) and (part.data_location or part.external_data):
            places = [entry.value for entry in part.external_data if entry.key == "location"]
            raise ModelRefused(
                f"{where}: tensor {_shown(part.name)} lies in another file ({', '.join(map(_shown, places))}): save "
                "the model with its weights inside (onnx.save with save_as_external_data=False)"
            )


def _parts(model: Any) -> Iterator[Any]:
    """All messages of a protobuf message, by what its type says: no field can be forgotten."""
    left = [model]
    while left:
        part = left.pop()
        yield part
        for field in part.DESCRIPTOR.fields:
            if field.message_type is None:
                continue
            value = getattr(part, field.name)
            if not hasattr(value, "DESCRIPTOR"):
                left.extend(value)
            elif part.HasField(field.name):
                left.append(value)


def _shown(name: str) -> str:
    return ascii(name[:_SHOWN])
