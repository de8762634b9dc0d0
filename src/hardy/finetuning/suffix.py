"""The part of a network that depends on one weight, run alone from cached values.

While MRC moves the weight of one module, everything that does not depend on it stays as it
is. `Suffixes` follows the data flow with torch.fx, keeps the values that enter the
dependent part and runs only that part, forward and backward:

    suffixes = Suffixes(model, x)                # x: every picture of the measurement
    logits_of = suffixes.cut("layer4.1.conv1")   # logits_of(rows) == model(x[rows])

The cut moves forward through the network from module to module, so the values of one cut
give those of the next and memory holds only what this cut and later ones need. Only values with
a row for each picture are kept: what else the dependent part reads, such as a size or a weight
that is reshaped, is computed again from them. Values that
the dependent part changes in place (an in-place ReLU, `out += x`) are found by their
version counters and handed out as copies.

A cut is used only after its gradient for a few pictures has equalled the full network's,
bit for bit, and after the kept values have equalled those of these few but for rounding
(kernels round by the size of the batch); otherwise, or where the network cannot be traced,
the full network is run and `note` is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

from hardy.finetuning.tracing import traced, with_rows
from hardy.losses import cross_entropy

LogitsOf = Callable[[slice | Tensor], Tensor]
Values = dict[fx.Node, Tensor]

PROBE = 8
ROUNDING = {False: 1e-3, True: 0.02}  # of a value's norm, without and with autocast to bfloat16


class Suffixes:
    """The suffixes of `model` (in eval mode, and left in it) for the pictures x.

    order: the names of the modules asked for, in the order of execution. chunk: pictures
    for which the values between two cuts are computed at once. note: is told, in a sentence,
    where and why the full network is run. enabled=False: it is run everywhere.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        names: Iterable[str],
        *,
        enabled: bool = True,
        chunk: int = 256,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.model, self.x, self.chunk, self.note = model, x, chunk, note
        # Never all pictures: a value without rows of its own would pass for one that has.
        self._few = slice(0, max(1, min(PROBE, len(x) - 1)))
        self._weights = {name: weight_of(model, name) for name in names}
        self._traced, self._with_rows = self._trace() if enabled else (None, set())
        self._dependents = {n: self._dependent_nodes(w) for n, w in self._weights.items()}
        self._suffixes = {n: self._with_what_has_no_rows(d) for n, d in self._dependents.items()}
        self._boundaries = {n: _boundary(s) for n, s in self._suffixes.items()}
        self.order = self._execution_order()
        self._values: Values = {}
        self._probe: list[Tensor | None] = []
        if self._traced is not None:
            self._probe = _gradients(lambda: self._full(self._few), list(self._weights.values()))

    def cut(self, name: str) -> LogitsOf:
        """A function from rows (a slice or indices) to the logits of those pictures, under
        whatever weight the module has when it is called."""
        if self._traced is None:
            return self._full
        if not self._dependents[name]:
            return self._fall_back(name, "the traced network does not use it")
        try:
            self._advance(name)
            return self._suffix(name)
        except Exception as error:  # a graph of arbitrary code: whatever fails, the model runs
            return self._fall_back(name, f"its suffix does not run alone ({type(error).__name__})")

    def _suffix(self, name: str) -> LogitsOf:
        assert self._traced is not None
        boundary = self._boundaries[name]
        graph = _subgraph(self._traced, boundary, self._suffixes[name])
        few = self._values_of_few(boundary)
        if not all(
            _near(self._values[n][self._few], v) for n, v in zip(boundary, few, strict=True)
        ):
            return self._fall_back(name, "its inputs depend on the other pictures of a batch")
        probe = [value.clone() for value in few]
        versions = [value._version for value in probe]
        with _without_gradients():
            graph(*probe)
        in_place = [v._version != old for v, old in zip(probe, versions, strict=True)]

        def run(values: Iterable[Tensor]) -> Tensor:
            return graph(
                *(v.clone() if copy else v for v, copy in zip(values, in_place, strict=True))
            )

        (gradient,) = _gradients(lambda: run(few), [self._weights[name]])
        if not _same(gradient, self._probe[list(self._weights).index(name)]):
            return self._fall_back(name, "its gradient from cached values differs")
        return lambda rows: run(self._values[node][rows] for node in boundary)

    def _values_of_few(self, nodes: list[fx.Node]) -> list[Tensor]:
        """Values for the few pictures of the probe, in one batch, as the full network has them."""
        assert self._traced is not None
        source = self._source()
        values = {source: self.x[self._few].clone()}
        targets = [node for node in nodes if node is not source]
        if targets:
            graph = _subgraph(self._traced, [source], _needed(targets, {source}), targets)
            with _without_gradients():
                found = graph(values[source].clone())
            values |= dict(zip(targets, found, strict=True))
        return [values[node] for node in nodes]

    def _full(self, rows: slice | Tensor) -> Tensor:
        # A copy: rows of a slice are x itself, and a network may work on its input in place.
        return self.model(self.x[rows].clone())

    def _fall_back(self, name: str, why: str) -> LogitsOf:
        self.note(f"{name}: {why}, so the full network was run for it.")
        return self._full

    def _trace(self) -> tuple[fx.GraphModule | None, set[fx.Node]]:
        try:
            graph, whole = traced(self.model)
            with _without_gradients():
                rows = with_rows(graph, self.x[:1])
        except Exception as error:  # a tracer meets arbitrary code: any failure means the same
            self.note(
                "The network cannot be traced, so it was run in full for every module "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})."
            )
            return None, set()
        if whole:
            self.note(
                f"{', '.join(whole)} cannot be traced, so these modules were run as a whole for "
                "every weight in them."
            )
        return graph, rows

    def _source(self) -> fx.Node:
        assert self._traced is not None
        return next(node for node in self._traced.graph.nodes if node.op == "placeholder")

    def _dependent_nodes(self, weight: Tensor) -> list[fx.Node]:
        """The nodes whose value depends on a weight, in order; tied and repeatedly called
        modules are found because it is the tensor, not the name, that is looked for."""
        if self._traced is None:
            return []
        dependent: dict[fx.Node, None] = {}
        for node in self._traced.graph.nodes:
            if self._holds(node, weight) or any(i in dependent for i in node.all_input_nodes):
                dependent[node] = None
        return list(dependent)

    def _with_what_has_no_rows(self, dependent: list[fx.Node]) -> list[fx.Node]:
        """A dependent part and, in order, what has to be computed again for it."""
        if self._traced is None:
            return []
        found, stack = set(dependent), list(dependent)
        while stack:
            for read in stack.pop().all_input_nodes:
                if read not in found and read not in self._with_rows and read.op != "get_attr":
                    found.add(read)
                    stack.append(read)
        return [node for node in self._traced.graph.nodes if node in found]

    def _holds(self, node: fx.Node, weight: Tensor) -> bool:
        assert self._traced is not None
        if node.op == "call_module":
            module = self._traced.get_submodule(str(node.target))
            return any(parameter is weight for parameter in module.parameters())
        if node.op == "get_attr":
            owner, _, attribute = str(node.target).rpartition(".")
            return getattr(self._traced.get_submodule(owner), attribute) is weight
        return False

    def _execution_order(self) -> list[str]:
        if self._traced is None:
            return list(self._weights)
        position = {node: i for i, node in enumerate(self._traced.graph.nodes)}
        last = len(position)
        return sorted(
            self._weights,
            key=lambda n: position[self._dependents[n][0]] if self._dependents[n] else last,
        )

    def _advance(self, name: str) -> None:
        """Bring the kept values to the cut of a module."""
        assert self._traced is not None
        boundary = self._boundaries[name]
        source = self._source()
        self._values[source] = self.x
        later = self.order[self.order.index(name) :]
        keep = {node for n in later for node in self._boundaries[n]} | {source}
        targets = [node for node in boundary if node not in self._values]
        if targets:
            between = _needed(targets, set(self._values))
            # What later cuts need and this stretch computes anyway is kept in passing.
            outputs = [node for node in between if node in keep]
            inputs = [n for n in self._values if any(n in b.all_input_nodes for b in between)]
            graph = _subgraph(self._traced, inputs, between, outputs)
            parts: list[tuple[Tensor, ...]] = []
            with _without_gradients():
                for start in range(0, len(self.x), self.chunk):
                    rows = slice(start, start + self.chunk)
                    # Copies: what lies between two cuts may work in place too.
                    part = graph(*(self._values[node][rows].clone() for node in inputs))
                    size = len(self.x[rows])
                    assert all(len(value) == size for value in part), "only values with rows"
                    parts.append(part)
            for node, *pieces in zip(outputs, *parts, strict=True):
                self._values[node] = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        self._values = {node: value for node, value in self._values.items() if node in keep}


