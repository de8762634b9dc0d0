"""What a step of every method costs, counted on the loop itself and held against its equations.

F is a forward pass of one picture of the student, T and N of its teachers. To the input alone a
pass costs 2F. A training pass costs 3F less F_1, the first layer's share of F: there the
gradient to the pictures is not taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.active_set import Stage, cascade
from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.footprint import forward_operations, operations
from hardy.evaluation.robustness import Protocol, judge, predicted
from hardy.methods.find import make, names
from hardy.methods.protocol import Method, Nets
from hardy.methods.wrappers.awp import AWP
from hardy.methods.wrappers.ligs import LIGSRegularised
from hardy.models.architecture import Architecture
from hardy.modes import evaluating, frozen
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Settings, started

CPU = torch.device("cpu")
K, STEPS, B = 3, 10, 4
EARLY, LATE = 0, 4  # epochs, of 5, before and after IAD's warm-up


def net(channels: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    body = (nn.Conv2d(3, channels, 3, stride=2), nn.BatchNorm2d(channels), nn.ReLU())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * channels, K))


def of(channels: int) -> tuple[int, int]:
    """F and F_1 of such a network by hand: 2x2 places that see 27 pixels each."""
    first = 2 * (2 * 2) * channels * 27
    return first + 2 * (4 * channels) * K, first


(F, F_1), (T, _), (N, _) = of(4), of(7), of(11)


def pictures(n: int = B, size: int = 6) -> Split:
    draws = Draws(0, 0, torch.arange(n))
    images = draws.integers(256, (3, size, size), "images").to(torch.uint8)
    return Split(images, draws.integers(K, (), "labels"), torch.arange(n), "train")


def counted(method: Method, student: nn.Module, train: Split, epoch: int = LATE) -> float:
    """The operations of a picture in a step of PGD-10."""
    teachers: dict[str, nn.Module] = {"robust": net(7, 1), "natural": net(11, 2)}
    nets = Nets(student, student, student, teachers)
    settings = Settings(epochs=5, batch_size=len(train), momentum=0.0)
    attack = PGD(Linf(0.05), STEPS)
    loop = started(Engine(CPU), nets, method, attack, train, None, settings, "")
    loop.nets.module.train()
    batch = next(loop.batches(epoch))
    return operations(lambda: loop.step(batch, epoch * loop.steps, 0.1)) / len(train)


@dataclass(frozen=True)
class Cost:
    """Passes of the student forward (a step of an attack is two), its training passes, and
    passes of its teachers."""

    forward: int
    trained: int
    robust: int = 0
    natural: int = 0

    @property
    def operations(self) -> int:
        training = self.trained * (3 * F - F_1)
        return self.forward * F + training + self.robust * T + self.natural * N


PGD_10 = 2 * STEPS

COSTS: list[tuple[Method, int, Cost]] = [
    (make("standard"), LATE, Cost(0, 1)),
    (make("pgd_at"), LATE, Cost(PGD_10, 1)),
    (make("pgd_at", ("attack_mode=train",)), LATE, Cost(PGD_10, 1)),
    (make("fast_at"), LATE, Cost(2, 1)),
    # p(x) stays fixed in the attack: one pass. The outer loss looks at x and at x'.
    (make("trades"), LATE, Cost(1 + PGD_10, 2)),
    (make("trades", ("forwards=joint",)), LATE, Cost(1 + PGD_10, 2)),
    (make("score"), LATE, Cost(1 + PGD_10, 2)),
    # Its attack is PGD-AT's.
    (make("mart"), LATE, Cost(PGD_10, 2)),
    # Half of the pictures through each wing.
    (make("twins"), LATE, Cost(PGD_10, 1)),
    (make("twins", ("variant=trades",)), LATE, Cost(PGD_10, 2)),
    # T(x), once.
    (make("ard"), LATE, Cost(PGD_10, 1, robust=1)),
    (make("ard", ("alpha=0.5",)), LATE, Cost(PGD_10, 2, robust=1)),
    # T(x) too, which is fixed in the attack and in both terms.
    (make("rslad"), LATE, Cost(PGD_10, 2, robust=1)),
    # The teacher moves with x': each step goes through it and back; T(x'); with alpha, T(x).
    (make("adaad"), LATE, Cost(PGD_10, 1, robust=PGD_10 + 1)),
    (make("adaad", ("alpha=0.5",)), LATE, Cost(PGD_10, 2, robust=PGD_10 + 2)),
    # T(x); after the warm-up also T(x'), for the trust, and S(x).
    (make("iad"), EARLY, Cost(PGD_10, 1, robust=1)),
    (make("iad"), LATE, Cost(PGD_10, 2, robust=2)),
    (make("iad", ("labels=0.2", "natural=0.3")), LATE, Cost(PGD_10, 2, robust=2, natural=1)),
    # AdaAD's attack; T(x') is both the trust and the target.
    (make("adaiad"), EARLY, Cost(PGD_10, 1, robust=PGD_10 + 1)),
    (make("adaiad"), LATE, Cost(PGD_10, 2, robust=PGD_10 + 1)),
]
every_method = pytest.mark.parametrize(
    ("method", "epoch", "cost"), COSTS, ids=[f"{method!r} in epoch {e}" for method, e, _ in COSTS]
)


def test_every_method_is_in_the_table() -> None:
    assert {type(method) for method, *_ in COSTS} == {type(make(name)) for name in names()}


@every_method
def test_a_step_costs_what_its_equations_need(method: Method, epoch: int, cost: Cost) -> None:
    assert counted(method, net(4), pictures(), epoch) == cost.operations


@every_method
def test_awp_costs_a_training_pass_of_the_loss_more(method: Method, epoch: int, cost: Cost) -> None:
    """And nothing of the teachers, who have said already what they think of x and of x'."""
    twice = replace(cost, trained=2 * cost.trained)
    assert counted(AWP(method), net(4), pictures(), epoch) == twice.operations


