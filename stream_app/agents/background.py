"""Work that must not delay live captures."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_NICENESS = 10


def background_thread(name: str) -> ThreadPoolExecutor:
    """One thread of low priority."""
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_be_nice)


def _be_nice() -> None:
    # On Linux a thread's own number stands for that thread alone; elsewhere it stays as it is.
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
