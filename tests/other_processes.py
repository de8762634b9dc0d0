"""What tests look at in processes that they have started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def hears_ctrl_c() -> None:
    """For preexec_fn: a shell without job control starts what runs behind it deaf to Ctrl-C, and
    the deafness is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    # One that has ended and that nobody has asked for yet is no orphan.
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def eventually(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it comes true in that time."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()
