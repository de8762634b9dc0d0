"""Values of a network's graph as rows, so that a split can hold them as its pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from hardy.finetuning.subgraphs import sparing_inputs


@dataclass(frozen=True)
class Form:
    """How a value lies in memory: its dimensions but for the first, in the order in which they
    lie there (channels_last has another than their own), that order, and its type."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, value: Tensor) -> Form:
        """The form of a value (B, …)."""
        order = sorted(range(1, value.ndim), key=lambda dim: -value.stride(dim))
        return cls(tuple(value.shape[dim] for dim in order), (0, *order), value.dtype)

    @property
    def numel(self) -> int:
        """Numbers in a row."""
        return math.prod(self.shape)

    def row(self, value: Tensor) -> Tensor:
        """A value (B, …) as rows (B, D)."""
        return value.permute(self.order).reshape(len(value), -1)

    def value(self, rows: Tensor) -> Tensor:
        """Rows (B, D) as the value that they were."""
        back = [self.order.index(dim) for dim in range(len(self.order))]
        return rows.contiguous().view(len(rows), *self.shape).permute(back).to(self.dtype)


class Rows:
    """Several values side by side in one row: in their own type, if they have one in common."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        self.forms = [Form.of(value) for value in values]
        own = {form.dtype for form in self.forms}
        self.dtype = own.pop() if len(own) == 1 else torch.float32

    @property
    def bytes(self) -> int:
        """What a row takes."""
        return sum(form.numel for form in self.forms) * self.dtype.itemsize

    def packed(self, values: Sequence[Tensor]) -> Tensor:
        """Values of such forms as rows, (B, D)."""
        rows = (form.row(value) for form, value in zip(self.forms, values, strict=True))
        return torch.cat([row.to(self.dtype) for row in rows], 1)

    def values(self, rows: Tensor) -> list[Tensor]:
        """What was packed, out of rows of this type or of a wider one."""
        pieces = rows.split([form.numel for form in self.forms], 1)
        return [form.value(piece) for form, piece in zip(self.forms, pieces, strict=True)]


class OfRows(nn.Module):
    """A part of a network as a network of its own, from rows (B, D) to logits (B, K). few: what
    enters the part for a few pictures."""

    def __init__(self, part: fx.GraphModule, rows: Rows, few: Sequence[Tensor]) -> None:
        super().__init__()
        self.part, self.rows = part, rows
        self._run = sparing_inputs(part, few)

    def forward(self, rows: Tensor) -> Tensor:
        return self._run(self.rows.values(rows))
