"""A network that is trained for some classes goes on to others: a new classifier layer, every
other weight as it was, and a word on which is which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_resume import stop_at
from torch import Tensor, nn
from verb_runs import assert_same, hardy, rows, timeless, weights

import hardy as package
from hardy import config
from hardy.evaluation.results import read
from hardy.models.architecture import Architecture
from hardy.models.load import read_checkpoint, save
from hardy.verbs.asked.inputs import unseen_val
from hardy.verbs.training.job import Job, job_of

SMALL = (
    *("--eps", "0.1", "--steps", "2", "--restarts", "1", "--batch-size", "32"),
    *("--val-fraction", "0.2", "--device", "cpu"),
)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of grey pictures of 12x12: bars that lie, bars that stand, and spots."""
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    random = np.random.default_rng(0)
    for name in ("lying", "spot", "standing"):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            picture = random.integers(0, 60, (12, 12), dtype=np.uint8)
            row, column = random.integers(1, 9, 2)
            high, wide = {"lying": (2, 12), "standing": (12, 2), "spot": (3, 3)}[name]
            top, left = row * (high < 12), column * (wide < 12)
            picture[top : top + high, left : left + wide] += 190
            Image.fromarray(picture, "L").save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def to_shapes(shapes: Path) -> tuple[str, ...]:
    return ("train", *SMALL, "--data", f"folder:{shapes}", "--epochs", "2", "--lr", "0.05")


def asked(shapes: Path, **more: Any) -> config.Train:
    few: dict[str, Any] = {"eps": 0.1, "steps": 2, "epochs": 1, "batch_size": 32}
    return config.Train(**{**few, "data": f"folder:{shapes}", "num_classes": "auto", **more})


def start_of(job: Job) -> Any:
    assert job.start is not None
    return job.start


def renewed(model: nn.Module, before: dict[str, Tensor], rows: int) -> None:
    """All is as it was, to the bit, but for the last layer, which has that many rows."""
    after = model.state_dict()
    assert after.keys() == before.keys()
    for key, value in before.items():
        if key.startswith("linear."):
            assert after[key].shape == (rows, *value.shape[1:])
        else:
            assert torch.equal(after[key], value)


def test_from_digits_to_a_folder_of_other_pictures_and_on(
    robust: Path, shapes: Path, to_shapes: tuple[str, ...], tmp_path: Path
) -> None:
    out, data = tmp_path / "shapes", ("--data", f"folder:{shapes}")
    words = (*to_shapes, "--checkpoint", robust, "--num-classes", "auto", "--input-size", "8")
    assert hardy(*words, "--out", out) == 0
    found = read(out)
    total = len([key for key in weights(robust) if "num_batches" not in key])
    taken = (
        f"taken from the checkpoint: {total - 2} of {total} tensors; new: "
        "model.linear.weight, model.linear.bias (10 → 3 classes)"
    )
    assert taken in found.notes
    assert any("trained on other data, digits. Whether that holds" in note for note in found.notes)

    # What follows takes it with no flag, though its pictures are resized inside.
    kept = read_checkpoint(out)
    assert kept.ours and kept.notes == []
    assert kept.classes == ("lying", "spot", "standing")
    assert kept.architecture == Architecture("small_resnet", 3, 1, "none", 8)
    assert kept.extra["transfer"] == {
        "taken": total - 2,
        "new": ["model.linear.weight", "model.linear.bias"],
        "classes": [10, 3],
        "from": "digits",
    }
    evaluate = ("evaluate", *SMALL, *data, out, "--curve-pictures", "0")
    assert hardy(*evaluate, "--out", tmp_path / "e") == 0
    accuracy = found.one("clean accuracy", split="test", subject="pgd_at").value
    assert read(tmp_path / "e").one("clean accuracy").value == accuracy
    few = (*SMALL, *data, "--mrc-pictures", "16", "--checkpoint", out)
    assert hardy("mrc", *few, "--out", tmp_path / "m") == 0
    assert "model.linear" in {m.subject for m in read(tmp_path / "m").select("mrc")}
    last = ("--modules", "last", "--epochs", "1", "--alphas", "1")
    assert hardy("rift", *few, *last, "--out", tmp_path / "r") == 0
    better = read(tmp_path / "r")
    assert any("What this network was trained from may have seen" in n for n in better.notes)
    assert read_checkpoint(tmp_path / "r").extra["transfer"] == kept.extra["transfer"]


