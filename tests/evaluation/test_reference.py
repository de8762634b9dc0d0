"""The authors' package beside ours: on a network whose boundaries are known both find them."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest
import torch
from torch import nn

from hardy.attacks.active_set import STANDS, cascade
from hardy.attacks.autoattack import autoattack
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.reference import must_be_there, reference
from hardy.threat import Linf

N, K = 24, 5


def linear() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, K))
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight -= layer.weight.mean(1, keepdim=True)
    return model.eval()


def split_for(model: nn.Module) -> Split:
    """Grey enough that no wall is near; the last two are labelled wrongly."""
    images = Draws(0, 0, torch.arange(N)).integers(100, (3, 3, 3), "images").add(80).byte()
    split = Split(images, torch.zeros(N), torch.arange(N), "test")
    labels = model(split.pixels(slice(None))).argmax(1)
    labels[-2:] = (labels[-2:] + 1) % K
    return Split(images, labels, torch.arange(N), "test")


def distances(model: nn.Module, split: Split) -> torch.Tensor:
    layer = model[1]  # type: ignore[index]
    assert isinstance(layer, nn.Linear)
    logits, weight, y = model(split.pixels(slice(None))), layer.weight, split.labels
    norm = (weight[y][:, None] - weight).abs().sum(2)
    found = (logits.gather(1, y[:, None]) - logits) / norm
    return found.scatter(1, y[:, None], float("inf")).amin(1).detach()


def test_both_break_what_lies_within_reach() -> None:
    model = linear()
    split = split_for(model)
    near = distances(model, split)
    eps = float(near[:-2].median()) + 1e-4
    state = torch.random.get_rng_state()
    theirs = reference(model, split, Linf(eps), num_classes=K, version="quick", batch_size=10)
    assert torch.equal(torch.random.get_rng_state(), state)
    right = torch.arange(N) < N - 2
    by = cascade(model, autoattack(Linf(eps), K, "quick"), split, right)
    assert torch.equal(theirs, by == STANDS)
    assert torch.equal(theirs, right & (near > eps))
    assert 0 < theirs.sum() < N - 2


def test_where_nobody_stands_there_is_nothing_to_attack() -> None:
    model = linear()
    split = split_for(model)
    wrong = Split(split.images, (split.labels + 1) % K, split.index, "test")
    assert not (model(wrong.pixels(slice(None))).argmax(1) == wrong.labels).any()
    assert not reference(model, wrong, Linf(0.1), num_classes=K).any()


def test_what_it_cannot_do_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert must_be_there("standard", 10).startswith("pyautoattack ")
    with pytest.raises(ValueError, match="no 'rand' version"):
        must_be_there("rand", 10)
    with pytest.raises(ValueError, match="needs four classes, the data has 3"):
        must_be_there("standard", 3)

    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(ValueError, match=r"pip install 'hardy\[reference\]'"):
        must_be_there("standard", 10)
