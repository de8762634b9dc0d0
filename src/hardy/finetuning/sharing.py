"""Share the modules of a network out, so that their criticality takes each process as long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn

from hardy.evaluation.footprint import operations
from hardy.finetuning.subgraphs import dependents, without_gradients
from hardy.finetuning.suffix import weight_of
from hardy.finetuning.tracing import traced
from hardy.modes import evaluating


def shared_out(
    model: nn.Module, picture: Tensor, names: Sequence[str], count: int
) -> list[list[str]]:
    """The names in `count` lists of about the same cost (see `costs`), each in the order given;
    the same each time. picture: (1, C, H, W)."""
    cost = costs(model, picture, names)
    lists: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(names, key=lambda name: -cost[name]):
        lists[lists.index(min(lists, key=lambda own: sum(cost[n] for n in own)))].append(name)
    return [sorted(own, key=list(names).index) for own in lists]


def costs(model: nn.Module, picture: Tensor, names: Sequence[str]) -> Mapping[str, float]:
    """The operations, for one picture, of the part of the network that depends on each module:
    what a forward pass of an ascent's step takes, and its backward pass in proportion. All equal
    where the network cannot be traced. picture: (1, C, H, W)."""
    try:
        with evaluating(model):
            graph, _ = traced(model)
            counted = _Counting(graph)
            with without_gradients():
                counted.run(picture.clone())
    except Exception:  # a tracer meets arbitrary code: any failure means the same
        return dict.fromkeys(names, 1.0)
    parts = {name: dependents(graph, [weight_of(model, name)]) for name in names}
    return {name: 1.0 + sum(counted.found[node] for node in part) for name, part in parts.items()}


class _Counting(fx.Interpreter):
    """Runs a graph and counts the operations of each of its nodes."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.found: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = []
        self.found[n] = operations(lambda: value.append(super(_Counting, self).run_node(n)))
        return value[0]
