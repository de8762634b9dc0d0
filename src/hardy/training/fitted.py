"""A step that memory was too small for is undone and made again in twice as many parts.

The batch stays what it was: its parts are smaller and their gradients are added up, as with
--accumulate. So the run goes on as one that was started with that many parts.

One process finds out by itself, in the middle of a step. Several cannot: one of them would stop
where the others wait for its gradients. They rehearse a step before the first one, each for
itself and as late in the run as can be, when nothing warms up any more, and agree afterwards; it
is the same step with the same shapes from there on. Where memory runs out later all the same
(another program takes it), the run ends with what to do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hardy.console import say
from hardy.data.loader import Batch
from hardy.memory import ran_out, tried
from hardy.modes import freeze_batchnorm

if TYPE_CHECKING:
    from hardy.training.loop import Loop


def fitted_step(loop: Loop, batch: Batch, step: int, lr: float) -> dict[str, Tensor]:
    """`loop.step`, in as many parts as memory needs: loop.accumulate.

    Raises ValueError where parts of one picture do not fit, or where there are several processes.
    """
    if loop.engine.several:
        return _together(loop, batch, step, lr)
    while True:
        undo = recorded(loop)
        found = tried(lambda: loop.step(batch, step, lr))
        if found is not None:
            return found[0]
        undo()
        cut_finer(loop, len(batch), step)


def rehearse(loop: Loop, epoch: int) -> None:
    """Find out, in several processes at once, in how many parts a step fits; a collective call
    that leaves nothing but loop.accumulate. epoch: whose first batch is taken.

    Raises ValueError, in all of them, where parts of one picture do not fit.
    """
    last = loop.steps * loop.settings.epochs - 1
    loop.nets.module.train()
    if loop.settings.batchnorm == "frozen":
        freeze_batchnorm(loop.nets.module)
    (batch,) = itertools.islice(loop.batches(epoch), 1)
    while True:
        # The copies of the weights also stand in for what the optimizer is yet to allocate.
        undo = recorded(loop, *loop.nets.module.parameters())
        fits = tried(lambda: loop.step(batch, last, 0.0, alone=True)) is not None
        undo()
        if all(bool(each) for each in loop.engine.gather(torch.tensor([fits]).byte())):
            return
        cut_finer(loop, len(batch), loop.steps * epoch)


def recorded(loop: Loop, *more: Tensor) -> Callable[[], None]:
    """A function that gives back to the bit what a step without its optimizer changes: the
    network's buffers, the generators that dropout draws from, and gradients. more: tensors that
    are to come back too. What a method perturbs around a step it puts back itself."""
    device = loop.engine.device
    # Small ones by the hundred: a copy of each would be a launch of its own in every step.
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for each in (*loop.nets.module.buffers(), *more):
        kinds.setdefault(each.dtype, []).append(each.detach())
    before = [(one, torch.cat([each.reshape(-1) for each in one])) for one in kinds.values()]
    generator = torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def undo() -> None:
        for tensors, flat in before:
            values = flat.split([each.numel() for each in tensors])
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value.view(tensor.shape))
        torch.set_rng_state(generator)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu, device)
        loop.optimizer.zero_grad(set_to_none=True)
        if loop.graphs is not None:
            loop.graphs.clear()

    return undo


def cut_finer(loop: Loop, pictures: int, step: int) -> None:
    """Twice as many parts from here on. Raises ValueError where they are of one picture already."""
    if loop.accumulate >= pictures:
        raise ValueError(
            f"{loop.label}: not even one picture at a time fits into the memory of "
            f"{loop.engine.device}: take a smaller network, smaller pictures or another --device"
        )
    before, loop.accumulate = loop.accumulate, 2 * loop.accumulate
    say(
        f"{loop.label}: memory ran out in step {step + 1} with {-(-pictures // before)} pictures "
        f"at once: from there on as with --accumulate {loop.accumulate}, the batch as it was"
    )


def _together(loop: Loop, batch: Batch, step: int, lr: float) -> dict[str, Tensor]:
    try:
        return loop.step(batch, step, lr)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        raise ValueError(
            f"{loop.label}: the memory of {loop.engine.device} ran out in step {step + 1}, though "
            "a rehearsed step had fitted, and several processes cannot make it again: go on with "
            "--resume from the last epoch when nothing else takes memory, or start anew with "
            f"--accumulate {2 * loop.accumulate}"
        ) from None
