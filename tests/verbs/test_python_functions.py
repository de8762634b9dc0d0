"""The verbs as Python functions: the same keywords, and things where the command line has
names: a network, a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from verb_runs import arguments, assert_same, hardy, weights

import hardy as package
from hardy.data.splits import DataSet, Split
from hardy.evaluation.results import read

TINY: dict[str, Any] = {"eps": 0.1, "steps": 2, "restarts": 1, "batch_size": 64, "device": "cpu"}


class Net(nn.Module):
    """A network of the user's own: no BatchNorm, a name that no list knows."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Linear(8 * 8 * 8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).relu().flatten(1))


def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="module")
def digits() -> DataSet:
    """The digits as a user has them: tensors, and no word on where they come from."""
    known = package.load_data("digits", val_fraction=0.2)
    return replace(known, name="mine", provenance={})


def test_a_module_and_a_data_set_go_through_every_verb(digits: DataSet, tmp_path: Path) -> None:
    common: dict[str, Any] = {**TINY, "data": digits}
    trained = package.train(
        **common, model=net(), epochs=5, lr=0.1, schedule="onecycle", out=tmp_path / "train"
    )
    accuracy = trained.one("clean accuracy", split="test", subject="pgd_at").value
    assert accuracy > 0.5
    named: dict[str, Any] = {**common, "checkpoint": tmp_path / "train", "model": net()}

    measured = package.mrc(**named, mrc_pictures=32, out=tmp_path / "mrc")
    assert [m.subject for m in measured.select("mrc")] == ["body", "head"]
    better = package.rift(
        **named, mrc_pictures=32, epochs=1, alphas=(1.0,), test_limit=100, out=tmp_path / "rift"
    )
    # What a network that is handed in was trained on is not known: val is not taken for unseen.
    assert any("What this network was trained from" in note for note in better.notes)
    told = package.rift(
        **named, mrc_pictures=32, epochs=1, alphas=(1.0,), choose_on="val", out=tmp_path / "told"
    )
    assert any("chosen on val" in note for note in told.notes)
    found = package.evaluate(**named, out=tmp_path / "e")
    assert found.one("clean accuracy").value == accuracy
    assert "mine" in str(found.facts["data"])


def test_a_network_that_is_handed_in_is_measured_as_it_is(digits: DataSet, tmp_path: Path) -> None:
    one = net()
    before = {k: v.clone() for k, v in one.state_dict().items()}
    found = package.evaluate(**TINY, data=digits, model=one, limit=100, out=tmp_path / "e")
    right = one(digits.test.pixels(slice(None))).argmax(1) == digits.test.labels
    accuracy = float(right.double().mean())
    assert abs(found.one("clean accuracy").value - accuracy) < 0.1
    assert_same(one.state_dict(), before)


def test_the_cap_on_train_holds_for_a_data_set_too(digits: DataSet, tmp_path: Path) -> None:
    results = package.train(
        **TINY, data=digits, model=net(), epochs=1, limit=64, test_limit=20, out=tmp_path / "t"
    )
    assert results.one("train loss").n == 64


def test_words_and_keywords_are_one_run(tmp_path: Path) -> None:
    words = ("--data", "digits", "--model", "small_resnet", "--eps", "0.1", "--steps", "2")
    more = ("--restarts", "1", "--batch-size", "64", "--device", "cpu", "--epochs", "1")
    caps = ("--limit", "128", "--test-limit", "50")
    assert hardy("train", *words, *more, *caps, "--out", tmp_path / "a") == 0
    results = package.train(
        **TINY,
        data="digits",
        model="small_resnet",
        epochs=1,
        limit=128,
        test_limit=50,
        out=str(tmp_path / "b"),
    )
    assert results.folder == tmp_path / "b"
    assert arguments(tmp_path / "a") == arguments(tmp_path / "b")
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_paths_may_be_text(robust: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {**TINY, "data": "digits", "val_fraction": 0.2, "limit": 50}
    one = package.evaluate(checkpoint=str(robust), **more, out=str(tmp_path / "one"))
    two = package.evaluate(checkpoints=[str(robust)], **more, out=str(tmp_path / "two"))  # type: ignore[arg-type]
    assert one.measurements == two.measurements
    assert package.report(folder=str(tmp_path / "one")).measurements == one.measurements


@pytest.mark.parametrize("verb", ["train", "rift", "mrc", "evaluate", "report", "demo"])
def test_a_wrong_keyword_names_the_function(verb: str) -> None:
    function = getattr(package, verb)
    with pytest.raises(TypeError, match=rf"^hardy\.{verb}\(\).*unexpected keyword.*'epsilon'"):
        function(epsilon=8 / 255)
    with pytest.raises(TypeError, match=rf"^hardy\.{verb}\(\) takes keywords only"):
        function("robust.pt")


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"norm": "l7"}, "--norm must be one of linf, l2, not 'l7'"),
        ({"precision": "fp16"}, "--precision must be one of fp32, bf16, not 'fp16'"),
        ({"schedule": "linear"}, "--schedule must be one of"),
        ({"eps": -1.0}, "--eps must be positive"),
        ({"batch_size": 0}, "--batch-size must be at least 1, not 0"),
        ({"milestones": (5, -1)}, "--milestones must be at least 0, not -1"),
    ],
)
def test_what_the_parser_would_have_refused_is_refused(
    keywords: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        package.train(data="digits", model="small_resnet", out=tmp_path / "x", **keywords)
    assert not (tmp_path / "x").exists()


def test_choices_of_rift_are_checked_too(robust: Path, tmp_path: Path) -> None:
    for name, value in (("choose", "all"), ("batchnorm", ("thawed",)), ("choose_on", "train")):
        with pytest.raises(ValueError, match="must be one of"):
            package.rift(
                data="digits",
                checkpoint=robust,
                out=tmp_path / "x",
                **{name: value},  # type: ignore[arg-type]
            )


def test_a_network_of_the_wrong_shape_is_refused(digits: DataSet, tmp_path: Path) -> None:
    for wrong, said in ((Net(7), r"gives \(1, 7\)"), (nn.Conv2d(3, 1, 1), "does not take the 8×8")):
        with pytest.raises(ValueError, match=said):
            package.train(**TINY, data=digits, model=wrong, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_load_asks_for_a_network_that_is_not_built_in(digits: DataSet, tmp_path: Path) -> None:
    package.train(
        **TINY, data=digits, model=net(), epochs=1, limit=64, test_limit=20, out=tmp_path / "t"
    )
    with pytest.raises(ValueError, match="pass --model"):
        package.load(tmp_path / "t")
    found = package.load(tmp_path / "t", model=net())
    assert_same(found.state_dict(), weights(tmp_path / "t"))


def test_a_data_set_of_tensors(tmp_path: Path) -> None:
    """Nothing but four tensors and a name."""
    torch.manual_seed(0)

    def split(name: str, n: int) -> Split:
        labels = torch.arange(n) % 2
        images = (torch.rand(n, 3, 8, 8) * 127 + 128 * labels.view(-1, 1, 1, 1)).byte()
        return Split(images, labels, torch.arange(n), name)

    parts = (split("train", 256), split("val", 64), split("test", 64))
    data = DataSet("light", *parts, ("dark", "bright"), "none", {})
    results = package.train(
        **TINY, data=data, model="small_resnet", epochs=1, lr=0.1, out=tmp_path / "t"
    )
    assert results.one("clean accuracy", split="test").n == 64
    assert package.load(tmp_path / "t")(data.test.pixels(slice(0, 2))).shape == (2, 2)
    assert read(tmp_path / "t").facts["data"] == "light"
