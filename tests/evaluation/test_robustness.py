"""Robust accuracy of a linear model, which is known without any attack."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.active_set import STANDS, WRONG, Stage
from hardy.attacks.autoattack import autoattack
from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.robustness import Ensemble, Protocol, Verdicts, accuracies, gains, judge
from hardy.evaluation.statistics import paired, wilson
from hardy.losses import margin
from hardy.threat import L2, Linf

N, EPS = 60, 8 / 255


class TwoClasses(nn.Module):
    """Logits (0, w·x + b)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(Draws(0, 0, torch.tensor([0])).normal((1, 4, 4), "w")[0])
        self.b = nn.Parameter(-self.w.detach().sum() / 2)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.w).flatten(1).sum(1) + self.b
        return torch.stack([torch.zeros_like(score), score], 1)


def some_split(model: nn.Module) -> Split:
    """Greyish pictures (no ball touches the box), nine of ten of them rightly labelled."""
    draws = Draws(0, 0, torch.arange(N))
    images = (64 + draws.integers(128, (1, 4, 4), "images")).to(torch.uint8)
    split = Split(images, torch.zeros(N), torch.arange(N), "test")
    with torch.no_grad():
        labels = model(split.pixels(slice(None))).argmax(1)
    labels[::10] = 1 - labels[::10]
    return Split(images, labels, split.index, "test")


def margins(model: nn.Module, split: Split) -> Tensor:
    with torch.no_grad():
        return -margin(model(split.pixels(slice(None))), split.labels)


@pytest.mark.parametrize(
    ("protocol", "batch_size"),
    [
        (Protocol(PGD(Linf(EPS), steps=10), restarts=1), 7),
        (Protocol(PGD(Linf(EPS), steps=10), restarts=3), 256),
        (Protocol(PGD(L2(0.25), steps=10, random_start=False), restarts=1), 16),
    ],
    ids=["linf", "linf, worst of 3", "l2"],
)
def test_the_robust_are_those_with_enough_margin(protocol: Protocol, batch_size: int) -> None:
    """x withstands radius eps exactly where y's margin is above eps times the dual norm."""
    model = TwoClasses()
    split = some_split(model)
    threat = protocol.attack.threat
    dual = model.w.abs().sum() if isinstance(threat, Linf) else model.w.norm()
    room = margins(model, split) - threat.eps * dual.detach()
    assert room.abs().min() > 1e-4, "nobody stands on the edge"
    protocol = Protocol(protocol.attack, protocol.restarts, batch_size=batch_size)
    verdicts = judge(model, split, protocol)
    assert verdicts.clean.sum() == N * 9 // 10
    assert 0 < verdicts.robust.sum() < verdicts.clean.sum()
    assert torch.equal(verdicts.clean, margins(model, split) > 0)
    assert torch.equal(verdicts.robust, room > 0)


@pytest.mark.parametrize("threat", [Linf(EPS), L2(0.25)], ids=repr)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_autoattack_breaks_exactly_those_within_reach(threat: Linf | L2, precision: str) -> None:
    """In bf16 as well: what the search finds counts only where full precision agrees."""
    model = TwoClasses()
    split = some_split(model)
    dual = model.w.abs().sum() if isinstance(threat, Linf) else model.w.norm()
    room = margins(model, split) - threat.eps * dual.detach()
    protocol = Ensemble("AutoAttack quick", autoattack(threat, 2, "quick"), precision=precision)
    verdicts = judge(model, split, protocol)
    assert torch.equal(verdicts.robust, room > 0)
    assert verdicts.by is not None
    assert torch.equal(verdicts.by == STANDS, verdicts.robust)
    assert torch.equal(verdicts.by == WRONG, ~verdicts.clean)
    assert set(verdicts.by.tolist()) == {STANDS, WRONG, 0}, "one step breaks a linear network"


def test_an_ensemble_says_what_it_is() -> None:
    protocol = Ensemble("AutoAttack", autoattack(L2(0.5), 10), seed=4, more={"runs": "all"})
    assert protocol.setting == {
        "attack": "AutoAttack",
        "norm": "l2",
        "eps": 0.5,
        "runs": "all",
        "seed": 4,
        "dtype": "fp32",
    }
    with pytest.raises(ValueError, match="at least 1"):
        Ensemble("nothing", (Stage("none", ()),))


def test_judge_runs_in_eval_mode_and_leaves_the_net_as_it_was() -> None:
    model = nn.Sequential(TwoClasses(), nn.Dropout(0.5), nn.BatchNorm1d(2))
    split = some_split(model[0])
    model[2].running_mean.fill_(0.1)
    model[0].b.requires_grad_(False)
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    protocol = Protocol(PGD(Linf(EPS), steps=2))
    first, second = judge(model, split, protocol), judge(model, split, protocol)
    assert torch.equal(first.robust, second.robust), "dropout is off"
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_broken_is_decided_in_full_precision() -> None:
    """The search runs in bfloat16; every verdict still has the margin that fp32 sees."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    split = some_split(TwoClasses())
    split.labels[:] = model(split.pixels(slice(None))).argmax(1)
    verdicts = judge(model, split, Protocol(PGD(Linf(1e-6), steps=1), precision="bf16"))
    assert verdicts.clean.all(), "rounding in bfloat16 breaks no picture"


def verdicts_of(clean: str, robust: str) -> Verdicts:
    return Verdicts(*(torch.tensor([c == "+" for c in text]) for text in (clean, robust)))


def test_accuracies_say_what_was_measured() -> None:
    protocol = Protocol(PGD(Linf(EPS), steps=20, step_size=0.01), restarts=2, seed=5)
    clean, robust = accuracies(verdicts_of("+++-", "+---"), protocol, "test", "net", alpha=0.5)
    assert (clean.quantity, clean.value, clean.n) == ("clean accuracy", 0.75, 4)
    assert clean.interval == wilson(3, 4)
    assert (robust.quantity, robust.value, robust.split) == ("robust accuracy", 0.25, "test")
    assert robust.interval == wilson(1, 4)
    assert clean.subject == robust.subject == "net"
    wanted = {"norm": "linf", "eps": EPS, "steps": 20, "step_size": 0.01, "restarts": 2}
    assert wanted.items() <= robust.setting.items()
    assert robust.setting["seed"] == 5 and robust.setting["dtype"] == "fp32"
    assert clean.setting["alpha"] == robust.setting["alpha"] == 0.5


def test_gains_count_who_changed() -> None:
    before, after = verdicts_of("++--", "+---"), verdicts_of("+++-", "-+++")
    clean, robust = gains(before, after, Protocol(PGD(Linf(EPS))), "test", "net")
    assert (clean.value, clean.interval) == (0.25, paired(1, 0, 4))
    assert (robust.value, robust.interval) == (0.5, paired(3, 1, 4))
    assert (robust.setting["gained"], robust.setting["lost"]) == (3, 1)
    assert clean.quantity == "clean accuracy gain" and robust.quantity == "robust accuracy gain"


def test_nan_is_of_no_class() -> None:
    """The largest of NaNs is the first, and pictures of class 0 would be called robust."""
    model = TwoClasses()
    split = some_split(model)
    with torch.no_grad():
        model.b.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinite logits"):
        judge(model, split, Protocol(PGD(Linf(EPS))))


def test_no_restarts_is_an_error() -> None:
    with pytest.raises(ValueError, match="restarts must be at least 1, not 0"):
        Protocol(PGD(Linf(EPS)), restarts=0)
