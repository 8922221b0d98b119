"""A loaded model: ONNX Runtime with inputs and outputs bound by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from stream_app.models.check import check_session, dtype_of, open_session, read_model
from stream_app.models.contract import ModelInfo


class OnnxSession:
    """A LocatingModel on ONNX Runtime's CPU provider. Thread-safe, as ``run`` is."""

    def __init__(self, name: str, version: str, info: ModelInfo, session: ort.InferenceSession) -> None:
        self.name, self.version, self.info = name, version, info
        self._session = session
        self._dtypes = {i.name: dtype_of(i.type) for i in session.get_inputs()}
        self._outputs = [o.name for o in session.get_outputs()]

    @classmethod
    def load(cls, path: str | Path, name: str, version: str, threads: int = 1, batch: int = 2) -> OnnxSession:
        """Opens and checks the file. Raises ContractViolation or ModelRefused."""
        return cls.from_bytes(read_model(Path(path)), str(path), name, version, threads, batch)

    @classmethod
    def from_bytes(cls, data: bytes, where: str, name: str, version: str, threads: int, batch: int) -> OnnxSession:
        """Opens and checks an ONNX file's bytes; the check's probes warm it up for ``batch`` captures.

        Raises ContractViolation or ModelRefused, which name the file by ``where``.
        """
        session = open_session(data, where, threads)
        return cls(name, version, check_session(session, data, where, batch), session)

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, NDArray[np.floating]]:
        """Outputs by contract name; inputs that the model lacks are ignored, types are cast to its own."""
        feeds = {key: inputs[key].astype(kind, copy=False) for key, kind in self._dtypes.items()}
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
