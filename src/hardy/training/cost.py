"""What a training run costs: operations, memory and time, counted and measured on its own steps,
so that nothing here knows what a method does in one.

    Operations, and F, are those of evaluation.footprint. A pass to the input alone (a step of
    PGD) costs 2F, a training step 3F, less in the first layer: there the gradient to the
    pictures is not taken. So PGD-AT with n steps costs (2n + 3) F - F_1 a picture, F_1 the
    forward operations of the first layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from hardy.data.loader import Batch
from hardy.evaluation.footprint import Timing, operations, timed
from hardy.memory import must_fit
from hardy.modes import freeze_batchnorm

if TYPE_CHECKING:
    from hardy.training.loop import Loop

# Pictures of a part when few are enough: BatchNorm may need two, and a method may halve them.
FEW = 4


@dataclass(frozen=True)
class StepCost:
    """What an optimizer step costs one process.

    pictures: in its share of a batch. operations: per picture, counted on `counted_on` of them.
    activations: bytes beside what stands in memory anyway; measured says whether that is the
    device's own peak, or what autograd keeps for the backward pass.
    """

    pictures: int
    operations: float
    counted_on: int
    activations: int
    measured: bool
    timing: Timing


def step_cost(loop: Loop, devices: int = 1) -> StepCost:
    """The cost of a step of a run that has not begun, which is not to be used afterwards: real
    steps are made with a learning rate of 0, as late as at the end of the run, when nothing
    warms up any more.

    devices: among how many equal processes each batch is shared. Raises ValueError where a step
    does not fit into the device's memory.
    """
    pictures = loop.settings.batch_size // devices
    more = "cut it into more parts with --accumulate, or "
    with must_fit(f"a step of {pictures} pictures", loop.engine.device, more):
        return _step_cost(loop, devices)


def _step_cost(loop: Loop, devices: int) -> StepCost:
    module, device = loop.nets.module, loop.engine.device
    module.train()
    if loop.settings.batchnorm == "frozen":
        freeze_batchnorm(module)
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    feed = _shares(loop, devices)
    whole = next(feed)
    few = _part(whole, FEW * loop.settings.accumulate)
    counted = operations(lambda: _step(loop, few))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    timing = timed(lambda: _step(loop, next(feed)), device)
    if device.type == "cuda":
        moving = standing(loop)
        peak = torch.cuda.max_memory_allocated(device) - before
        activations = peak - moving["gradients"] - moving["momentum"]
    else:
        activations = kept_by_step(loop, whole)
    per_picture = counted / len(few)
    measured = device.type == "cuda"
    return StepCost(len(whole), per_picture, len(few), activations, measured, timing)


def compiled_timing(loop: Loop, devices: int = 1) -> tuple[float, Timing]:
    """The seconds of the first step of a run that compiles, and the timing of the later ones; as
    `step_cost`, which cannot look into what is compiled."""
    loop.nets.module.train()
    feed = _shares(loop, devices)
    began = time.perf_counter()
    for _ in range(2):  # the second meets the optimizer's state
        _step(loop, next(feed))
    return time.perf_counter() - began, timed(lambda: _step(loop, next(feed)), loop.engine.device)


def _shares(loop: Loop, devices: int) -> Iterator[Batch]:
    """One process's batches without end."""
    epoch = 0
    while True:
        for batch in loop.batches(epoch):
            yield batch.take(slice(0, len(batch) // devices))
        epoch += 1


def _step(loop: Loop, batch: Batch) -> None:
    loop.step(batch, loop.steps * loop.settings.epochs - 1, 0.0)


def _part(batch: Batch, count: int) -> Batch:
    """The first pictures of a batch, without holding the others in memory."""
    part = batch.take(slice(0, count))
    return replace(part, x=part.x.clone(), y=part.y.clone())


def kept_by_step(loop: Loop, batch: Batch) -> int:
    """The most bytes that autograd holds at once in a step with that batch: found with few
    pictures and twice as many, and drawn on in a straight line."""
    networks = [loop.nets.module, *loop.nets.teachers.values()]
    weights = [tensor for network in networks for tensor in _state(network)]

    def with_first(count: int) -> int:
        part = _part(batch, count)
        return kept(lambda: _step(loop, part), weights)

    few = FEW * loop.settings.accumulate
    if len(batch) <= 2 * few:
        return with_first(len(batch))
    one, two = with_first(few), with_first(2 * few)
    return round(one + (two - one) * (len(batch) - few) / few)


def kept(work: Callable[[], object], aside: Iterable[Tensor] = ()) -> int:
    """The most bytes that autograd keeps at once for backward passes, the tensors `aside` not
    counted: parameters stand in memory anyway.

    Shared storage counts once. What a pass needs beside it (gradients of activations, an
    operator's scratch memory) is not seen, so the true peak lies higher.
    """
    ledger = _Ledger({tensor.untyped_storage().data_ptr() for tensor in aside})
    with saved_tensors_hooks(lambda tensor: _Kept(tensor, ledger), lambda kept: kept.tensor):
        work()
    return ledger.peak


class _Ledger:
    """How often each storage is held, and the bytes of all of them."""

    def __init__(self, aside: set[int]) -> None:
        self.aside = aside
        self.holders: dict[int, int] = {}
        self.now = self.peak = 0

    def change(self, storage: torch.UntypedStorage, by: int) -> None:
        key = storage.data_ptr()
        if key in self.aside:
            return
        before = self.holders.get(key, 0)
        self.holders[key] = before + by
        if 0 in (before, before + by):
            self.now += by * storage.nbytes()
            self.peak = max(self.peak, self.now)


class _Kept:
    """A tensor while a graph holds it."""

    def __init__(self, tensor: Tensor, ledger: _Ledger) -> None:
        self.tensor, self.ledger = tensor, ledger
        ledger.change(tensor.untyped_storage(), 1)

    def __del__(self) -> None:
        self.ledger.change(self.tensor.untyped_storage(), -1)


def standing(loop: Loop, data: Iterable[Tensor] = ()) -> dict[str, int]:
    """The bytes that are in memory all through a run, by what they are: arithmetic.

    data: the tensors of the data set, which lie on the device; shared ones count once.
    """
    settings, nets = loop.settings, loop.nets
    moving = [p for group in loop.optimizer.param_groups for p in group["params"]]
    found = {
        "weights": _bytes(_state(nets.module)),
        "gradients": _bytes(moving),
        "momentum": _bytes(moving) if settings.momentum else 0,
    }
    if loop.average:
        found["average"] = _bytes(_state(loop.average.module))
    if nets.teachers:
        found["teachers"] = _bytes(t for each in nets.teachers.values() for t in _state(each))
    return {**found, "data set": _bytes(data)}


def _state(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


def product_rate(device: torch.device, precision: str) -> float:
    """Operations per second of a large matrix product, a measure of what the device can do.

    It is written as a 1x1 convolution, for in fp32 a GPU may run convolutions in another
    precision (TF32) than matrix products, and it is convolutions that networks are made of.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    width, repeats = (4096, 20) if device.type == "cuda" else (1024, 1)
    x = torch.ones(16 if device.type == "cuda" else 4, width, 32, 32, device=device, dtype=dtype)
    x = x.to(memory_format=torch.channels_last)
    weight = torch.ones(width, width, 1, 1, device=device, dtype=dtype)

    def work() -> None:
        for _ in range(repeats):
            nn.functional.conv2d(x, weight)

    return operations(work) / timed(work, device).seconds
