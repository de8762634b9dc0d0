"""Parts of a network's graph (torch.fx), run alone on values that are kept.

A part is a list of nodes in the order of execution. What it reads of the rest is its boundary:

    graph, _ = traced(model)
    part = dependents(graph, [weight])              # all that moves with the weight
    part = closed(part, with_rows(graph, x[:1]))    # and what has no row for each picture
    values = subgraph(graph, [source(graph)], needed(boundary(part), {source(graph)}),
                      boundary(part))               # pictures -> the values that enter the part
    suffix = subgraph(graph, boundary(part), part)  # these values -> logits
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, fx, nn

from hardy.losses import cross_entropy

T = TypeVar("T")

ROUNDING = {False: 1e-3, True: 0.02}  # of a value's norm, without and with autocast to bfloat16


def source(traced: fx.GraphModule) -> fx.Node:
    """The node of the pictures."""
    return next(node for node in traced.graph.nodes if node.op == "placeholder")


def dependents(traced: fx.GraphModule, weights: Sequence[Tensor]) -> list[fx.Node]:
    """The nodes whose value depends on any of these weights, in order; tied and repeatedly called
    modules are found because it is the tensor, not the name, that is looked for."""
    found: dict[fx.Node, None] = {}
    for node in traced.graph.nodes:
        if any(holds(traced, node, w) for w in weights) or any(
            read in found for read in node.all_input_nodes
        ):
            found[node] = None
    return list(found)


def holds(traced: fx.GraphModule, node: fx.Node, weight: Tensor) -> bool:
    """Whether a node is, or calls a module that has, this very tensor."""
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        return any(parameter is weight for parameter in module.parameters())
    if node.op == "get_attr":
        owner, _, attribute = str(node.target).rpartition(".")
        return getattr(traced.get_submodule(owner), attribute) is weight
    return False


def closed(part: list[fx.Node], rows: set[fx.Node]) -> list[fx.Node]:
    """A part and, in order, what has to be computed again for it: whatever it reads that is not
    among `rows`, the values with a row for each picture (see `tracing.with_rows`)."""
    found, stack = set(part), list(part)
    while stack:
        for read in stack.pop().all_input_nodes:
            if read not in found and read not in rows and read.op != "get_attr":
                found.add(read)
                stack.append(read)
    return [node for node in part[0].graph.nodes if node in found] if part else []


def boundary(part: list[fx.Node]) -> list[fx.Node]:
    """The values that a part of the graph reads of the rest. Parameters and buffers are read
    afresh (get_attr nodes are run again): they are no values of a picture."""
    inside = set(part)
    reads = {i: None for node in part for i in node.all_input_nodes if i not in inside}
    return [node for node in reads if node.op != "get_attr"]


def needed(targets: Sequence[fx.Node], known: set[fx.Node]) -> list[fx.Node]:
    """The nodes to run, in order, for the targets' values where some are known."""
    found: set[fx.Node] = set()
    stack = list(targets)
    while stack:
        node = stack.pop()
        if node not in found and node not in known and node.op != "get_attr":
            found.add(node)
            stack.extend(node.all_input_nodes)
    return [node for node in targets[0].graph.nodes if node in found] if targets else []


def subgraph(
    traced: fx.GraphModule,
    inputs: Sequence[fx.Node],
    nodes: Sequence[fx.Node],
    outputs: Sequence[fx.Node] | None = None,
) -> fx.GraphModule:
    """A module that runs `nodes` on the values of `inputs`, one argument each; it shares traced's
    modules and parameters. outputs: the nodes whose values it returns, as a tuple; None: the
    network's own output."""
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    for i, node in enumerate(inputs):
        env[node] = graph.placeholder(f"value_{i}")
    for node in nodes:
        for read in node.all_input_nodes:
            if read not in env:
                assert read.op == "get_attr", f"{read} is neither given nor computed"
                env[read] = graph.node_copy(read)
        if node.op == "output":
            graph.output(fx.map_arg(node.args[0], lambda n: env[n]))
        else:
            env[node] = graph.node_copy(node, lambda n: env[n])
    if outputs is not None:
        graph.output(tuple(env[node] for node in outputs))
    return fx.GraphModule(traced, graph)


def sparing_inputs(graph: nn.Module, few: Sequence[Tensor]) -> Callable[[Iterable[Tensor]], Tensor]:
    """A part as a function that leaves the values it is given as they are: those that it changes
    in place (found on the values of a few pictures) are copied."""
    with without_gradients():
        _, in_place = on_copies(lambda copies: graph(*copies), few)
    return copying(graph, in_place)


def on_copies(work: Callable[[list[Tensor]], T], values: Sequence[Tensor]) -> tuple[T, list[bool]]:
    """What some work gives on copies of values, and which of them it changed in place, as their
    version counters say."""
    copies = [value.clone() for value in values]
    before = [value._version for value in copies]
    found = work(copies)
    return found, [v._version != old for v, old in zip(copies, before, strict=True)]


def copying(graph: nn.Module, in_place: Sequence[bool]) -> Callable[[Iterable[Tensor]], Tensor]:
    """A part as a function of its values, of which those that it changes in place are copied."""

    def run(values: Iterable[Tensor]) -> Tensor:
        return graph(*(v.clone() if copy else v for v, copy in zip(values, in_place, strict=True)))

    return run


def probe_gradients(logits: Callable[[], Tensor], weights: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of one fixed scalar of the logits, the cross-entropy to the first class: what two
    ways of computing the same logits are compared by."""
    with torch.enable_grad():
        out = logits()
        loss = cross_entropy(out, torch.zeros(len(out), dtype=torch.long, device=out.device)).sum()
        return list(torch.autograd.grad(loss, list(weights), allow_unused=True))


@contextmanager
def without_gradients() -> Iterator[None]:
    """No gradients, and attention as it is computed with them: the fast path that it takes
    otherwise rounds differently."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def near(kept: Tensor, fresh: Tensor) -> bool:
    """Whether two values are equal but for rounding."""
    if kept.shape != fresh.shape:
        return False
    rounding = ROUNDING[torch.is_autocast_enabled(fresh.device.type)]
    return bool((kept.float() - fresh.float()).norm() <= rounding * fresh.float().norm())
