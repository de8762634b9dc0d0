"""The way of a whole network to clean weights: all of them move, none of the network's own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.augment import Augment
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, judge
from hardy.evaluation.steps import Steps
from hardy.finetuning import equal_clean, rift
from hardy.finetuning.equal_clean import ALPHAS, towards_clean
from hardy.finetuning.interpolate import Point
from hardy.models.small import small_resnet
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Settings

PROTOCOL = Protocol(PGD(Linf(0.05), steps=1), restarts=1, batch_size=16)
SETTINGS = Settings(epochs=2, batch_size=16, lr=0.05, schedule="cosine")
KEPT = "tuned all weights, lr 0.05"


def pictures(count: int = 32) -> Split:
    """Two classes, dark and bright, with noise: learnt in a few steps."""
    torch.manual_seed(0)
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 60, (count, 1, 8, 8))
    images = (80 * labels.view(-1, 1, 1, 1) + 40 + noise).to(torch.uint8)
    return Split(images, labels, torch.arange(count), "test")


def network() -> nn.Module:
    torch.manual_seed(1)
    return small_resnet(num_classes=2)


def way(model: nn.Module, steps: Steps, seed: int = 0) -> list[Point]:
    settings = Settings(**{**vars(SETTINGS), "seed": seed})
    engine = Engine(torch.device("cpu"))
    split = pictures()
    return towards_clean(engine, model, split, Augment(1), settings, split, PROTOCOL, steps)


def said(points: list[Point]) -> Tensor:
    return torch.stack([torch.stack([p.verdicts.clean, p.verdicts.robust]) for p in points])


def test_the_given_network_stays_as_it_was(tmp_path: Path) -> None:
    model = network().train()
    model.get_submodule("bn1").eval()
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    points = way(model, Steps(tmp_path))
    assert [point.alpha for point in points] == [i / 10 for i in range(11)]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_all_weights_move_and_no_statistics(tmp_path: Path) -> None:
    model = network()
    for parameter in model.parameters():  # as of a file that was kept for evaluating only
        parameter.requires_grad_(False)
    way(model, Steps(tmp_path))
    tuned = Steps(tmp_path).tensors(KEPT)
    assert tuned is not None
    assert tuned.keys() == {name for name, _ in model.named_parameters()}


def test_the_ends_are_the_network_and_its_tuned_copy(tmp_path: Path) -> None:
    model, split = network(), pictures()
    points = way(model, Steps(tmp_path))
    own = judge(model, split, PROTOCOL)
    assert torch.equal(points[0].verdicts.clean, own.clean)
    assert torch.equal(points[0].verdicts.robust, own.robust)
    tuned = Steps(tmp_path).tensors(KEPT)
    assert tuned is not None
    model.load_state_dict({**model.state_dict(), **tuned})
    end = judge(model, split, PROTOCOL)
    assert torch.equal(points[-1].verdicts.clean, end.clean)
    assert torch.equal(points[-1].verdicts.robust, end.robust)


def test_what_was_kept_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = said(way(network(), Steps(tmp_path / "whole")))
    kept: list[str] = []
    usual = Steps.keep_tensors

    def stopping(self: Steps, name: str, tensors: dict[str, Tensor]) -> None:
        usual(self, name, tensors)
        kept.append(name)
        if len(kept) == 6:  # the weights, and five points
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "keep_tensors", stopping)
        with pytest.raises(KeyboardInterrupt):
            way(network(), Steps(tmp_path / "stopped"))
    assert kept[0] == KEPT
    monkeypatch.setattr(rift, "tune", None)
    monkeypatch.setattr(Steps, "keep_tensors", lambda *args: kept.append(args[1]) or usual(*args))
    assert torch.equal(said(way(network(), Steps(tmp_path / "stopped"))), whole)
    assert len(kept) == len(set(kept)) == 1 + len(ALPHAS)


def test_the_learning_rate_falls_to_nothing_over_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps of half a cosine: 1, .8536, .5, .1464 of the highest."""
    from hardy.training.loop import Loop

    rates, usual = [], Loop.step

    def step(self: Loop, batch: object, number: int, lr: float) -> dict[str, Tensor]:
        rates.append(lr)
        return usual(self, batch, number, lr)  # type: ignore[arg-type]

    monkeypatch.setattr(Loop, "step", step)
    monkeypatch.setattr(equal_clean, "ALPHAS", (0.0,))
    way(network(), Steps(tmp_path))
    assert rates == pytest.approx([0.05, 0.0426777, 0.025, 0.0073223], abs=1e-6)
