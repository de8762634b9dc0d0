"""hardy train --dry-run: what the run would cost, measured on a few of its own steps."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hardy import config
from hardy.attacks.active_set import Stage, cascade
from hardy.console import say
from hardy.data.augment import augment_of
from hardy.data.loader import batch_count
from hardy.data.splits import Split
from hardy.evaluation.footprint import forward_operations
from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.evaluation.robustness import Protocol, rightly
from hardy.modes import evaluating, forward_in, frozen
from hardy.training import cost
from hardy.verbs.training.job import Job
from hardy.verbs.training.taught import measurable, nets_of

if TYPE_CHECKING:
    from hardy.training.loop import Loop

COUNTED, ARITHMETIC = "counted", "arithmetic"


def estimated(asked: config.Train, job: Job, device: torch.device) -> Results:
    """What a run would cost, as results without a folder; nothing is written, and the job's own
    network is left as it is.

    Their measurements, by quantity and subject:

    - parameters: 'all', 'trainable'.
    - operations: 'forward' (F, of one picture), 'step' (of one picture, averaged over a batch;
      its setting `forwards` says it in units of F), 'batch' (of an optimizer step of the run).
    - steps: 'epoch', 'run'.
    - memory, in bytes on each device: what stands there all the time by its kind, 'activations'
      at their peak, 'total'.
    - seconds: 'step', 'compilation' (once, with compile), 'epoch' (of training), 'validation'
      (after each epoch), 'test', 'run'.
    - operations per second: 'step', 'matrix product' (what this device reaches at best).

    In place of an interval each says how it came about. Facts name the run, and notes say what
    was assumed. Raises ValueError where a step does not fit into memory, where the batch
    cannot be shared by the devices, and under torchrun.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ValueError("--dry-run takes one process: leave torchrun out, and give --devices")

    from hardy.training.engine import Engine
    from hardy.training.loop import started

    # Also where this machine has fewer: the batch must be one that they can share.
    share = (0, asked.devices)
    batch_count(job.train, asked.batch_size, True, mix=job.settings.mix, part=share)
    say(f"dry run of {job.method!r} on {job.data!r}, {job.attack!r}, {device}")
    job = replace(job, model=copy.deepcopy(job.model)).to(device)

    def begun(compiled: bool) -> Loop:
        here = replace(job, model=copy.deepcopy(job.model))  # some methods rebuild it
        return started(
            Engine(device, asked.precision, compiled=compiled),
            nets_of(asked, here, remember=False),
            job.method,
            job.attack,
            job.train,
            augment_of(job.data, asked.augment),
            replace(job.settings, cuda_graphs=False),  # in a graph no operation is counted
            job.subject,
        )

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        loop = begun(compiled=False)
        sheet = _Sheet(asked, job, loop.steps)
        picture = job.train.pixels(slice(0, 1))
        forward = forward_operations(job.model, picture)
        memory = cost.standing(loop, _tensors(job))
        step, compilation = cost.step_cost(loop, asked.devices), 0.0
        if asked.compile:
            compilation, timing = cost.compiled_timing(begun(compiled=True), asked.devices)
            step = replace(step, timing=timing)
        reestimation = 0.0
        if (average := loop.average) and average.settings.batchnorm == "reestimated":
            x = next(loop.batches(0)).x[: step.pictures]
            reestimation = cost.timed(
                lambda: average.after_epoch(loop.nets.module, 1.0, [x]), device
            ).seconds
        judging = _judging(loop.deployed()["live"], job.data.val, job.protocol, device)
        exact = replace(job.protocol, precision="fp32")
        teachers = [
            _judging(measurable(asked, job, role), job.data.val, exact, device)
            for role in (job.teachers if asked.teacher_pictures else ())
        ]
        product = cost.product_rate(device, asked.precision)
    sheet.size(loop.nets.module, forward)
    sheet.work(step, forward)
    sheet.memory(memory, step)
    sheet.time(step, compilation, reestimation, judging, teachers)
    sheet.rate(step, product)
    return sheet.results


def _judging(
    model: nn.Module, split: Split, protocol: Protocol, device: torch.device
) -> tuple[float, float]:
    """Seconds per picture of a clean verdict, and of one restart of the attack on a picture
    that stands, in batches of the run's size."""
    part = split.take(slice(0, protocol.batch_size))
    search = forward_in(model, device, protocol.precision)
    standing = torch.ones(len(part), dtype=torch.bool, device=device)

    def attack() -> None:
        cascade(
            search,
            [Stage("a restart", (protocol.attack,))],
            part,
            standing,
            seed=protocol.seed,
            batch_size=protocol.batch_size,
            judge=model,
        )

    what = f"an attack on {len(part)} pictures"
    with evaluating(model), frozen(model), cost.must_fit(what, device):
        clean = cost.timed(lambda: rightly(model, part, protocol.batch_size), device)
        attacked = cost.timed(attack, device)
    return clean.seconds / len(part), attacked.seconds / len(part)


def _tensors(job: Job) -> Iterator[Tensor]:
    for split in (job.train, job.data.train, job.data.val, job.data.test):
        yield from (split.labels, split.index)
        if isinstance(split.images, Tensor):  # else a few batches are there, never all
            yield split.images


