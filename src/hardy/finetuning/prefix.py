"""Fine-tuning from kept values: what lies before the part that moves is computed once.

Where BatchNorm's statistics are frozen and the pictures come without augmentation, everything
that does not depend on a weight that is trained has the same value in every epoch. So the values
that enter the part that does are computed once for all pictures, and that part alone is trained,
as a network whose pictures they are:

    found = kept_prefix(engine, model, trainable, train, batch_size, note)
    settings = replace(settings, trainable=found.trainable)
    fit(engine, Nets(found.network, …), Standard(), attack, found.train, None, settings)

The batches, their order and every weight after them are those of training the whole network, but
for rounding: a kept value was computed in a batch with other pictures.

It is used only after a check on a few pictures: what lies before draws no random numbers (dropout
does), changes no buffer, and gives the same values in another batch; the gradients of the part
alone equal the whole network's. Otherwise, where the network cannot be traced and where the values
take too much memory, there are none, and `note` is told why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from hardy.data.splits import Split
from hardy.data.streaming.stream import Streamed
from hardy.evaluation.footprint import operations
from hardy.finetuning.kept import room_on
from hardy.finetuning.rows import OfRows, Rows
from hardy.finetuning.subgraphs import (
    boundary,
    closed,
    dependents,
    near,
    needed,
    probe_gradients,
    source,
    subgraph,
    without_gradients,
)
from hardy.finetuning.tracing import traced, with_rows
from hardy.modes import freeze_batchnorm, only_trainable

if TYPE_CHECKING:
    from hardy.training.engine import Engine

FEW = 8
KEPT = (torch.float32, torch.bfloat16, torch.float16)  # what a split's pictures hold to the bit
GIB = 2**30


@dataclass(frozen=True)
class Prefixed:
    """The part that moves as a network of its own, the kept values as its pictures, and the
    names of its parameters that are trained; they are the very tensors of the whole network."""

    network: nn.Module
    train: Split
    trainable: frozenset[str]


def kept_prefix(
    engine: Engine,
    model: nn.Module,
    trainable: frozenset[str],
    train: Split,
    batch_size: int,
    note: Callable[[str], None],
) -> Prefixed | None:
    """What stands for the network while only the parameters named in `trainable` move; None
    where it must be trained as a whole. The network is left in train mode, BatchNorm in eval.

    batch_size: pictures whose values are computed at once. note: is told which, in a sentence,
    but where there is nothing to save.
    """
    if isinstance(train.images, Streamed):
        note(_whole("its pictures are read from disk as they are needed"))
        return None
    part = _checked(engine, model, trainable, train, batch_size)
    if isinstance(part, str):
        note(_whole(part))
    if not isinstance(part, _Part):
        return None
    size, room = part.rows.bytes * len(train), room_on(train.device)
    if room is not None and size > room:
        there = f"would take {size / GIB:.1f} GiB, and there is room for {room / GIB:.1f}"
        note(_whole(f"the values that enter the part that moves {there}"))
        return None
    each = part.rows.bytes / 1024
    note(f"trained from kept values, {each:.1f} KiB a picture, {size / GIB:.2f} GiB in all")
    moving = {id(weight) for weight in part.weights}
    names = frozenset(n for n, p in part.network.named_parameters() if id(p) in moving)
    assert len(names) == len(moving), "a weight that moves is not in the part that moves"
    kept = Split(part.kept(batch_size), train.labels, train.index, train.name)
    return Prefixed(part.network, kept, names)


def _whole(why: str) -> str:
    return f"the whole network is run in every step, for {why}"


def _checked(
    engine: Engine, model: nn.Module, trainable: frozenset[str], train: Split, batch_size: int
) -> _Part | str | None:
    """The part that moves, or why it cannot be trained alone; None where there is nothing to
    save: before it lies no convolution and no linear map."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    freeze_batchnorm(model)
    weights = [p for name, p in model.named_parameters() if name in trainable]
    try:
        with _same_draws(train.device), only_trainable(model, trainable):
            part = _Part(engine, model, weights, train)
            found = (part.differs(batch_size) or part) if part.saves else None
    except Exception as error:  # a graph of arbitrary code: whatever fails, the whole is run
        found = f"it cannot be taken apart ({type(error).__name__})"
    if any(not torch.equal(value, before[key]) for key, value in model.state_dict().items()):
        model.load_state_dict(before)
        found = found and "it changes buffers of its own while it is trained"
    return found


