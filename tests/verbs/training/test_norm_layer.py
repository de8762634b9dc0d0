"""hardy train --norm-layer: built, trained, saved and read again as that kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from verb_runs import TRAIN, hardy, replaced, weights

import hardy as package
from hardy import config
from hardy.evaluation.results import read
from hardy.models.affine import Affine
from hardy.models.architecture import Architecture
from hardy.models.load import read_checkpoint, save
from hardy.models.norm import with_norm
from hardy.models.norm_layers import NormLayer
from hardy.models.small import resnet2b, small_resnet
from hardy.modes import batchnorms
from hardy.verbs.training.job import Job, job_of
from hardy.verbs.training.normalised import NOTHING

LINEAR = f"{__name__}:for_wider_pictures"
PICTURES = package.load_data("digits").train


def job(**more: Any) -> Job:
    few: dict[str, Any] = {"data": "digits", "eps": 0.1, "steps": 2, "epochs": 1, "limit": 300}
    return job_of(config.Train(**{**few, **more}))


def for_wider_pictures() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(100), nn.Linear(100, 10))


def trained() -> nn.Module:
    """A small network whose BatchNorm has seen pictures."""
    torch.manual_seed(0)
    net = small_resnet()
    with torch.no_grad():
        net(PICTURES.pixels(slice(0, 64)))
    return net.eval()


@pytest.mark.parametrize("kind", ["gn", "none"])
def test_a_run_is_read_again_as_what_it_is(kind: NormLayer, tmp_path: Path) -> None:
    """Its file alone is enough to build it, and to train it on."""
    few = replaced(replaced(TRAIN, "--epochs", "1"), "--lr", "0.02")
    assert hardy(*few, "--norm-layer", kind, "--out", tmp_path / "first") == 0
    found = read_checkpoint(tmp_path / "first")
    assert found.architecture == Architecture("small_resnet", 10, 1, "none", None, kind)
    assert not batchnorms(found.model)
    assert any(
        isinstance(m, Affine if kind == "none" else nn.GroupNorm) for m in found.model.modules()
    )
    assert found.model.state_dict().keys() == weights(tmp_path / "first").keys()
    assert job(checkpoint=tmp_path / "first").architecture == found.architecture
    name = {"gn": "GroupNorm", "none": "no normalisation"}[kind]
    assert read(tmp_path / "first").facts["model"] == f"small_resnet with {name}"
    filled = package.load(tmp_path / "first", model=small_resnet())
    x = PICTURES.pixels(slice(0, 8))
    assert torch.equal(filled(x), found.model(x)), "a Module that was handed in is swapped too"


def test_a_new_network_without_normalisation_begins_as_with_batchnorm() -> None:
    """On pictures from all over train, in class order too; with the same weights otherwise."""
    plain, without = job(model="small_resnet"), job(model="small_resnet", norm_layer="none")
    pictures = plain.train.pixels(slice(0, None, 2))
    assert len(pictures) == 150
    with torch.no_grad():
        ours, theirs = without.model.train()(pictures), plain.model.train()(pictures)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert without.architecture.norm == "none" and without.start is None
    (said,) = without.remarks
    assert "on 150 pictures of train" in said


def test_of_a_checkpoint_statistics_are_folded_and_the_notes_say_what_was_done(
    tmp_path: Path,
) -> None:
    net, file, x = trained(), tmp_path / "net.safetensors", PICTURES.pixels(slice(0, 8))
    save(file, net, Architecture("small_resnet", 10, 1, "none"), classes=[], extra={})
    notes = {}
    kinds: tuple[NormLayer, ...] = ("none", "gn", "bn")
    for kind in kinds:
        found = job(checkpoint=file, norm_layer=kind)
        assert found.start is not None and found.architecture.norm == kind
        notes[kind] = " ".join(found.start.notes)
        theirs = with_norm(net, kind)(x)
        torch.testing.assert_close(found.model(x), theirs, rtol=0, atol=1e-5)
        if kind != "gn":
            torch.testing.assert_close(theirs, net(x), rtol=0, atol=1e-4)
    assert "no normalisation: BatchNorm's statistics are now a part of gamma" in notes["none"]
    assert "swapped for GroupNorm: gamma and beta were taken over, and all" in notes["gn"]
    handed = job(model=net, norm_layer="ln")
    assert handed.architecture.norm == "ln" and batchnorms(net), "the given one stays as it is"
    assert not batchnorms(handed.model)


def test_a_network_that_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    found = job(model="mnist_cnn", input_size=28, norm_layer="none")
    assert found.architecture.norm is None and found.remarks == [NOTHING]
    assert NOTHING in capsys.readouterr().err
    with pytest.raises(ValueError, match="no normalisation that gn could take the place of"):
        job(model="mnist_cnn", input_size=28, norm_layer="gn")
    given = job(model=resnet2b(in_channels=1, normalize="none"), input_size=32, norm_layer="none")
    assert given.start is not None and NOTHING in given.start.notes


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"norm_layer": "instance"}, "--norm-layer must be one of bn, gn, ln, in, none, not 'in"),
        ({"norm_layer": "in", "model": "thin_resnet18"}, "a map is of one position"),
        ({"norm_layer": "none", "model": LINEAR}, "does not take the 8×8 pictures"),
        ({"norm_layer": "gn", "method": "twins"}, "every BatchNorm, and the network has none"),
    ],
)
def test_what_cannot_be_is_said_before_a_file_is_written(
    more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        package.train(
            **{"data": "digits", "model": "small_resnet", "out": tmp_path / "run", **more}
        )
    assert not (tmp_path / "run").exists()