def weight_of(model: nn.Module, name: str) -> nn.Parameter:
    """The weight of a module as named in `candidates`."""
    owner, _, last = name.rpartition(".")
    module = model.get_submodule(owner)
    weight = getattr(module, last)
    return weight if isinstance(weight, nn.Parameter) else weight.weight


def _boundary(part: list[fx.Node]) -> list[fx.Node]:
    """The values that a part of the graph reads of the rest. Parameters and buffers are read
    afresh (get_attr nodes are run again): they are no values of a picture."""
    inside = set(part)
    reads = {i: None for node in part for i in node.all_input_nodes if i not in inside}
    return [node for node in reads if node.op != "get_attr"]


def _needed(targets: list[fx.Node], known: set[fx.Node]) -> list[fx.Node]:
    """The nodes to run, in order, for the targets' values where some are known."""
    needed: set[fx.Node] = set()
    stack = list(targets)
    while stack:
        node = stack.pop()
        if node not in needed and node not in known and node.op != "get_attr":
            needed.add(node)
            stack.extend(node.all_input_nodes)
    graph = targets[0].graph
    return [node for node in graph.nodes if node in needed]


def _subgraph(
    traced: fx.GraphModule,
    inputs: list[fx.Node],
    nodes: list[fx.Node],
    outputs: list[fx.Node] | None = None,
) -> fx.GraphModule:
    """A module that runs `nodes` on the values of `inputs`; it shares traced's parameters.
    outputs None: the network's own output."""
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


def _gradients(logits: Callable[[], Tensor], weights: list[nn.Parameter]) -> list[Tensor | None]:
    """Gradients of one fixed scalar of the logits: the cross-entropy to the first class."""
    with torch.enable_grad():
        out = logits()
        loss = cross_entropy(out, torch.zeros(len(out), dtype=torch.long, device=out.device)).sum()
        return list(torch.autograd.grad(loss, weights, allow_unused=True))


@contextmanager
def _without_gradients() -> Iterator[None]:
    """No gradients, and attention as it is computed with them: the fast path that it takes
    otherwise rounds differently."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _near(kept: Tensor, fresh: Tensor) -> bool:
    """Whether two values are equal but for rounding."""
    if kept.shape != fresh.shape:
        return False
    rounding = ROUNDING[torch.is_autocast_enabled(fresh.device.type)]
    return bool((kept.float() - fresh.float()).norm() <= rounding * fresh.float().norm())


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)
