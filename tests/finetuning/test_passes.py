"""One pass over pictures: losses and gradients by hand, and again where memory is short."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from hardy.finetuning.passes import WeightLoss, sample_of
from hardy.memory import Halving

Y = torch.tensor([0, 1, 1, 0, 1])


class Bias(nn.Module):
    """Logits (0, b) whatever the picture: the losses are those of two classes."""

    def __init__(self, b: float, most: int = 99) -> None:
        super().__init__()
        self.b, self.most = nn.Parameter(torch.tensor(b)), most
        self.sizes: list[int] = []

    def of(self, rows: slice | Tensor) -> Tensor:
        count = len(Y[rows])
        self.sizes.append(count)
        if count > self.most:
            raise torch.OutOfMemoryError(f"{count} pictures")
        return torch.stack([torch.zeros(count), self.b.expand(count)], 1)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 9])
def test_losses_verdicts_and_gradient_by_hand(batch_size: int) -> None:
    model = Bias(math.log(3))  # probabilities 1/4 and 3/4
    found = sample_of(model.of, Y, [model.b], batch_size)
    quarter, most = math.log(4), math.log(4 / 3)
    assert found.losses.tolist() == pytest.approx([quarter, most, most, quarter, most])
    assert found.correct.tolist() == [False, True, True, False, True]
    assert found.mean == pytest.approx((2 * quarter + 3 * most) / 5)
    # d CE / db is p - y: 3/4 for the two of class 0, -1/4 for the three of class 1.
    assert float(found.gradient) == pytest.approx((2 * 0.75 - 3 * 0.25) / 5)
    few = sample_of(model.of, Y, [model.b], batch_size, rows=torch.tensor([3, 1]))
    assert few.losses.tolist() == pytest.approx([quarter, most])
    assert float(few.gradient) == pytest.approx((0.75 - 0.25) / 2)


def test_where_memory_runs_out_fewer_pictures_give_the_same() -> None:
    model, whole = Bias(0.5, most=2), Bias(0.5)
    loss = WeightLoss("b", model.b, model.of, Y, 5, Halving())
    found, wanted = (
        of(torch.tensor(0.7), gradient=True)
        for of in (loss, WeightLoss("b", whole.b, whole.of, Y, 5))
    )
    assert torch.equal(found.losses, wanted.losses) and torch.equal(found.correct, wanted.correct)
    assert float(found.gradient) == pytest.approx(float(wanted.gradient))
    assert model.sizes == [5, 3, 2, 2, 1]
    loss(torch.tensor(0.1))  # what fitted is remembered
    assert model.sizes[5:] == [2, 2, 1]


def test_other_errors_are_raised() -> None:
    def broken(rows: slice | Tensor) -> Tensor:
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        sample_of(broken, Y, [], 5)
