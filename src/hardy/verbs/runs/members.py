"""The processes of a verb that shares its work out: each keeps what it has finished in a folder of
its own, so that a run which was stopped goes on there, and the first process joins them."""

from __future__ import annotations

import os

import torch

from hardy.console import silence
from hardy.evaluation.steps import Steps
from hardy.training.processes import must_be_startable

JOINED = "joined"  # under which the steps keep that they are


def must_start(verb: str, device: torch.device, precision: str, devices: int) -> None:
    """Raises ValueError where the processes of --devices cannot be started."""
    must_be_startable()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ValueError(
            f"hardy {verb} starts its processes itself: give --devices, without torchrun"
        )
    # It takes a second to import: whatever else was asked for wrongly is found before that.
    from hardy.training.engine import Engine

    Engine(device, precision, devices)


def member(kind: str) -> tuple[int, int, torch.device]:
    """Which of how many processes this is, and its own device of that kind. All but the first
    are silenced, and those on a CPU share its cores."""
    rank, world = int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"])
    if rank:
        silence()
    if kind == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    return rank, world, torch.device(kind, rank) if kind == "cuda" else torch.device(kind)


def shard(steps: Steps, rank: int, world: int) -> Steps:
    """The steps of one process of several."""
    return steps.within(f"shard-{rank}-of-{world}")
