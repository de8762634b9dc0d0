"""Runs on networks of timm and torchvision: from the weights that the library publishes, and on
to criticality, RiFT and evaluation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from verb_runs import assert_same, hardy

from hardy import config
from hardy.evaluation.results import read
from hardy.models.architecture import Architecture
from hardy.models.load import read_checkpoint
from hardy.verbs.asked.inputs import unseen_val
from hardy.verbs.training.job import job_of
from vision_ops import publish, timm

SMALL = (
    *("--data", "digits", "--channels", "3", "--val-fraction", "0.2", "--eps", "0.1"),
    *("--steps", "1", "--restarts", "1", "--batch-size", "32", "--device", "cpu"),
)


def asked(**more: Any) -> config.Train:
    few: dict[str, Any] = {"eps": 0.1, "steps": 1, "epochs": 1, "batch_size": 32, "channels": 3}
    return config.Train(**{**few, "data": "digits", "val_fraction": 0.2, **more})


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> nn.Module:
    """The network whose weights timm publishes, as far as these tests can see."""
    torch.manual_seed(5)
    network = timm.create_model("resnet18").eval()
    publish(network, tmp_path, monkeypatch)
    return network


def test_published_weights_are_a_start_from_elsewhere(theirs: nn.Module) -> None:
    state = torch.get_rng_state()
    job = job_of(asked(model="timm:resnet18", pretrained=True, input_size=32))
    assert torch.equal(torch.get_rng_state(), state)
    # Their normalisation, not that of the data.
    assert job.architecture == Architecture("timm:resnet18", 10, 3, "imagenet", 32)
    assert job.start is not None and not job.start.ours and not unseen_val(job.start, job.data)
    total = sum("num_batches" not in key for key in theirs.state_dict())
    assert job.start.notes == [
        f"taken from the published weights of timm:resnet18: {total - 2} of {total} tensors; "
        "new: fc.weight, fc.bias (1000 → 10 classes)"
    ]
    mine = job.model.get_submodule("model").state_dict()
    for key, value in theirs.state_dict().items():
        assert key.startswith("fc.") or torch.equal(mine[key], value)
    again = job_of(asked(model="timm:resnet18", pretrained=True, input_size=32))
    assert_same(again.model.state_dict(), job.model.state_dict())
    other = job_of(asked(model="timm:resnet18", pretrained=True, input_size=32, seed=1))
    fc = [one.model.get_parameter("model.fc.weight") for one in (job, other)]
    assert not torch.equal(fc[0], fc[1])
    said = job_of(asked(model="timm:resnet18", pretrained=True, normalize="none"))
    assert said.architecture.normalize == "none"


def test_weights_without_a_classifier_are_not_said_to_have_classes(
    theirs: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {**timm.get_pretrained_cfg("resnet18").to_dict(), "num_classes": 0}
    monkeypatch.setattr(
        timm, "get_pretrained_cfg", lambda _: SimpleNamespace(to_dict=lambda: about)
    )
    job = job_of(asked(model="timm:resnet18", pretrained=True, input_size=32))
    assert job.start is not None and job.start.extra["transfer"]["classes"] == [0, 10]
    (note,) = job.start.notes
    assert note.endswith("new: fc.weight, fc.bias (there was none; 10 classes)")


def test_a_classifier_layer_of_as_many_classes_is_kept_and_that_is_said(
    theirs: nn.Module, tmp_path: Path
) -> None:
    labels = np.arange(3000) % 1000
    np.savez(tmp_path / "a.npz", image=np.zeros((3000, 8, 8, 3), np.uint8), label=labels)
    many = {"data": f"npz:{tmp_path / 'a.npz'}", "channels": None, "input_size": 32}
    job = job_of(asked(model="timm:resnet18", pretrained=True, **many))
    assert_same(job.model.get_submodule("model").state_dict(), theirs.state_dict())
    assert job.start is not None
    (note,) = job.start.notes
    assert "the classifier layer of their 1000 classes: --num-classes 1000 makes" in note
    job = job_of(asked(model="timm:resnet18", pretrained=True, num_classes=1000, **many))
    assert job.start is not None and "new: model.fc.weight" in job.start.notes[-1]


def test_a_new_network_of_a_library_has_the_normalisation_of_the_data() -> None:
    job = job_of(asked(model="timm:resnet18"))
    assert job.start is None
    assert job.architecture == Architecture("timm:resnet18", 10, 3, job.data.normalization)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"model": "resnet18"}, "--pretrained is for networks of timm and torchvision"),
        ({}, "--pretrained is for networks of timm and torchvision"),
        ({"model": nn.Linear(2, 2)}, "--pretrained is for networks of timm and torchvision"),
        ({"model": "timm:resnet18", "checkpoint": "a.pt"}, "are two starts"),
        ({"model": "torchvision:resnet18", "channels": 1}, "of 3 channels, not 1: use --channels"),
        ({"model": "timm:resnet10"}, "nearest: resnet10t"),
    ],
)
def test_mistakes(words: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line) as error:
        job_of(asked(pretrained=True, **words))
    assert "\n" not in str(error.value)


def test_pictures_of_another_size_than_the_network_is_made_for() -> None:
    line = "8×8 pictures of digits .* --input-size 224, the size it is made for"
    with pytest.raises(ValueError, match=line) as error:
        job_of(asked(model="timm:vit_tiny_patch16_224"))
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "module"),
    [
        ("timm:resnet18", "layer4.1.conv2"),
        ("timm:convnext_atto", "stages.3.blocks.1.mlp.fc2"),
        ("timm:vit_tiny_patch16_224", "blocks.11.attn.qkv"),
    ],
)
def test_from_training_to_rift_and_evaluation_without_a_flag(
    model: str, module: str, tmp_path: Path
) -> None:
    train = ("train", *SMALL, "--model", model, "--input-size", "32", "--epochs", "1")
    few = ("--limit", "64", "--val-pictures", "16", "--test-limit", "16")
    assert hardy(*train, *few, "--lr", "0.01", "--out", tmp_path / "at") == 0
    found = read_checkpoint(tmp_path / "at")
    assert found.ours and found.architecture.model == model and found.architecture.input_size == 32
    rift = ("rift", *SMALL, "--checkpoint", tmp_path / "at", "--limit", "64", "--epochs", "1")
    few = ("--mrc-pictures", "8", "--choose-pictures", "16", "--test-limit", "16", "--alphas", "1")
    words = ("--modules", f"model.{module}", "--batch-size", "8")
    assert hardy(*rift, *few, *words, "--out", tmp_path / "rift") == 0
    results = read(tmp_path / "rift")
    assert not any("run in full" in note or "full network" in note for note in results.notes)
    both = (tmp_path / "at", tmp_path / "rift")
    evaluate = ("evaluate", *both, *SMALL, "--limit", "16", "--curve-pictures", "0")
    assert hardy(*evaluate, "--preflight-pictures", "16", "--out", tmp_path / "e") == 0
    measured = [*read(tmp_path / "e").select("operations")]
    assert len({one.value for one in measured}) == 1 and measured[0].value > 1e6
