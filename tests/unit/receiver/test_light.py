from __future__ import annotations

import os
import subprocess
import sys

_HEAVY = ("numpy", "pydantic", "faust", "onnx", "onnxruntime", "mlflow", "scipy", "pyproj", "typer", "aiohttp")

_SCRIPT = f"""
import sys
from stream_app.receiver import ReceptionSender, Slots
sender = ReceptionSender("127.0.0.1:1", network="n", receiver_id="r", latitude=1, longitude=2, altitude_m=3,
    sample_rate_hz=1000, datatype="cf32_le", center_frequency_hz=1e6, kafka={{"log_level": 0}})
for slot in Slots(0.01, 1000, "cf32_le").feed(0, bytes(160)):
    sender.send(slot_at_us=slot.slot_at_us, start_time_ns=slot.start_time_ns, samples=slot.samples)
print([name for name in {_HEAVY!r} if name in sys.modules])
"""


def test_a_receiver_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]", done.stderr
