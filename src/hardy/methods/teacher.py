"""A network that a student learns from: frozen, in eval mode for good, on whatever device."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from hardy.console import say
from hardy.data.loader import Batch, batches
from hardy.data.splits import Split
from hardy.losses import full
from hardy.memory import Halving
from hardy.modes import autocast

MOST = 2**30  # bytes of remembered logits


class Teacher(nn.Module):
    """Pixels (B, C, H, W) to logits (B, K) in full precision on the pictures' own device, with
    gradients to the pictures and to nothing else.

    net: taken over and frozen in place. precision: 'bf16' runs it under autocast. It computes
    where its weights lie, which need not be where the student does.
    """

    def __init__(self, net: nn.Module, precision: str = "fp32") -> None:
        super().__init__()
        self.net = net.requires_grad_(False)
        self.precision = precision
        self.eval()
        # By identity and weakly: pictures that are gone take their logits with them.
        self._known = WeakTensorKeyDictionary()
        self._to_visit: tuple[Split, int] | None = None
        self._table: tuple[Tensor, Tensor] | None = None

    def train(self, mode: bool = True) -> Teacher:
        """Stays in eval mode: a blanket `.train()` of all that a run holds must not reach it."""
        del mode
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        tensors = itertools.chain(self.net.parameters(), self.net.buffers())
        return next((each.device for each in tensors), torch.device("cpu"))

    def forward(self, x: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            logits = self.net(x.to(self.device))
        return full(logits).to(x.device)

    @torch.no_grad()
    def clean(self, batch: Batch) -> Tensor:
        """The logits of the pictures of a batch as they are, (B, K), as a constant: computed once
        for each batch, and where `remember` was called, once for each picture."""
        if self._to_visit is not None:
            self._visit(*self._to_visit)
        if self._table is not None:
            index, logits = self._table
            return logits[torch.searchsorted(index, batch.index)]
        return self.fixed(batch.x)

    @torch.no_grad()
    def fixed(self, x: Tensor) -> Tensor:
        """The logits of pictures, (B, K), as a constant: computed once for each tensor, which AWP
        asks about twice."""
        known: tuple[int, Tensor] | None = self._known.get(x)
        if known is None or known[0] != x._version:  # written over since
            known = self._known[x] = (x._version, self(x))
        return known[1]

    def remember(self, split: Split, batch_size: int) -> None:
        """Promise that every batch to come is of that split and not augmented. The first call of
        `clean` then visits all pictures, and the later ones look up; a table of more than a
        gibibyte, or of pictures that share an index, is not kept."""
        self._to_visit = (split, batch_size)

    def _visit(self, split: Split, batch_size: int) -> None:
        self._to_visit = None
        index, order = split.index.sort()
        if (index[1:] == index[:-1]).any():
            return  # two pictures go by one name
        found: list[Tensor] = []
        whole = batches(split, batch_size, seed=0)
        for _, logits in Halving()(whole, lambda batch: self(batch.x)):
            found.append(logits)
            size = len(split) * found[0][0].nbytes
            if size > MOST:
                say(f"the teacher's logits would take {size / 2**30:.1f} GiB: they are not kept")
                return
        self._table = (index, torch.cat(found)[order])


def as_teacher(net: nn.Module) -> Teacher:
    """The network as a teacher; a teacher as it is."""
    return net if isinstance(net, Teacher) else Teacher(net)
