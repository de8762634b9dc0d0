"""Counts against those worked out by hand for a network of one convolution and one linear map."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.footprint import Timing
from hardy.methods.fast_at import FastAT
from hardy.methods.mart import MART
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method, Nets
from hardy.methods.standard import Standard
from hardy.methods.trades import TRADES
from hardy.methods.wrappers.awp import AWP
from hardy.threat import Linf
from hardy.training import cost
from hardy.training.averaging import Averaging
from hardy.training.cost import kept, kept_by_step
from hardy.training.engine import Engine
from hardy.training.loop import Loop, Settings, started

CPU = torch.device("cpu")
K, STEPS, N = 3, 4, 48
# Multiply-adds times two: 2x2 places of 4 channels that see 27 pixels each; 16 features to K.
FIRST = 2 * (2 * 2) * 4 * 27
F = FIRST + 2 * 16 * K
PARAMETERS = (4 * 27 + 4) + (16 * K + K)


def some_net() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, stride=2)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(16, K))


def some_split(n: int = N) -> Split:
    draws = Draws(0, 0, torch.arange(n))
    images = draws.integers(256, (3, 6, 6), "images").to(torch.uint8)
    return Split(images, draws.integers(K, (), "labels"), torch.arange(n), "train")


def loop_of(method: Method, model: nn.Module | None = None, **more: Any) -> Loop:
    settings = Settings(epochs=5, batch_size=16, **more)
    model = model or some_net()
    nets = Nets(model, model, model)
    attack = PGD(Linf(0.05), STEPS)
    return started(Engine(CPU), nets, method, attack, some_split(), None, settings, "a run")


def parameters(loop: Loop) -> list[Tensor]:
    return list(loop.nets.module.parameters())


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # Forward, the weights' gradient, and what lies between but for the pictures'.
        (Standard(), 3 * F - FIRST),
        # Each step of the attack: forward, and back to the pictures; no gradient of weights.
        (PGDAT(), STEPS * 2 * F + 3 * F - FIRST),
        (FastAT(), 2 * F + 3 * F - FIRST),
        # Also the clean logits of the attack, once, and both kinds of pictures in the end.
        (TRADES(), F + STEPS * 2 * F + 2 * (3 * F - FIRST)),
        (MART(), STEPS * 2 * F + 2 * (3 * F - FIRST)),
        # One more pass forward and back to the weights.
        (AWP(PGDAT()), STEPS * 2 * F + 2 * (3 * F - FIRST)),
        # As it is when it no longer warms up.
        (AWP(Standard(), warmup=0.7), 2 * (3 * F - FIRST)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Method) else "",
)
def test_the_operations_of_a_step_by_hand(method: Method, expected: int) -> None:
    assert cost.step_cost(loop_of(method)).operations == expected


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_gradients_cost_the_same_operations_and_less_memory(accumulate: int) -> None:
    whole = cost.step_cost(loop_of(PGDAT()))
    parts = cost.step_cost(loop_of(PGDAT(), accumulate=accumulate))
    assert parts.operations == whole.operations
    # A picture, its features, and its log-probabilities; the labels of all parts are one tensor.
    each = 4 * (108 + 16 + K)
    assert whole.activations == 16 * each + 16 * 8 + 4
    assert parts.activations == 16 // accumulate * each + 16 * 8 + 4


def test_averages_and_shared_batches_cost_no_operations_a_picture() -> None:
    alone = cost.step_cost(loop_of(PGDAT()))
    averaged = cost.step_cost(loop_of(PGDAT(), average=Averaging()))
    shared = cost.step_cost(loop_of(PGDAT()), devices=4)
    assert alone.operations == averaged.operations == shared.operations
    assert (alone.pictures, shared.pictures) == (16, 4)


def test_what_stands_in_memory_by_hand() -> None:
    size = 4 * PARAMETERS
    split = some_split()
    data = (split.images, split.labels, split.images)
    assert cost.standing(loop_of(PGDAT()), data) == {
        "weights": size,
        "gradients": size,
        "momentum": size,
        "data set": N * 108 + N * 8,
    }
    found = cost.standing(loop_of(PGDAT(), momentum=0.0, average=Averaging()))
    assert (found["momentum"], found["average"]) == (0, size)


def test_buffers_and_frozen_weights_need_no_gradient() -> None:
    model = nn.Sequential(some_net(), nn.BatchNorm1d(K))
    model.get_parameter("0.0.weight").requires_grad_(False)
    found = cost.standing(loop_of(Standard(), model))
    trained = PARAMETERS - 4 * 27 + 2 * K
    assert found["weights"] == 4 * (PARAMETERS + 2 * K + 2 * K) + 8
    assert found["gradients"] == found["momentum"] == 4 * trained


def test_what_autograd_keeps_is_held_once_and_only_while_it_is_needed() -> None:
    weight = torch.ones(10, requires_grad=True)

    def work() -> None:
        for _ in range(3):  # one graph at a time: 10 numbers, saved by two operators
            product = (weight * 2).exp()
            (product * product).sum().backward()

    assert kept(work) == 40
    assert kept(lambda: (weight * weight).sum().backward(), aside=[weight]) == 0
    assert kept(lambda: (weight * weight).sum().backward()) == 40


@pytest.mark.parametrize("method", [TRADES(), AWP(PGDAT())], ids=repr)
def test_memory_of_a_batch_is_drawn_on_from_few_pictures(method: Method) -> None:
    """In a line, not by the rule of three: BatchNorm keeps statistics for any number."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), some_net_after())
    loop = loop_of(method, model)
    loop.nets.module.train()
    batch = next(loop.batches(0))
    state = [*parameters(loop), *loop.nets.module.buffers()]
    whole = kept(lambda: loop.step(batch, loop.steps * 5 - 1, 0.0), state)
    assert kept_by_step(loop, batch) == whole > 0


def some_net_after() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, K))


def test_what_does_not_fit_into_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Loop, "step", full)
    with pytest.raises(ValueError, match=r"step of 16 pictures does not fit.*--accumulate"):
        cost.step_cost(loop_of(PGDAT()))
    smaller = r"an attack does not fit.*of cpu: take a smaller --batch-size"
    with pytest.raises(ValueError, match=smaller), cost.must_fit("an attack", CPU):
        full()


def test_a_matrix_product_is_the_measure_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 x 32 x 32 places of 1024 channels to 1024, in half a second."""
    monkeypatch.setattr(cost, "timed", lambda work, device: Timing(0.5, 1))
    assert cost.product_rate(CPU, "fp32") == 2 * (4 * 32 * 32) * 1024 * 1024 / 0.5
