"""Share the pictures of an evaluation out to several processes, and join what they find.

Picture i goes to process i % world. Each keeps its finished steps in a folder of its own; joined,
they are the steps of the run, in which one process alone would find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hardy import config
from hardy.console import silenced
from hardy.evaluation.steps import Steps
from hardy.training.processes import in_processes, packed
from hardy.verbs.evaluating.measuring import Job, job_of
from hardy.verbs.evaluating.tallies import tallies
from hardy.verbs.runs.members import JOINED, member, must_start, shard
from hardy.verbs.runs.same import must_be_known


def check_devices(job: Job, device: torch.device) -> None:
    """Raises ValueError where the processes of --devices cannot be started, or would have no
    pictures."""
    must_start("evaluate", device, job.asked.precision, job.asked.devices)
    if (fewest := min(map(len, job.frames))) < job.asked.devices:
        raise ValueError(
            f"--devices {job.asked.devices} cannot share {fewest} pictures: give fewer devices or "
            "more pictures"
        )


def tally_in_shards(asked: config.Evaluate, device: torch.device, steps: Steps) -> None:
    """Tally in --devices processes, and join what they found into `steps`."""
    if steps.json(JOINED) is not None:
        return
    assert steps.folder is not None, "a run folder keeps its steps"
    in_processes(packed(_process, asked, device.type), asked.devices, steps.folder)
    join(steps, asked.devices)
    steps.keep_json(JOINED, asked.devices)


def join(steps: Steps, world: int) -> None:
    """Write what every process has kept as steps of the whole."""
    parts = [shard(steps, rank, world) for rank in range(world)]
    for name in sorted({name for part in parts for name in part.names()}):
        found = [kept for part in parts if (kept := part.tensors(name)) is not None]
        assert len(found) == world, f"a process has not kept {name}"
        whole = {key: interleaved([one[key] for one in found]) for key in found[0]}
        steps.keep_tensors(name, whole)


def interleaved(parts: Sequence[Tensor]) -> Tensor:
    """Tensors (…, n) of the parts as one (…, N): entry i comes from part i % world."""
    shape = (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))
    whole = torch.empty(shape, dtype=parts[0].dtype)
    for rank, part in enumerate(parts):
        whole[..., rank :: len(parts)] = part
    return whole


def _process(asked: config.Evaluate, device: str, folder: Path) -> None:
    """One process of several."""
    rank, world, own = member(device)
    with silenced():  # whoever started us has made the same job, and said what there was to say
        job = job_of(asked)
    must_be_known(Steps(folder), {"test": job.test})
    tallies(job.to(own), shard(Steps(folder), rank, world), (rank, world))
