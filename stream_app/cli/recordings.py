"""How recordings are given to commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[Path],
    typer.Argument(help="KiwiSDR or other WAV files of I and Q, SigMF recordings, or one folder of fixstream record"),
]
CaptureSeconds = Annotated[
    float | None,
    typer.Option(help="length of one capture, seconds; default: the stretches that SigMF annotations mark, else 1"),
]
ReceiverNames = Annotated[
    list[str] | None,
    typer.Option(
        "--receiver", help="who made each recording, once a channel in the files' order; default: what the files say"
    ),
]
Start = Annotated[
    str | None, typer.Option(help="when those began that do not say it, such as 2026-05-01T03:00:00.123456789Z")
]