def test_ligs_costs_four_clean_steps() -> None:
    """Of two pictures each, forward, the gradient to the input, and both once more to the
    weights: 6F. The gradient of the first layer to the pictures themselves comes with it."""
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(108, 5), nn.Tanh(), nn.Linear(5, K))
    first, forward = 2 * 108 * 5, 2 * 108 * 5 + 2 * 5 * K
    found = counted(LIGSRegularised(make("standard")), student, pictures())
    assert found == (3 * forward - first) + 12 * forward


@pytest.mark.parametrize(
    "name", ["thin_resnet18", pytest.param("resnet18", marks=pytest.mark.slow)]
)
def test_adversarial_training_of_a_resnet_costs_23_forward_passes(name: str) -> None:
    model = Architecture(name, K, 3, "cifar10").build()
    train = pictures(2, 32)
    x = train.pixels(slice(0, 1))
    forward, first = forward_operations(model, x), first_layer(model, x)
    found = counted(make("pgd_at"), model, train)
    assert found == (2 * STEPS + 3) * forward - first
    assert 0 < first < forward / 50


def first_layer(model: nn.Module, x: Tensor) -> int:
    """The operations of the first convolution of a ResNet."""
    convolution = next(each for each in model.modules() if isinstance(each, nn.Conv2d))
    return operations(lambda: convolution(x))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_attack_that_measures_costs_two_passes_a_step_and_one_that_judges(
    precision: str,
) -> None:
    model, split = net(4), pictures()
    attack = PGD(Linf(1e-6), STEPS)  # too weak to break anything
    with evaluating(model), frozen(model):
        split = replace(split, labels=predicted(model, split))
        standing = torch.ones(B, dtype=torch.bool)
        counted = operations(lambda: cascade(model, [Stage("", (attack,))], split, standing))
    assert counted == B * (2 * STEPS * F + F)
    # With a clean verdict before it, and a second restart for all that stand.
    counted = operations(lambda: judge(model, split, Protocol(attack, 2, precision=precision)))
    assert counted == B * F + 2 * B * (2 * STEPS * F + F)
