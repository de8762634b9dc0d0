"""Context managers over a network's state. Each restores what it found, module by module:
a blanket `.train()` afterwards would wake a BatchNorm that was frozen on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
BATCHNORMS = (nn.modules.batchnorm._BatchNorm,)


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Eval mode inside (running statistics in BatchNorm, no dropout)."""
    before = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def only_trainable(model: nn.Module, names: frozenset[str] | None) -> Iterator[None]:
    """Exactly the parameters named in `names` require gradients inside (None: as they are)."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        if names is not None:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name in names)
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient inside."""
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(only_trainable(model, frozenset()))
        yield


def batchnorms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Every BatchNorm of a network."""
    return [module for module in model.modules() if isinstance(module, BATCHNORMS)]


@contextmanager
def kept_batchnorm(*models: nn.Module) -> Iterator[None]:
    """BatchNorm's running statistics come back as they were, to the bit: an attack that
    runs in train mode must not teach the network the statistics of its iterates."""
    before = [
        (buffer, buffer.clone())
        for model in models
        for module in batchnorms(model)
        for buffer in module.buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for buffer, value in before:
            # Through .data, as BatchNorm's own update: a graph recorded before stays valid.
            buffer.data.copy_(value)


def attacked_in(mode: Literal["eval", "train"], *models: nn.Module) -> AbstractContextManager[None]:
    """The mode of networks while they are attacked: eval, or as they are with BatchNorm's
    running statistics put back afterwards."""
    return evaluating(*models) if mode == "eval" else kept_batchnorm(*models)


def clean_and_attacked(
    forward: Forward, x: Tensor, x_adv: Tensor, forwards: Literal["separate", "joint"]
) -> tuple[Tensor, Tensor]:
    """The logits of the pictures and of their attacked twins, (B, K) each.

    In train mode BatchNorm sees them in two batches of their own ('separate', as the official
    codes of TRADES, MART and SCORE) or in one ('joint'): other statistics, another network.
    """
    if forwards == "separate":
        return forward(x), forward(x_adv)
    logits, logits_adv = forward(torch.cat([x, x_adv])).chunk(2)
    return logits, logits_adv


def freeze_batchnorm(model: nn.Module) -> None:
    """Put every BatchNorm of a network in eval mode, the rest as it is: its running
    statistics are used and do not move."""
    for module in batchnorms(model):
        module.eval()


@contextmanager
def without_tf32() -> Iterator[None]:
    """Single precision that is one inside: a GPU would else run convolutions in TF32, which
    keeps ten bits, and what is called full precision would not be."""
    convolutions: Any = torch.backends.cudnn
    products: Any = torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """The autocast of a precision: 'bf16' runs the heavy operators in bfloat16, anything
    else changes nothing."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16")


def forward_in(model: nn.Module, device: torch.device | str, precision: str) -> Forward:
    """The bare network under that autocast, from pixels to logits."""

    def forward(x: Tensor) -> Tensor:
        with autocast(device, precision):
            return model(x)

    return forward
