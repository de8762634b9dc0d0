"""Share the modules of a network out to several processes, and join what they measure.

Each process makes the adversarial examples of some of the batches that one process alone would
make, and hands them to the others as files; then it measures its modules, which cost it about as
much as the others theirs, on all of them.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from hardy import config
from hardy.console import say, silenced
from hardy.data.splits import DataSet
from hardy.evaluation.robustness import adversarial
from hardy.evaluation.steps import Steps
from hardy.finetuning.mrc import candidates
from hardy.finetuning.sharing import shared_out
from hardy.training.processes import in_processes, packed
from hardy.verbs.asked.inputs import checkpoint_of, data_of
from hardy.verbs.criticality.job import Job, job_of
from hardy.verbs.runs.members import JOINED, member, must_start, shard
from hardy.verbs.runs.same import must_be_known

KEPT = ("mrc", "mrc notes")  # by `finetuning.rift.criticalities`, as lists
EXAMPLES = "adversarial examples"
PATIENCE = 0.05  # seconds between two looks for the examples of another process


def check_devices(verb: str, asked: config.Shared, model: nn.Module, device: torch.device) -> None:
    """Raises ValueError where the processes of --devices cannot be started, or would have no
    modules."""
    must_start(verb, device, asked.precision, asked.devices)
    if (count := len(candidates(model))) < asked.devices:
        raise ValueError(
            f"--devices {asked.devices} cannot share {count} modules: give fewer devices"
        )


def measure_in_shards(asked: config.Shared, device: torch.device, steps: Steps) -> None:
    """Measure in --devices processes, and join what they found into `steps`."""
    if steps.json(JOINED) is not None:
        return
    assert steps.folder is not None, "a run folder keeps its steps"
    in_processes(packed(_process, asked, device.type), asked.devices, steps.folder)
    for name in KEPT:
        parts = [shard(steps, r, asked.devices).json(name) or [] for r in range(asked.devices)]
        whole = [one for part in parts for one in part]
        steps.keep_json(name, list(dict.fromkeys(whole)) if name == "mrc notes" else whole)
    steps.keep_json(JOINED, asked.devices)


def _process(asked: config.Shared, device: str, folder: Path) -> None:
    """One process of several."""
    rank, world, own = member(device)
    with silenced():  # whoever started us has said what there was to say
        data = data_of(asked, asked.limit)
        net = checkpoint_of(asked, data, own)
    steps = Steps(folder)
    _must_be_known(steps, data)
    job = job_of(asked, data, own)
    model = net.model
    modules = shared_out(model, job.sample.pixels(slice(0, 1)), candidates(model), world)[rank]
    every = job.found(
        model,
        shard(steps, rank, world),
        say,
        lambda _: None,  # kept, and said by whoever joins
        modules=modules,
        x_adv=lambda: examples(job, model, steps, (rank, world)).to(own),
        copies=world if own.type == "cpu" else 1,
    )
    for _ in every:
        pass


def _must_be_known(steps: Steps, data: DataSet) -> None:
    must_be_known(steps, {"train": data.train, "test": data.test})


def examples(job: Job, model: nn.Module, steps: Steps, part: tuple[int, int]) -> Tensor:
    """The adversarial examples of all pictures: of the batches of this process (rank, world), which
    are made here, and of those that the others make meanwhile. Batch i belongs to rank i % world,
    so that every batch, and so every bit, is what one process alone would make."""
    rank, world = part
    own = shard(steps, rank, world)
    batches = torch.arange(len(job.sample)).split(job.protocol.batch_size)
    rows = [torch.cat([torch.empty(0, dtype=torch.long), *batches[r::world]]) for r in range(world)]
    if own.tensors(EXAMPLES) is None:
        mine = job.sample.pixels(slice(0, 0))
        if len(rows[rank]):
            mine = adversarial(model, job.sample.take(rows[rank]), job.protocol)
        own.keep_tensors(EXAMPLES, {"x_adv": mine})
    parts = [_awaited(shard(steps, other, world)) for other in range(world)]
    whole = torch.empty(len(job.sample), *parts[0].shape[1:])
    for where, found in zip(rows, parts, strict=True):
        whole[where] = found
    return whole


def _awaited(steps: Steps) -> Tensor:
    """The examples that another process keeps as soon as it has made them. It is ended with all
    others where one fails, so that none waits for what never comes."""
    while (found := steps.tensors(EXAMPLES)) is None:
        time.sleep(PATIENCE)
    return found["x_adv"]
