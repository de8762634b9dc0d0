"""Which layers the logits of a network are made by: their graph, walked back from its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from hardy.modes import evaluating

# Sizes of pictures that networks are made for, the most usual first.
SIZES = (32, 224, 28, 64, 8, 299, 384)


def made_by(
    model: nn.Module, layers: dict[str, nn.Linear | nn.Conv2d], picture: Tensor | None = None
) -> tuple[Tensor, list[str]]:
    """The logits (1, K) of a picture in eval mode, and those of the layers that every way back
    from them meets first, by name in the order of execution.

    picture: pixels (1, C, H, W) that the network takes; without it one is made up. The network
    and torch's random state stay as they are. Raises ValueError where what it gives is no logits.
    """
    made: dict[Any, str] = {}  # nodes of the graph
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.enable_grad())
        for name, layer in layers.items():

            def keep(_: nn.Module, __: object, out: Tensor, name: str = name) -> None:
                made[out.grad_fn] = name

            stack.callback(layer.register_forward_hook(keep).remove)
        logits = _logits(model, picture)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.grad_fn is None:
        what = (
            f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        )
        raise ValueError(
            f"{type(model).__name__} must give logits (1, classes) that can be differentiated "
            f"for one picture, not {what}"
        )
    return logits, _nearest_made(logits, made)


def _logits(model: nn.Module, picture: Tensor | None) -> Any:
    like = next(model.parameters(), torch.zeros(()))
    if picture is not None:
        return model(_recorded(picture.to(like)))
    for x in _pictures(model):
        try:
            return model(_recorded(x.to(like)))
        except (RuntimeError, ValueError, AssertionError):  # made for pictures of another size
            continue
    raise ValueError(
        f"{type(model).__name__} takes no picture of {', '.join(map(str, SIZES))} pixels: give "
        "head_of a picture that it takes"
    )


def _recorded(picture: Tensor) -> Tensor:
    """A copy from which a graph begins even where every weight is frozen, and on which a network
    may work in place."""
    return picture.detach().clone().requires_grad_() + 0


def _pictures(model: nn.Module) -> Iterator[Tensor]:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    for channels in (3, 1) if first is None else (first.in_channels,):
        for size in SIZES:
            yield torch.full((1, channels, size, size), 0.5)


def _nearest_made(logits: Tensor, made: dict[Any, str]) -> list[str]:
    """The layers that a way back from the logits meets first, in the network's order."""
    found, seen, stack = set(), set(), [logits.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in made:
            found.add(made[node])
        else:
            stack += [before for before, _ in node.next_functions]
    return [name for name in dict.fromkeys(made.values()) if name in found]
