"""Functions that the tests of processes run elsewhere; without torch, so that it is quick."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from hardy.training.processes import in_processes, packed

LONG = 600.0


class Mute(Exception):  # noqa: N818
    """Cannot be pickled and read again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def described(word: str, path: Path) -> tuple[str, str]:
    """A word, and what torch.distributed would find in the environment."""
    names = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR")
    text = " ".join(os.environ[name] for name in names)
    (path / str(rank())).write_text(text + f" {int(os.environ['MASTER_PORT']) > 0}")
    return word, text


def failing(how: str, in_rank: int) -> None:
    """One process fails; the others would wait for it for ever."""
    if rank() != in_rank:
        time.sleep(LONG)
    match how:
        case "value":
            raise ValueError("--lr is wrong")
        case "foreign":
            raise Mute("what", "happened")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)


def failing_of_the_other() -> None:
    """The second dies without a word, the first of its absence, and speaks."""
    if rank() == 1:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError("connection closed by peer")


def waiting(path: Path) -> None:
    """Says which process this is, and waits."""
    part = path / f"{rank()}.part"
    part.write_text(str(os.getpid()))
    part.rename(path / f"{rank()}.pid")
    time.sleep(LONG)


if __name__ == "__main__":
    in_processes(packed(waiting, Path(sys.argv[1])), 2)