class _Sheet:
    """The results, filled in line by line."""

    def __init__(self, asked: config.Train, job: Job, steps: int) -> None:
        self.asked, self.job, self.steps = asked, job, steps
        self.results = Results("train")
        self.results.facts = {
            "dry run": True,
            "model": job.architecture.title,
            "data": job.data.name,
            "method": repr(job.method),
            "attack": repr(job.attack),
            "precision": asked.precision,
            "devices": asked.devices,
        }

    def size(self, model: nn.Module, forward: int) -> None:
        parameters = list(model.parameters())
        self._add("parameters", "all", sum(p.numel() for p in parameters), COUNTED)
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        self._add("parameters", "trainable", trained, COUNTED)
        self._add("operations", "forward", forward, COUNTED)

    def work(self, step: cost.StepCost, forward: int) -> None:
        counted = f"counted in a step of {step.counted_on} pictures"
        in_forwards = step.operations / forward
        self._add("operations", "step", step.operations, counted, forwards=in_forwards)
        whole = step.operations * step.pictures * self.asked.devices
        self._add("operations", "batch", whole, counted)
        self._add("steps", "epoch", self.steps, ARITHMETIC)
        self._add("steps", "run", self.steps * self.asked.epochs, ARITHMETIC)

    def memory(self, standing: dict[str, int], step: cost.StepCost) -> None:
        for kind, size in standing.items():
            self._add("memory", kind, size, ARITHMETIC)
        how = "measured peak" if step.measured else "estimated"
        self._add("memory", "activations", step.activations, how)
        self._add("memory", "total", sum(standing.values()) + step.activations, how)
        if not step.measured:
            self.results.notes.append(
                "Activations are what autograd keeps for the backward pass. The true peak is "
                "higher by scratch memory, by gradients on their way, and by what the method "
                "holds beside them, such as the perturbation of AWP."
            )

    def time(
        self,
        step: cost.StepCost,
        compilation: float,
        reestimation: float,
        judging: tuple[float, float],
        teachers: list[tuple[float, float]],
    ) -> None:
        asked, job, notes = self.asked, self.job, self.results.notes
        runs = step.timing.runs
        how = f"median of {runs} steps" if runs > 1 else "one step"
        self._add("seconds", "step", step.timing.seconds, how)
        if compilation:
            self._add("seconds", "compilation", compilation, "the first two steps")
            notes.append(
                "Operations and activations are those of the network as it is written; only the "
                "time is that of the compiled one. Other graphs, such as those of a last part of "
                "another size, are compiled when they are met."
            )
        epoch = self.steps * (step.timing.seconds + reestimation)
        kinds = 2 if job.settings.average else 1
        validation = kinds * self._judged(job.data.val, asked.val_pictures, 1, judging)
        again = asked.epochs > 1  # the last epoch, where it is not the best
        test = (kinds + again) * self._judged(
            job.data.test, asked.test_limit, asked.restarts, judging
        )
        self._add("seconds", "epoch", epoch, "from the seconds of a step")
        at_most = "at most, from the seconds of a batch"
        self._add("seconds", "validation", validation, at_most)
        self._add("seconds", "test", test, at_most)
        whole = compilation + asked.epochs * (epoch + validation) + test
        if teachers:
            # Each before the run and after it, with the student's own examples once.
            counts = [min(asked.teacher_pictures, len(s)) for s in (job.data.val, job.data.test)]
            measured = sum(counts) * sum(
                clean + asked.restarts * attacked + judging[1] for clean, attacked in teachers
            )
            self._add("seconds", "teachers", measured, at_most)
            whole += measured
        self._add("seconds", "run", whole, "from the seconds of its parts")
        notes.append(
            "Validation and test take at most this long: every picture is taken to withstand "
            "each restart of the attack, and the last epoch not to be the best."
        )
        if asked.devices > 1:
            notes.append(
                f"One process was measured, with its {step.pictures} pictures of each batch. "
                f"The time assumes {asked.devices} devices like this one, which exchange "
                "gradients in no time: take it as the least."
            )
        if asked.probe_epochs:
            notes.append(
                f"The first {asked.probe_epochs} epochs, of the head alone, are taken to last as "
                "long as the others."
            )
        if asked.awp and asked.awp_warmup:
            notes.append(
                f"The first {asked.awp_warmup} epochs, without AWP, will be faster than this."
            )

    def rate(self, step: cost.StepCost, product: float) -> None:
        rate = step.operations * step.pictures / step.timing.seconds
        how = "counted operations by measured seconds, on one device"
        self._add("operations per second", "step", rate, how, share=rate / product)
        self._add("operations per second", "matrix product", product, how)

    def _judged(
        self, split: Split, limit: int | None, restarts: int, judging: tuple[float, float]
    ) -> float:
        count = len(split) if limit is None else min(limit, len(split))
        clean, attacked = judging
        return -(-count // self.asked.devices) * (clean + restarts * attacked)

    def _add(self, quantity: str, subject: str, value: float, how: str, **setting: Scalar) -> None:
        train = self.job.train
        self.results.measurements.append(
            Measurement(
                quantity,
                value,
                "train",
                len(train),
                subject,
                no_interval=how,
                setting={"batch_size": self.asked.batch_size, **setting},
            )
        )
