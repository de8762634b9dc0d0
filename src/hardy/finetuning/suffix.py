"""The part of a network that depends on one weight, run alone from cached values.

While MRC moves the weight of one module, everything that does not depend on it stays as it
is. `Suffixes` follows the data flow with torch.fx, keeps the values that enter the
dependent part and runs only that part, forward and backward:

    suffixes = Suffixes(model, x, names)         # x: every picture of the measurement
    logits_of = suffixes.cut("layer4.1.conv1")   # logits_of(rows) == model(x[rows])

The cut moves forward through the network from module to module, so the values of one cut
give those of the next and memory holds only what this cut and later ones need, of as many
pictures as fit into `room`; the others go through the full network. Only values with
a row for each picture are kept: what else the dependent part reads, such as a size or a weight
that is reshaped, is computed again from them. Values that
the dependent part changes in place (an in-place ReLU, `out += x`) are found by their
version counters and handed out as copies.

Values are kept in the precision of the network, whatever autocast `logits_of` is called under:
a search in bfloat16 and the losses that are reported in float32 start from the same values.

A cut is used only after its gradient for a few pictures has equalled the full network's,
bit for bit, and after the kept values have equalled those of these few but for rounding
(kernels round by the size of the batch); otherwise, or where the network cannot be traced,
the full network is run and `note` is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, fx, nn

from hardy.finetuning.kept import Kept
from hardy.finetuning.passes import LogitsOf
from hardy.finetuning.subgraphs import (
    boundary,
    closed,
    copying,
    dependents,
    near,
    on_copies,
    probe_gradients,
    subgraph,
    without_gradients,
)
from hardy.finetuning.tracing import traced, with_rows

PROBE = 4  # pictures


class Suffixes:
    """The suffixes of `model` (in eval mode, and left in it) for the pictures x.

    order: the names of the modules asked for, in the order of execution; position: where each
    stands in it among all that a network runs. chunk: pictures
    for which the values between two cuts are computed at once. room: bytes that kept values may
    take (None: any). note: is told, in a sentence, where and why the full network is run.
    enabled=False: it is run everywhere.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        names: Iterable[str],
        *,
        enabled: bool = True,
        chunk: int = 256,
        room: int | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.model, self.x, self.note = model, x, note
        self._weights = {name: weight_of(model, name) for name in names}
        graph, rows = self._trace() if enabled else (None, set())
        self._cuts: _Cuts | None = None
        everything = [id(parameter) for parameter in model.parameters()]
        self.position = {n: everything.index(id(w)) for n, w in self._weights.items()}
        self.order = list(self._weights)
        if graph is not None:
            self._cuts = _Cuts(graph, rows, self._weights)
            self.order, self.position = self._cuts.order, self._cuts.position
            self._kept = Kept(graph, x, chunk, room)
            # Never all pictures: a value without rows of its own would pass for one that has.
            few = max(1, min(PROBE, len(x) - 1, chunk))
            self._few = Kept(graph, x[:few], few, None)
            self._probe = dict(
                zip(
                    self._weights,
                    probe_gradients(lambda: self._full(slice(0, few)), [*self._weights.values()]),
                    strict=True,
                )
            )
        self._crowded = False

    def cut(self, name: str) -> LogitsOf:
        """A function from rows (a slice or indices) to the logits of those pictures, under
        whatever weight the module has when it is called."""
        if self._cuts is None:
            return self._full
        if not self._cuts.parts[name]:
            return self._fall_back(name, "the traced network does not use it")
        try:
            return self._suffix(name, self._cuts)
        except Exception as error:  # a graph of arbitrary code: whatever fails, the model runs
            return self._fall_back(name, f"its suffix does not run alone ({type(error).__name__})")

    def _suffix(self, name: str, cuts: _Cuts) -> LogitsOf:
        nodes, keep = cuts.boundaries[name], cuts.kept_from(name)
        self._few.advance(nodes, keep, 0)
        each = self._few.bytes_each()
        count = self._kept.advance(nodes, keep, each)
        if not count:
            self._say_crowded(name, count)
            return self._full
        few = self._few.rows(nodes, slice(None))
        kept = self._kept.first(nodes, len(few[0]))
        if not all(near(mine, fresh) for mine, fresh in zip(kept, few, strict=True)):
            return self._fall_back(name, "its inputs depend on the other pictures of a batch")
        graph = subgraph(self._kept.traced, nodes, cuts.parts[name])
        (gradient,), in_place = on_copies(
            lambda copies: probe_gradients(lambda: graph(*copies), [self._weights[name]]), few
        )
        if not _same(gradient, self._probe[name]):
            return self._fall_back(name, "its gradient from cached values differs")
        if count < len(self.x):
            self._say_crowded(name, count)
        run = copying(graph, in_place)

        def logits_of(rows: slice | Tensor) -> Tensor:
            return run(self._kept.rows(nodes, rows))

        return logits_of if count == len(self.x) else self._partly(logits_of, count)

    def _partly(self, logits_of: LogitsOf, count: int) -> LogitsOf:
        """The logits by the kept values of the first so many pictures, and by the full network of
        the rest."""

        def run(rows: slice | Tensor) -> Tensor:
            if isinstance(rows, slice):
                start, stop, _ = rows.indices(len(self.x))
                if stop <= count:
                    return logits_of(rows)
                if start >= count:
                    return self._full(rows)
            index = torch.arange(len(self.x), device=self.x.device)[rows]
            mine, rest = (at.nonzero().flatten() for at in (index < count, index >= count))
            if not len(mine) or not len(rest):
                return self._full(rows) if len(rest) else logits_of(index)
            logits = torch.cat([logits_of(index[mine]), self._full(index[rest])])
            return logits[torch.cat([mine, rest]).argsort()]

        return run

    def _full(self, rows: slice | Tensor) -> Tensor:
        # A copy: rows of a slice are x itself, and a network may work on its input in place.
        return self.model(self.x[rows].clone())

    def _fall_back(self, name: str, why: str) -> LogitsOf:
        self.note(f"{name}: {why}, so the full network was run for it.")
        return self._full

    def _say_crowded(self, name: str, count: int) -> None:
        if not self._crowded:
            self._crowded = True
            self.note(
                f"Memory has no room for the values that enter {name} of more than {count} of "
                f"{len(self.x)} pictures: here, and wherever it is so, the others went through "
                "the full network."
            )

    def _trace(self) -> tuple[fx.GraphModule | None, set[fx.Node]]:
        try:
            graph, whole = traced(self.model)
            with without_gradients():
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


class _Cuts:
    """Of every weight the part of the graph that depends on it, and what enters that part; the
    names of the weights in the order in which these parts begin."""

    def __init__(
        self, graph: fx.GraphModule, rows: set[fx.Node], weights: Mapping[str, Tensor]
    ) -> None:
        own = {name: dependents(graph, [weight]) for name, weight in weights.items()}
        self.parts = {name: closed(part, rows) for name, part in own.items()}
        self.boundaries = {name: boundary(part) for name, part in self.parts.items()}
        at = {node: i for i, node in enumerate(graph.graph.nodes)}
        self.position = {name: at[part[0]] if part else len(at) for name, part in own.items()}
        self.order = sorted(weights, key=lambda name: self.position[name])

    def kept_from(self, name: str) -> set[fx.Node]:
        """The values that this cut or a later one needs."""
        later = self.order[self.order.index(name) :]
        return {node for each in later for node in self.boundaries[each]}


def weight_of(model: nn.Module, name: str) -> nn.Parameter:
    """The weight of a module as named in `candidates`."""
    owner, _, last = name.rpartition(".")
    module = model.get_submodule(owner)
    weight = getattr(module, last)
    return weight if isinstance(weight, nn.Parameter) else weight.weight


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)