class _Part:
    """The part of a network that depends on some weights, and what enters it.

    targets: the values that enter it, but for the pictures themselves.
    """

    def __init__(
        self, engine: Engine, model: nn.Module, weights: Sequence[nn.Parameter], train: Split
    ) -> None:
        self.engine, self.model, self.weights, self.train = engine, model, list(weights), train
        graph, _ = traced(model)
        with engine.autocast(), without_gradients():
            rows = with_rows(graph, train.pixels(slice(0, 1)))
        nodes = closed(dependents(graph, self.weights), rows)
        self.entering, first = boundary(nodes), source(graph)
        self.targets: list[fx.Node] = [node for node in self.entering if node is not first]
        self.before = subgraph(graph, [first], needed(self.targets, {first}), self.targets)
        # Never all pictures: what depends on the others of a batch is found by a larger one.
        self.few = slice(0, max(1, min(FEW, len(train) - 1)))
        self.values = self._values(self.few)
        self.rows = Rows(self.values)
        with engine.autocast():
            self.network = OfRows(subgraph(graph, self.entering, nodes), self.rows, self.values)

    @property
    def saves(self) -> bool:
        """Whether anything that costs operations lies before the part."""
        return bool(self.targets) and operations(lambda: self._values(self.few)) > 0

    def differs(self, batch_size: int) -> str | None:
        """Why the part cannot stand for the whole, or None."""
        if any(value.dtype not in KEPT for value in self.values):
            return "a value that enters the part that moves is not of single precision"
        before = _generators(self.train.device)
        again = self._values(slice(0, max(batch_size, FEW + 1)))
        after = _generators(self.train.device)
        if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
            return "what lies before the part that moves draws random numbers, as dropout does"
        few = len(self.values[0])
        if not self._near([value[:few] for value in again], self.values):
            return "what enters the part that moves depends on the other pictures of a batch"
        x, rows = self.train.pixels(self.few), self.rows.packed(self.values).float()
        # A copy: a network may work on its input in place.
        whole, alone = self._gradients(self.model, x.clone()), self._gradients(self.network, rows)
        if not self._near(alone, whole):
            return "the gradients of the part that moves differ from the whole network's"
        return None

    def kept(self, batch_size: int) -> Tensor:
        """What enters the part for every picture, as rows (N, D)."""
        device, each = self.train.device, self.rows.packed(self.values).shape[1]
        found = torch.empty((len(self.train), each), dtype=self.rows.dtype, device=device)
        for start in range(0, len(self.train), batch_size):
            rows = slice(start, start + batch_size)
            found[rows] = self.rows.packed(self._values(rows))
        return found

    def _values(self, rows: slice) -> list[Tensor]:
        x = self.train.pixels(rows)
        with self.engine.autocast(), without_gradients():
            found = dict(zip(self.targets, self.before(x.clone()), strict=True))
        return [found.get(node, x) for node in self.entering]

    def _gradients(self, network: nn.Module, x: Tensor) -> list[Tensor]:
        with _same_draws(self.train.device), self.engine.autocast():
            found = probe_gradients(lambda: network(x), self.weights)
        return [g if g is not None else torch.tensor(torch.nan) for g in found]

    def _near(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
        with self.engine.autocast():  # how near is near depends on it
            return all(map(near, a, b))


def _same_draws(device: torch.device) -> AbstractContextManager[None]:
    """What is drawn inside is drawn again afterwards."""
    return torch.random.fork_rng(_gpus(device), device_type="cuda")


def _generators(device: torch.device) -> list[Tensor]:
    """The states of torch's own generators."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(one) for one in _gpus(device))]


def _gpus(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
