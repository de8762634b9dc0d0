"""What criticality costs, in operations: the whole of it, against a full pass for every step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hardy.evaluation.footprint import operations
from hardy.finetuning.ascents import Ascent
from hardy.finetuning.mrc import candidates, mrc
from hardy.models.resnet import resnet18, thin_resnet18

STEPS = 10


def counted(make: Callable[[], nn.Module], size: int, count: int) -> tuple[int, int, int]:
    """Operations of ours, and of a forward pass and a full forward and backward pass."""
    torch.manual_seed(0)
    model = make().eval()
    x, y = torch.rand(count, 3, size, size), torch.randint(10, (count,))
    weights = list(model.parameters())
    forward = operations(lambda: model(x))
    both = operations(lambda: torch.autograd.grad(F.cross_entropy(model(x), y), weights))
    ours = operations(lambda: list(mrc(model, x, x, y, ascent=Ascent(steps=STEPS))))
    return ours, forward, both


@pytest.mark.parametrize(
    ("make", "size", "count"),
    [
        (thin_resnet18, 8, 64),
        pytest.param(resnet18, 16, 64, marks=pytest.mark.slow),
    ],
    ids=["thin_resnet18", "resnet18"],
)
def test_all_modules_cost_a_third_of_full_passes(
    make: Callable[[], nn.Module], size: int, count: int
) -> None:
    """Ours includes what the usual way does not give (the clean gradients) and what makes cached
    values trustworthy. Both need the loss after the last step."""
    ours, forward, both = counted(make, size, count)
    # Backward is twice the forward, but for the pictures, whose gradient nobody asks for.
    assert 2.95 * forward < both < 3 * forward
    usual = len(candidates(make())) * (STEPS * both + forward)
    assert usual > 3.1 * ours


def test_a_pass_of_the_last_module_is_its_own() -> None:
    """By hand: what the classifier layer alone takes in ten steps, over what all else costs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    x, y = torch.rand(20, 3, 4, 4), torch.randint(10, (20,))

    def run(steps: int) -> int:
        found = mrc(model, x, x, y, modules=["3"], ascent=Ascent(steps=steps))
        return operations(lambda: list(found))

    one_pass = 2 * 20 * 32 * 10
    # A further step: a forward pass, and the weight's gradient.
    assert run(10) - run(9) == 2 * one_pass
