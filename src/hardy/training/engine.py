"""The only file that knows the distributed engine, Lightning Fabric: devices, processes,
precision, the wrapping of networks and the backward pass. Importing it takes a second; nothing
that does not train does."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hardy import console
from hardy.compiled import Compiled, forget
from hardy.modes import batchnorms, frozen

T = TypeVar("T")

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
}

# Buffers are synced once an epoch: broadcast in every forward pass they would be overwritten
# while the graph of another pass of the same step still needs them.
_SYNCS = ("forward_sync_buffers", "broadcast_buffers")  # its newer name, its older one
_KNOWN = inspect.signature(DistributedDataParallel).parameters
UNSYNCED: dict[str, Any] = {next(name for name in _SYNCS if name in _KNOWN): False}

# Fabric announces its precision each time one is made; our own lines say what runs.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)


class Engine:
    """One process of a run.

    precision: 'fp32' or 'bf16' (autocast; weights and losses stay fp32). devices: how many of
    this machine the run takes, a process each (see `processes`). Under torchrun it is torchrun
    that says so, for every machine, and `torchrun` is true. On CPUs the processes share the
    cores equally, unless OMP_NUM_THREADS is set. compiled: the network is compiled for attacks and
    for the outer loss (see `hardy.compiled`).

    Raises ValueError for another precision, and where there are not as many devices.
    """

    def __init__(
        self,
        device: torch.device,
        precision: str = "fp32",
        devices: int = 1,
        compiled: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        self.precision, self.compiled = precision, compiled
        local, nodes = _torchrun(devices) or (devices, 1)
        self.torchrun = "TORCHELASTIC_RUN_ID" in os.environ
        self.world = local * nodes
        if self.several:
            _must_exist(local, device)
        numbered = device.type == "cuda" and device.index is not None
        self.fabric = Fabric(
            accelerator=device.type,
            devices=[device.index] if numbered else local,
            num_nodes=nodes,
            precision=PRECISIONS[precision],
            strategy=DDPStrategy(**UNSYNCED) if self.several else "auto",
            # Named, for it would otherwise be guessed, on a cluster wrongly.
            plugins=TorchElasticEnvironment() if self.torchrun else LightningEnvironment(),
        )

    def __str__(self) -> str:
        count = f"{self.world} processes on " if self.several else ""
        return f"{count}{self.device.type}"

    @property
    def several(self) -> bool:
        """Whether the run has more than one process."""
        return self.world > 1

    def launch(self) -> None:
        """Join the other processes of the run. All but the first are silent from here on."""
        if self.several:
            self.fabric.launch()
        if not self.first:
            console.silence()

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.fabric.device

    @property
    def rank(self) -> int:
        """Which process of the run this is, from 0 to world - 1."""
        return self.fabric.global_rank

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def quick(self, model: nn.Module) -> nn.Module:
        """The network as this run computes it: compiled, or as it is."""
        if not self.compiled:
            return model
        forget()
        return Compiled(model)

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
        """The network as the outer loss must call it."""
        return self.fabric.setup(model, optimizer)[0]

    def autocast(self) -> AbstractContextManager[None]:
        """The run's precision around a call of the bare network."""
        return self.fabric.autocast()

    @contextmanager
    def attacking(self, module: nn.Module) -> Iterator[None]:
        """Around an attack on a network, whose weights it neither moves nor differentiates: they
        are cast to the run's precision once, and not again in each forward pass."""
        # Compiled, they would each cost their gradient all the same. Else they must need one, or
        # autocast does not keep what it has cast. Disabled, it computes nothing otherwise, but
        # it is kept until the end.
        with (
            frozen(module) if self.compiled else nullcontext(),
            torch.autocast(self.device.type, enabled=False),
        ):
            yield

    def backward(self, loss: Tensor) -> None:
        """The backward pass of the outer loss."""
        self.fabric.backward(loss)

    def accumulating(self, student: Any, whether: bool) -> AbstractContextManager[Any]:
        """Where gradients are only added up and not yet exchanged between processes."""
        if not (whether and self.several):
            return nullcontext()
        return self.fabric.no_backward_sync(student)

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The mean of each tensor over the processes; a collective call."""
        if not self.several or not tensors:
            return list(tensors)
        flat = torch.cat([t.detach().reshape(-1) for t in tensors])
        torch.distributed.all_reduce(flat)
        parts = (flat / self.world).split([t.numel() for t in tensors])
        return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every process, of the same shape in all, by rank; a collective call."""
        if not self.several:
            return [tensor]
        here = tensor.to(self.device)
        found = [torch.empty_like(here) for _ in range(self.world)]
        torch.distributed.all_gather(found, here)
        return [each.to(tensor.device) for each in found]

    def from_first(self, value: T) -> T:
        """The first process's value; a collective call."""
        return self.fabric.broadcast(value) if self.several else value

    @torch.no_grad()
    def sync_batchnorm(self, model: nn.Module) -> None:
        """Give every process the mean of BatchNorm's running statistics over all of them."""
        buffers = [
            buffer
            for module in batchnorms(model)
            for buffer in module.buffers(recurse=False)
            if buffer.is_floating_point()
        ]
        if self.several:
            for buffer, value in zip(buffers, self.mean(buffers), strict=True):
                buffer.copy_(value)


def _torchrun(devices: int) -> tuple[int, int] | None:
    """Processes on this machine and machines, where torchrun started this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    if devices not in (1, local):
        raise ValueError(
            f"torchrun started {local} processes on this machine, and --devices {devices} asks for "
            "another number: leave --devices out"
        )
    return local, int(os.environ["WORLD_SIZE"]) // local


def _must_exist(local: int, device: torch.device) -> None:
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"--device {device} takes one process: leave --devices out, or take --device cpu"
        )
    if device.type == "cpu":
        return
    if device.index is not None:
        raise ValueError(
            f"{local} processes take a GPU each, from the first on: give --device cuda, not "
            f"{device}; CUDA_VISIBLE_DEVICES chooses among them"
        )
    if local > (there := torch.cuda.device_count()):
        raise ValueError(
            f"{local} processes need a GPU each, and this machine shows {there}: give "
            f"--devices {there}, or --device cpu"
        )