def test_the_new_layer_alone_is_new(robust: Path, shapes: Path) -> None:
    before = package.load(robust).state_dict()
    state = torch.get_rng_state()
    job = job_of(asked(shapes, checkpoint=robust))
    assert torch.equal(torch.get_rng_state(), state)
    renewed(job.model, before, 3)
    assert job.architecture == Architecture("small_resnet", 3, 1, "none")
    assert start_of(job).classes == ("lying", "spot", "standing")
    same, other = (job_of(asked(shapes, checkpoint=robust, seed=seed)) for seed in (0, 1))
    assert_same(same.model.state_dict(), job.model.state_dict())
    linear = [one.model.get_submodule("linear").weight for one in (job, other)]
    assert not torch.equal(*linear)  # type: ignore[call-overload]


def test_the_same_classes_keep_their_layer_unless_a_number_asks(robust: Path) -> None:
    before = package.load(robust).state_dict()
    common: dict[str, Any] = {"data": "digits", "val_fraction": 0.2, "checkpoint": robust}
    job = job_of(asked(Path(), **common))
    assert_same(job.model.state_dict(), before)
    (note,) = start_of(job).notes
    assert note.startswith("the classifier layer was kept, with its 10 classes: they are those")
    job = job_of(asked(Path(), **{**common, "num_classes": 10}))
    renewed(job.model, before, 10)
    assert not torch.equal(job.model.state_dict()["linear.weight"], before["linear.weight"])
    assert start_of(job).notes[0].endswith("(10 → 10 classes)")
    # These are the pictures that it was trained on, with the same cut: val is as it was.
    assert unseen_val(start_of(job), job.data)


def test_as_many_classes_of_other_names_get_a_new_layer(shapes: Path, tmp_path: Path) -> None:
    spec = Architecture("small_resnet", 3, 1, "none")
    model = spec.build()
    save(tmp_path / "a.safetensors", model, spec, classes=["a", "b", "c"], extra={})
    job = job_of(asked(shapes, checkpoint=tmp_path / "a.safetensors"))
    assert start_of(job).notes[0].endswith("(3 → 3 classes)")
    # A file from elsewhere has no names: the number alone is compared.
    torch.save(model.state_dict(), tmp_path / "a.pt")
    few = asked(shapes, checkpoint=tmp_path / "a.pt", model="small_resnet", normalize="none")
    job = job_of(few)
    assert_same(job.model.state_dict(), model.state_dict())
    assert start_of(job).notes[-1] == (
        "the classifier layer was kept, with its 3 classes: as many as the data has; "
        "--num-classes 3 makes it anew"
    )
    assert start_of(job_of(replace(few, num_classes=3))).notes[-1].endswith("(3 → 3 classes)")


def test_a_file_from_elsewhere_and_a_module(foreign: Path, robust: Path, shapes: Path) -> None:
    before = package.load(robust).state_dict()
    job = job_of(asked(shapes, checkpoint=foreign, model="small_resnet"))
    renewed(job.model, before, 3)
    assert job.architecture.num_classes == 3
    assert not unseen_val(start_of(job), job.data)
    net = package.load(robust)
    job = job_of(asked(shapes, model=net))
    renewed(job.model, before, 3)
    assert start_of(job).notes[0].startswith("taken from the network that was handed in: ")
    assert_same(net.state_dict(), before)
    job = job_of(asked(shapes, checkpoint=foreign, model=net))
    renewed(job.model, before, 3)
    # The layer may be named, with the front of the network or without it.
    for name in ("linear", "model.linear"):
        job = job_of(asked(shapes, checkpoint=robust, head=name, input_size=16))
        renewed(job.model.get_submodule("model"), before, 3)


