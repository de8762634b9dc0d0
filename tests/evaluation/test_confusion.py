"""Confusion matrices against counts by hand, and classes under an attack on linear models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.confusion import (
    class_accuracies,
    confusion,
    predicted_under,
    write_confusion,
)
from hardy.evaluation.robustness import Protocol, Verdicts, judge, predicted
from hardy.evaluation.statistics import wilson
from hardy.threat import Linf

N, EPS = 60, 4 / 255


@pytest.fixture
def model() -> nn.Module:
    """Logits W (x - 1/2) of three classes."""
    linear = nn.Linear(16, 3)
    weight = Draws(0, 0, torch.arange(3)).normal((16,), "w")
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(-weight.sum(1) / 2)
    return nn.Sequential(nn.Flatten(), linear).eval()


@pytest.fixture
def split(model: nn.Module) -> Split:
    """Greyish pictures, nine of ten rightly labelled."""
    draws = Draws(0, 0, torch.arange(N))
    images = (64 + draws.integers(128, (1, 4, 4), "images")).to(torch.uint8)
    found = Split(images, torch.zeros(N), torch.arange(N), "test")
    with torch.no_grad():
        labels = model(found.pixels(slice(None))).argmax(1)
    labels[::10] = (labels[::10] + 1) % 3
    return Split(images, labels, found.index, "test")


def test_rows_are_true_classes_and_columns_what_was_said() -> None:
    labels, said = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 1, 0, 2])
    expected = torch.tensor([[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    found = confusion(labels, said, 4)
    assert torch.equal(found, expected) and found.dtype == torch.int64


def test_class_accuracies_are_rows_of_the_matrix() -> None:
    matrix = torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 0]])
    classes = ("cat", "no such pictures", "<b>")
    cat, odd = class_accuracies(matrix, classes, "test", "net", {"kind": "clean"})
    assert (cat.value, cat.n, cat.interval) == (0.75, 4, wilson(3, 4))
    assert (odd.value, odd.n, odd.interval) == (0.0, 2, wilson(0, 2))
    assert (
        cat.setting == {"class": "cat", "label": 0, "kind": "clean"}
        and odd.setting["class"] == "<b>"
    )
    assert cat.quantity == "class accuracy" and cat.subject == "net"


def test_classes_under_attack_are_those_that_the_ball_holds(model: nn.Module, split: Split) -> None:
    protocol = Protocol(PGD(Linf(EPS), steps=10), restarts=2, batch_size=16)
    verdicts = judge(model, split, protocol)
    clean = predicted(model, split, 16)
    assert torch.equal(clean == split.labels, verdicts.clean)
    found = predicted_under(model, split, protocol, verdicts, clean)
    assert torch.equal(found == split.labels, verdicts.robust), "the trace is robust accuracy"
    assert torch.equal(found[~verdicts.clean], clean[~verdicts.clean])
    broken = (verdicts.clean & ~verdicts.robust).nonzero()[:, 0]
    assert len(broken) > 5
    weight, logits = model[1].weight.detach(), model(split.pixels(slice(None))).detach()
    for row in broken.tolist():
        y, said = int(split.labels[row]), int(found[row])
        ahead = logits[row, said] - logits[row, y]
        assert ahead + EPS * (weight[said] - weight[y]).abs().sum() > 0, "out of the ball's reach"


def test_an_example_that_is_not_found_again_counts_as_the_likeliest_wrong_class(
    model: nn.Module, split: Split
) -> None:
    protocol = Protocol(PGD(Linf(1e-6), steps=1), restarts=1)
    right = predicted(model, split) == split.labels
    claimed = Verdicts(right, torch.zeros_like(right), torch.where(right, 0, -2))
    found = predicted_under(model, split, protocol, claimed, predicted(model, split))
    second = model(split.pixels(slice(None))).topk(2).indices[:, 1]
    assert torch.equal(found[right], second[right])
    assert not (found == split.labels).any()


def test_the_file_is_plain_numbers(tmp_path: Path) -> None:
    clean, adversarial = torch.eye(2, dtype=torch.int64), torch.ones(2, 2, dtype=torch.int64)
    both = {"clean": clean, "adversarial": adversarial}
    path = tmp_path / "confusion.npz"
    write_confusion(path, ("é", "b/c"), {"a net": both, "runs/α": both})
    with np.load(path, allow_pickle=False) as file:
        assert file["classes"].tolist() == ["é", "b/c"]
        kinds = {f"{net}/{kind}" for net in ("a net", "runs/α") for kind in both}
        assert set(file.files) == {"classes", *kinds}
        assert file["runs/α/adversarial"].dtype == np.int64
        assert np.array_equal(file["a net/clean"], np.eye(2))
