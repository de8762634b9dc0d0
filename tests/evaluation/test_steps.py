"""What is kept of finished steps is found again, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hardy.evaluation.robustness import Verdicts
from hardy.evaluation.steps import Steps
from hardy.finetuning.tune import BN_ONLY, Candidate


def test_what_is_kept_is_found_again_to_the_bit(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "steps")
    assert steps.json("mrc") is None and steps.tensors("tuned") is None
    value = [{"module": "layer1.0.conv1", "mrc": 0.1 + 0.2, "interval": [-1e-300, 1.0]}]
    tensors = {
        "half": torch.randn(3, 4).bfloat16(),
        "turned": torch.randn(3, 4).t(),
        "count": torch.tensor(7),
        "right": torch.tensor([True, False]).to(torch.uint8),
    }
    steps.keep_json("mrc", value)
    steps.keep_tensors("tuned", tensors)
    again = Steps(tmp_path / "steps")
    assert again.json("mrc") == value
    found = again.tensors("tuned")
    assert found is not None and found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor)
    assert again.tensors("mrc") is None and again.json("tuned") is None


def test_a_later_value_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    for i in range(3):
        steps.keep_json("mrc", list(range(i)))
        steps.keep_tensors("path", {str(k): torch.tensor(k) for k in range(i)})
    assert steps.json("mrc") == [0, 1]
    assert steps.tensors("path") == {"0": torch.tensor(0), "1": torch.tensor(1)}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mrc.json", "path.safetensors"]


def test_no_change_at_all_is_a_value_too(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.keep_tensors("tuned", {})
    assert steps.tensors("tuned") == {}


def test_tied_weights_are_kept_under_both_names(tmp_path: Path) -> None:
    weight = torch.randn(3, 3)
    steps = Steps(tmp_path)
    steps.keep_tensors("tuned", {"first.weight": weight, "second.weight": weight})
    found = steps.tensors("tuned")
    assert found is not None
    assert torch.equal(found["first.weight"], weight)
    assert torch.equal(found["second.weight"], weight)


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    steps = Steps()
    steps.keep_json("mrc", [1])
    steps.keep_tensors("tuned", {"a": torch.ones(1)})
    assert steps.json("mrc") is None and steps.tensors("tuned") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"x" * 100])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    steps = Steps(tmp_path)
    for name, read in (("mrc.json", steps.json), ("mrc.safetensors", steps.tensors)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="damaged: delete it") as caught:
            read("mrc")
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.keep_tensors("tuned", {"a": torch.ones(100)})
    file = tmp_path / "tuned.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match="damaged"):
        steps.tensors("tuned")


def test_labels_of_one_run_do_not_collide(tmp_path: Path) -> None:
    modules = [
        ("layer1.0.conv1",),
        ("layer1.1.conv1",),
        ("layer1.0.conv1", "layer1.1.conv1"),
        ("layer1.1.conv1", "layer1.0.conv1"),
        ("conv1", "linear", "layer4.0.shortcut.0"),
        ("a", "b", "c", "d"),
        ("a", "b", "c", "d", "e"),
    ]
    labels = [
        Candidate(names, lr, mode).label
        for names in modules
        for lr in (0.1, 0.01, 0.001, 1e-5, 1.5e-5, 0.015)
        for mode in ("frozen", "train")
    ]
    labels.append(Candidate((), 0.0).label)
    assert labels[-1] == BN_ONLY
    names = [f"{kind} {label}" for kind in ("tuned", "path") for label in labels]
    steps = Steps(tmp_path)
    for i, name in enumerate(names):
        steps.keep_tensors(name, {"i": torch.tensor(i)})
    assert len(list(tmp_path.iterdir())) == len(names) == len(set(names))
    for i, name in enumerate(names):
        assert steps.tensors(name) == {"i": torch.tensor(i)}


@pytest.mark.parametrize("name", ["../../up", "a/b\\c", 'x:*?"<>|', "α = 0.5"])
def test_odd_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    steps = Steps(tmp_path / "steps")
    steps.keep_json(name, 1)
    assert steps.json(name) == 1
    (file,) = (tmp_path / "steps").iterdir()
    assert file.suffix == ".json"
    assert list(tmp_path.iterdir()) == [tmp_path / "steps"]


def test_verdicts_are_judged_once(tmp_path: Path) -> None:
    right = Verdicts(torch.tensor([True, True, False]), torch.tensor([True, False, False]))
    calls: list[int] = []

    def judge() -> Verdicts:
        calls.append(1)
        return right

    for _ in range(2):
        found = Steps(tmp_path).verdicts("net α=0.5", judge)
        assert torch.equal(found.clean, right.clean) and torch.equal(found.robust, right.robust)
    assert calls == [1]


def test_verdicts_say_again_what_broke_whom(tmp_path: Path) -> None:
    by = torch.tensor([-1, 1, -2])
    judged = Verdicts(by != -2, by == -1, by)
    for _ in range(2):
        found = Steps(tmp_path).verdicts("net", lambda: judged)
        assert found.by is not None and torch.equal(found.by, by)


def test_a_tensor_is_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> torch.Tensor:
        calls.append(1)
        return torch.tensor([True, False])

    for _ in range(2):
        found = Steps(tmp_path).tensor("radius 1", compute)
        assert found.dtype == torch.bool and found.tolist() == [True, False]
    assert calls == [1]


def test_parts_keep_apart(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    for name in ("a part", "another"):
        steps.within(name).keep_tensors("x 1", {"name": torch.tensor(len(name))})
    assert steps.tensors("x 1") is None and steps.names() == []
    assert steps.within("a part").names() == ["x_1"]
    found = steps.within("another").tensors(*steps.within("another").names())
    assert found == {"name": torch.tensor(7)}
    assert Steps().within("a part").names() == []


def test_a_slot_holds_what_was_saved_last(tmp_path: Path) -> None:
    slot = Steps(tmp_path).slot("cascade")
    assert slot.load() is None
    for at in (1, 2):
        slot.save({"at": torch.tensor([at])})
    again = Steps(tmp_path).slot("cascade").load()
    assert again == {"at": torch.tensor([2])}