def test_a_transfer_that_was_stopped_goes_on_bit_for_bit(
    robust: Path, to_shapes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*to_shapes, "--checkpoint", robust, "--num-classes", "3", "--input-size", "16")
    assert hardy(*words, "--out", tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        stop_at(patch, "hardy.training.checkpoint.save", 2)
        assert hardy(*words, "--out", tmp_path / "stopped") == 130
    assert hardy(*words, "--out", tmp_path / "stopped", "--resume") == 0
    assert_same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
    assert timeless(read(tmp_path / "stopped")) == timeless(read(tmp_path / "whole"))


def test_a_new_network_and_one_from_python_resize_too(shapes: Path) -> None:
    job = job_of(asked(shapes, model="mnist_cnn", input_size=28))
    assert job.architecture == Architecture("mnist_cnn", 3, 1, "none", 28)
    inner = Architecture("mnist_cnn", 3, 1, "none").build()
    job = job_of(asked(shapes, model=inner, input_size=28))
    assert job.architecture.input_size == 28
    pictures = job.data.train.pixels(slice(0, 2))
    assert job.model.eval()(pictures).shape == (2, 3)


class Added(nn.Module):
    """Two heads whose logits are added."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(144, 10), nn.Linear(144, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x.flatten(1)) + self.two(x.flatten(1))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"num_classes": None},
            "10 classes apart, shapes has 3: .* train --num-classes auto",
        ),
        ({"num_classes": 4}, "--num-classes 4: shapes has 3 classes, give auto or 3"),
        ({"num_classes": "all"}, "--num-classes must be auto or a number, not 'all'"),
        ({"num_classes": None, "head": "linear"}, "--head names the layer that --num-classes"),
        ({"head": "fc"}, "--head: the network has no linear map or convolution 'fc'"),
        ({"head": "conv1"}, "with a new layer conv1 the network does not give 3 logits: --head"),
        ({"input_size": 0}, "--input-size must be at least 1, not 0"),
        ({"data": "mnist colour"}, "takes 1 colour channels, .* has 3: --channels 1 makes such"),
        ({"checkpoint": None, "model": Added()}, r"several layers together \(one, two\)"),
        ({"checkpoint": None, "model": Added(), "head": "one"}, "does not give 3 logits: --head"),
        (
            {"checkpoint": None, "model": Added(), "num_classes": None},
            r"gives \(1, 10\) for one picture of shapes: .* hardy train --num-classes auto",
        ),
        (
            {"checkpoint": None, "model": nn.Linear(7, 10)},
            "Python does not take the 12×12 pictures of shapes",
        ),
    ],
)
def test_mistakes(more: dict[str, Any], said: str, robust: Path, shapes: Path) -> None:
    if more.get("data"):
        data = package.load_data(f"folder:{shapes}")
        coloured = {
            name: replace(split, images=split.images[:].repeat(1, 3, 1, 1))
            for name, split in (("train", data.train), ("val", data.val), ("test", data.test))
        }
        more = {"data": replace(data, **coloured)}
    with pytest.raises(ValueError, match=said) as error:
        job_of(asked(shapes, **{"checkpoint": robust, **more}))
    assert "\n" not in str(error.value)


def test_the_order_of_classes_is_told_how_to_mend(robust: Path, tmp_path: Path) -> None:
    spec = Architecture("small_resnet", 10, 1, "none")
    names = [f"class {i}" for i in range(10)]
    save(tmp_path / "a.safetensors", spec.build(), spec, classes=names, extra={})
    with pytest.raises(ValueError, match="the same, or a new classifier layer by hardy train"):
        package.evaluate(data="digits", checkpoint=tmp_path / "a.safetensors", out=tmp_path / "e")


def test_a_network_must_give_its_logits_alone(shapes: Path) -> None:
    class Both(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(ValueError, match="gives a tuple for a picture: it must give the logits"):
        job_of(asked(shapes, model=Both(), num_classes="auto"))


def test_the_words_of_the_command_line(to_shapes: tuple[str, ...], tmp_path: Path) -> None:
    words = (*to_shapes, "--model", "small_resnet", "--out", tmp_path / "out")
    assert hardy(*words, "--num-classes", "several") == 2
    assert hardy(*words, "--head", "linear") == 2
    assert hardy(*words, "--head", "linear", "--num-classes", "auto") == 2  # a new network
    assert not (tmp_path / "out").exists()
