"""The values of a network between two of its parts, kept for as many pictures as memory holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, fx

from hardy.data.streaming.room import free_memory, free_on
from hardy.finetuning.subgraphs import needed, source, subgraph, without_gradients

Values = dict[fx.Node, Tensor]

# What is left must hold the passes themselves, and whatever else runs on the machine.
OF_MEMORY = 1 / 4
OF_DEVICE = 1 / 2


def room_on(device: torch.device, copies: int = 1) -> int | None:
    """Bytes that kept values may take: a quarter of the machine's free memory, shared by `copies`
    processes, or half of what a GPU has free; None where that is not known."""
    own = free_on(device)
    if own is not None:
        return int(own * OF_DEVICE)
    free = free_memory()
    return None if free is None else int(free * OF_MEMORY / copies)


class Kept:
    """Values of a graph for the pictures x, kept in chunks of so many pictures and moved forward
    from one cut to the next; a chunk is kept whole or not at all. room: bytes they may take
    (None: any)."""

    def __init__(self, traced: fx.GraphModule, x: Tensor, chunk: int, room: int | None) -> None:
        self.traced, self.x, self.chunk, self.room = traced, x, chunk, room
        self._source = source(traced)
        self._chunks: list[Values | None] = [None] * len(x.split(chunk))

    def advance(self, nodes: Sequence[fx.Node], keep: set[fx.Node], each: int) -> int:
        """Have the values of these nodes, and of those of `keep` that are known or computed on
        the way to them; how many pictures they are kept of. each: bytes that they take of one
        picture."""
        size = max(1, each * self.chunk)
        fitting = len(self._chunks) if self.room is None else self.room // size
        stretches: dict[frozenset[fx.Node], Stretch] = {}
        for i, values in enumerate(self._chunks):
            if i >= fitting:
                self._chunks[i] = None
                continue
            known = {self._source: self._pictures(i)} | (values or {})
            which = frozenset(known)
            if which not in stretches:
                stretches[which] = Stretch(self.traced, list(known), nodes, keep)
            found = stretches[which](known)
            found.pop(self._source, None)
            self._chunks[i] = found
        return min(len(self.x), fitting * self.chunk)

    def bytes_each(self) -> int:
        """Bytes of what is kept of the first picture."""
        values = (self._chunks[0] or {}).values()
        return sum(value[:1].numel() * value.element_size() for value in values)

    def first(self, nodes: Sequence[fx.Node], count: int) -> list[Tensor]:
        """The values of the first few pictures, as many as lie in the first chunk at most."""
        return [value[:count] for value in self._of_chunk(0, nodes)]

    def rows(self, nodes: Sequence[fx.Node], rows: slice | Tensor) -> list[Tensor]:
        """The values of these pictures, all of them kept, in this order."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self.x))
            at = start // self.chunk
            if step == 1 and start < stop <= (at + 1) * self.chunk:
                within = slice(start - at * self.chunk, stop - at * self.chunk)
                return [value[within] for value in self._of_chunk(at, nodes)]
            rows = torch.arange(start, stop, step, device=self.x.device)
        order, parts = rows.argsort(stable=True), []
        back = torch.empty_like(order)
        back[order] = torch.arange(len(rows), device=rows.device)
        sorted_rows = rows[order]
        for i in (sorted_rows // self.chunk).unique_consecutive().tolist():
            own = sorted_rows[sorted_rows // self.chunk == i] - i * self.chunk
            parts.append([value[own] for value in self._of_chunk(i, nodes)])
        return [torch.cat(pieces)[back] for pieces in zip(*parts, strict=True)]

    def _of_chunk(self, i: int, nodes: Sequence[fx.Node]) -> list[Tensor]:
        values = self._chunks[i]
        assert values is not None, "asked only for what is kept"
        return [self._pictures(i) if n is self._source else values[n] for n in nodes]

    def _pictures(self, i: int) -> Tensor:
        return self.x[i * self.chunk : (i + 1) * self.chunk]


class Stretch:
    """What lies between known values and those that are wanted next."""

    def __init__(
        self,
        traced: fx.GraphModule,
        known: Sequence[fx.Node],
        wanted: Iterable[fx.Node],
        keep: set[fx.Node],
    ) -> None:
        between = needed([n for n in wanted if n not in known], set(known))
        self.inputs = [n for n in known if any(n in b.all_input_nodes for b in between)]
        # What later cuts need and this stretch computes anyway is kept in passing.
        self.outputs = [n for n in between if n in keep]
        self.keep = keep
        self.graph = subgraph(traced, self.inputs, between, self.outputs) if between else None

    def __call__(self, known: Values) -> Values:
        """The known values that are to be kept, and those that were computed."""
        found: tuple[Tensor, ...] = ()
        if self.graph is not None:
            with without_gradients():
                # Copies: what lies between two cuts may work in place too.
                found = self.graph(*(known[node].clone() for node in self.inputs))
            size = len(next(iter(known.values())))
            assert all(len(value) == size for value in found), "only values with rows"
        kept = {node: value for node, value in known.items() if node in self.keep}
        return kept | dict(zip(self.outputs, found, strict=True))
