"""Modules shared out: all of them, each once, at about the same cost for each process."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hardy.finetuning.mrc import candidates
from hardy.finetuning.sharing import costs, shared_out
from hardy.models.resnet import resnet18


class Chain(nn.Module):
    def __init__(self, *, branching: bool = False) -> None:
        super().__init__()
        self.branching = branching
        self.one, self.two, self.head = nn.Linear(6, 10), nn.Linear(10, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.branching and x.sum() < 0:
            return self.head(x)
        return self.head(self.two(self.one(x)))


def test_the_cost_of_a_module_is_what_comes_after_it() -> None:
    found = costs(Chain().eval(), torch.rand(1, 6), ["one", "two", "head"])
    last, middle, first = 2 * 4 * 3, 2 * 10 * 4, 2 * 6 * 10
    assert found == {"one": 1 + first + middle + last, "two": 1 + middle + last, "head": 1 + last}


def test_a_network_that_cannot_be_traced_is_shared_out_by_number() -> None:
    names = ["one", "two", "head"]
    assert costs(Chain(branching=True), torch.rand(1, 6), names) == dict.fromkeys(names, 1.0)
    assert shared_out(Chain(branching=True), torch.rand(1, 6), names, 2) == [
        ["one", "head"],
        ["two"],
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_module_once_and_shares_alike(count: int) -> None:
    torch.manual_seed(0)
    model = resnet18(width=4).eval()
    names, picture = candidates(model), torch.rand(1, 3, 8, 8)
    shares = shared_out(model, picture, names, count)
    assert sorted(name for share in shares for name in share) == sorted(names)
    cost = costs(model, picture, names)
    totals = [sum(cost[name] for name in share) for share in shares]
    # Largest first to the least laden: no share is above the mean by more than the largest module.
    assert max(totals) <= sum(totals) / count + max(cost.values())
    assert count > 3 or max(totals) < 1.1 * min(totals)
    assert shares == shared_out(model, picture, names, count)
