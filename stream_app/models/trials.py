"""Which model files passed their trial: a start need not wait for what was found out before."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from stream_app.settings import Settings

log = logging.getLogger(__name__)


class Trials:
    """Marks beside the cached files. One counts only under the limits and the libraries that it was set under."""

    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.model_cache_dir).expanduser()
        under = {
            "batch": settings.max_batch,
            "memory_bytes": settings.max_model_memory_bytes,
            "seconds": settings.model_check_s,
            "libraries": [ort.__version__, onnx.__version__, np.__version__, platform.python_version()],
            "machine": platform.machine(),
        }
        self._under = hashlib.sha256(json.dumps(under, sort_keys=True).encode()).hexdigest()[:32]

    def passed(self, digest: str) -> bool:
        """Whether the file of this sha256 has passed its trial."""
        return self._mark(digest).is_file()

    def remember(self, digest: str) -> None:
        """The file of this sha256 has passed its trial."""
        try:
            self._mark(digest).touch(mode=0o600)
        except OSError as error:  # it is tried again then
            log.warning("%s: the next start tries the model %s anew", error, digest[:12])

    def _mark(self, digest: str) -> Path:
        return self._folder / f"{digest}.{self._under}.passed"
