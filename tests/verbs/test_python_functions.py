"""The verbs as Python functions: the same keywords, and things where the command line has
names: a network, a data set."""

from __future__ import annotations

import threading
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
from hardy.verbs.asked.inputs import fingerprint

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


class Wrapped(nn.Module):
    """Of all that might be changed something: modes, a type, a layout, what is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1).eval()
        self.drop = nn.Dropout(0.5)
        self.net = net()
        self.net.body.weight.requires_grad_(False)
        self.register_buffer("one", torch.ones(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(self.drop(self.norm(x))) * self.one


def as_it_is(model: nn.Module) -> dict[str, Any]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "training": [module.training for module in model.modules()],
        "tensors": {
            name: (id(t), t.dtype, t.device, t.requires_grad, t.grad, t.stride(), t.data_ptr())
            for name, t in tensors.items()
        },
        "values": {name: t.detach().clone() for name, t in tensors.items()},
    }


def test_every_verb_gives_the_network_back_as_it_came(digits: DataSet, tmp_path: Path) -> None:
    few: dict[str, Any] = {**TINY, "data": digits, "steps": 1}
    more: dict[str, Any] = {"mrc_pictures": 32, "epochs": 1, "alphas": (1.0,), "test_limit": 20}
    verbs: dict[str, dict[str, Any]] = {
        "evaluate": {"limit": 20, "curve_pictures": 0},
        "mrc": {"mrc_pictures": 32},
        "rift": {**more, "choose_pictures": 20},
        "train": {"epochs": 1, "limit": 64, "test_limit": 20},
    }
    for verb, asked in verbs.items():
        model = Wrapped().double()
        before = as_it_is(model)
        getattr(package, verb)(**few, **asked, model=model, out=tmp_path / verb)
        assert_same(as_it_is(model), before)


def test_a_module_that_is_filled_from_files_is_copied_too(digits: DataSet, tmp_path: Path) -> None:
    """Each file has a network of its own: filled in one, all would be the last."""
    files, right = [], []
    for seed in range(2):
        torch.manual_seed(seed)
        one = Net()
        right.append(
            float((one(digits.test.pixels(slice(None))).argmax(1) == digits.test.labels).sum())
        )
        files.append(tmp_path / f"{seed}.pt")
        torch.save(one.state_dict(), files[-1])
    assert right[0] != right[1]
    empty = net()
    before = as_it_is(empty)
    found = package.evaluate(
        **{**TINY, "steps": 1},
        data=digits,
        model=empty,
        checkpoints=tuple(files),
        preflight_pictures=0,
        curve_pictures=0,
        out=tmp_path / "e",
    )
    assert [m.value * m.n for m in found.select("clean accuracy")] == pytest.approx(right)
    assert_same(as_it_is(empty), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_on_another_device_is_measured_and_stays_there(
    digits: DataSet, tmp_path: Path
) -> None:
    few: dict[str, Any] = {**TINY, "data": digits, "limit": 20, "curve_pictures": 0}
    model = net().cuda()
    before = as_it_is(model)
    for device in ("cpu", "cuda"):
        package.evaluate(**{**few, "device": device}, model=model, out=tmp_path / device)
        assert_same(as_it_is(model), before)


def test_a_network_that_cannot_be_copied_is_refused(digits: DataSet, tmp_path: Path) -> None:
    model = net()
    model.held = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^Net cannot be copied .*lock.* make copy.deepcopy work"):
        package.evaluate(**TINY, data=digits, model=model, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_resume_refuses_another_network_and_other_pictures(digits: DataSet, tmp_path: Path) -> None:
    few: dict[str, Any] = {**TINY, "steps": 1, "preflight_pictures": 0, "curve_pictures": 0}
    few |= {"limit": 20, "out": tmp_path / "e"}
    first = package.evaluate(**few, data=digits, model=net())
    assert package.evaluate(**few, data=digits, model=net(), resume=True).measurements == (
        first.measurements
    )
    other, moved = net(), Wrapped()
    with torch.no_grad():
        other.head.bias[3] += 1e-6
    with pytest.raises(ValueError, match=r"other weights in network: .* or another --out$"):
        package.evaluate(**few, data=digits, model=other, resume=True)

    brighter = digits.test.images.clone()
    brighter[:, 0, 4, 4] ^= 1
    for changed in (
        {"images": brighter},
        {"labels": digits.test.labels.flip(0)},
        {"index": digits.test.index + 1},
    ):
        data = replace(digits, test=replace(digits.test, **changed))
        with pytest.raises(ValueError, match="started with other test pictures: give the same"):
            package.evaluate(**few, data=data, model=net(), resume=True)

    few |= {"out": tmp_path / "buffers"}
    package.evaluate(**few, data=digits, model=moved)
    dict(moved.named_buffers())["one"].mul_(2)
    with pytest.raises(ValueError, match="other weights in network"):
        package.evaluate(**few, data=digits, model=moved, resume=True)


def test_what_tells_tensors_from_others() -> None:
    a, b = torch.arange(6.0).view(1, 6, 1, 1), torch.tensor(1.5, dtype=torch.bfloat16)
    one = fingerprint({"a": a, "b": b})
    assert fingerprint({"b": b, "a": a.contiguous(memory_format=torch.channels_last)}) == one
    others: list[dict[str, torch.Tensor]] = [
        {"a": a, "c": b},
        {"a": a.view(6), "b": b},
        {"a": a.view(torch.int32), "b": b},
        {"a": a, "b": b + 1},
        {"a": a},
        {"a": a, "b": b, "c": torch.zeros(0)},
        {"a": b, "b": a},
    ]
    found = [fingerprint(other) for other in others]
    assert len({one, *found}) == 1 + len(others)


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
        ({"milestones": 5}, r"--milestones: give several in a tuple: milestones=\(5,\)"),
    ],
)
def test_what_the_parser_would_have_refused_is_refused(
    keywords: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        package.train(data="digits", model="small_resnet", out=tmp_path / "x", **keywords)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("attack", "autoattack", "'autoattack'"),
        ("corruptions", "standard", "'standard'"),
        ("checkpoints", "runs/at", "'runs/at'"),
        ("severities", 3, "3"),
    ],
)
def test_one_where_several_are_due_is_refused(
    name: str, value: Any, shown: str, tmp_path: Path
) -> None:
    said = rf"^--{name}: give several in a tuple: {name}=\({shown},\)$"
    asked: dict[str, Any] = {"data": "digits", "model": net(), name: value}
    with pytest.raises(ValueError, match=said):
        package.evaluate(**asked, out=tmp_path / "x")
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


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("field", "change", "said"),
    [
        ("images", lambda x: x.float(), "float32 .*give uint8 0..255.* .x . 255..round...byte"),
        ("images", lambda x: x.long(), "int64 of shape .*: give uint8"),
        ("images", lambda x: x[:, 0], r"uint8 of shape \(\d+, 8, 8\): give uint8 .*\(N, C, H, W\)"),
        ("labels", lambda y: y.int(), "int32 of shape .*: give int64"),
        (
            "labels",
            lambda y: y[:, None],
            r"int64 of shape \(\d+, 1\): give int64 of shape \(\d+,\)",
        ),
        ("labels", lambda y: y[1:], r"int64 of shape .* the class of each image"),
    ],
)
def test_tensors_of_another_kind_are_refused(
    part: str, field: str, change: Any, said: str, digits: DataSet, tmp_path: Path
) -> None:
    split = getattr(digits, part)
    wrong: Any = {field: change(getattr(split, field))}
    data = replace(digits, **{part: replace(split, **wrong)})
    with pytest.raises(ValueError, match=rf"^the {field} of {split.name} are torch.{said}"):
        package.evaluate(**TINY, data=data, model=net(), out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


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
