"""The only file that knows the distributed engine, Lightning Fabric: devices, precision,
the wrapping of networks and the backward pass. Importing it takes a second; nothing that
does not train does."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
}


# Fabric announces its precision each time one is made; our own lines say what runs.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)


class Engine:
    """One process of a run on one device.

    precision: 'fp32' or 'bf16' (autocast; weights and losses stay fp32).
    """

    def __init__(self, device: torch.device, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        index = [device.index] if device.index is not None else 1
        self.fabric = Fabric(
            accelerator=device.type, devices=index, precision=PRECISIONS[precision]
        )
        self.device = device

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
        """The network as the outer loss must call it."""
        return self.fabric.setup(model, optimizer)[0]

    def autocast(self) -> AbstractContextManager[None]:
        """The run's precision around a call of the bare network."""
        return self.fabric.autocast()

    def backward(self, loss: Tensor) -> None:
        """The backward pass of the outer loss."""
        self.fabric.backward(loss)
