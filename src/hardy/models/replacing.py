"""One kind of module in the place of another, wherever a network uses it."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn


def replaced(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], make: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """A copy in which make(module) stands for every module of these kinds, once for each of them
    wherever it is used. What is inside such a module is left to `make`."""
    model = copy.deepcopy(model)
    made: dict[nn.Module, nn.Module] = {}
    whole = None  # the path of the last one, within which nothing is looked for
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if not isinstance(module, kinds) or (whole is not None and path.startswith(f"{whole}.")):
            continue
        whole = path
        if module not in made:
            made[module] = make(module)
        parent, _, name = path.rpartition(".")
        if not path:
            return made[module]
        setattr(model.get_submodule(parent), name, made[module])
    return model
