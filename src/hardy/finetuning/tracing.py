"""The data flow of a network as a torch.fx graph, and which of its values belong to pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn


class _Tracer(fx.Tracer):
    """torch.fx's tracer, but for modules of the opaque kinds, which are called as a whole.

    failed: the innermost module whose code could not be followed.
    """

    def __init__(self, opaque: set[type[nn.Module]]) -> None:
        super().__init__()
        self.opaque = opaque
        self.failed: nn.Module | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in self.opaque or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or m
            raise


def traced(model: nn.Module) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The network's graph, and the kinds of modules in it whose code branches on values, or does
    something else that cannot be followed: they are called as a whole.

    The model is left as it was. Raises whatever the tracer meets in the network's own forward.
    """
    opaque: set[type[nn.Module]] = set()
    before = set(vars(model))
    try:
        while True:
            tracer = _Tracer(opaque)
            try:
                graph = fx.GraphModule(model, tracer.trace(model))
                return graph, tuple(sorted(kind.__name__ for kind in opaque))
            except Exception:
                if tracer.failed is None:
                    raise
                opaque.add(type(tracer.failed))
    finally:
        # The tracer leaves the constants that it met on the network: the graph has its own.
        for name in set(vars(model)) - before:
            delattr(model, name)


def with_rows(graph: fx.GraphModule, picture: Tensor) -> set[fx.Node]:
    """The values that have a row for each picture, however many (2 and 3 are tried); not so are
    sizes, what is computed from weights alone, and tokens before pictures.

    picture: (1, C, H, W).
    """
    of_two, of_three = (_rows(graph, torch.cat([picture] * count)) for count in (2, 3))
    return of_two & of_three


def _rows(graph: fx.GraphModule, x: Tensor) -> set[fx.Node]:
    run = _Rows(graph, len(x))
    run.run(x)
    return run.found


class _Rows(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, count: int) -> None:
        super().__init__(graph)
        self.count = count
        self.found: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.shape[:1] == (self.count,):
            self.found.add(n)
        return value
