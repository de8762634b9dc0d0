"""hardy features: what is in the set, the same set again, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from verb_runs import hardy

from hardy import config, load_data
from hardy.data.made import made_of, said_of
from hardy.evaluation.results import read
from hardy.models.architecture import Architecture
from hardy.models.load import load, save
from hardy.verbs.feature_sets import making
from hardy.verbs.feature_sets.again import SETTINGS

FEW = ("--data", "digits", "--limit", "60", "--batch-size", "16", "--device", "cpu")
ATTACKED = ("--steps", "3", "--step-size", "0.2")
INVERTED = ("--inversion-steps", "4")
CLASSES = tuple("0123456789")


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks of one kind with other weights, one of seven classes, one for colour."""
    folder = tmp_path_factory.mktemp("nets")
    for number, (name, classes, channels) in enumerate(
        [("one", 10, 1), ("other", 10, 1), ("seven", 7, 1), ("colour", 10, 3)]
    ):
        torch.manual_seed(number)
        spec = Architecture("small_resnet", classes, channels, "none")
        names = CLASSES[:classes]
        save(folder / f"{name}.safetensors", spec.build(), spec, classes=names, extra={})
    return folder


@pytest.fixture(scope="session")
def conflicting(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "conflicting"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardy.verbs.runs.folder.write_report", lambda folder: folder)
        words = ("--set", "conflicting", "--robust", nets / "other.safetensors")
        one = nets / "one.safetensors"
        assert hardy("features", one, *words, *FEW, *ATTACKED, *INVERTED, "--out", folder) == 0
    return folder


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "features.npz") as held:
        return {name: held[name] for name in held.files}


def test_the_conflicting_set_is_labelled_by_the_next_class(conflicting: Path) -> None:
    held, data = arrays(conflicting), load_data("digits")
    assert held["train_images"].dtype == np.float16 and held["train_images"].shape == (60, 8, 8, 1)
    assert held["train_labels"].tolist() == ((held["source_label"] + 1) % 10).tolist()
    place = {int(index): row for row, index in enumerate(data.train.index)}
    rows = [place[int(index)] for index in held["source_index"]]
    assert data.train.labels[rows].tolist() == held["source_label"].tolist()
    assert np.array_equal(held["test_images"][..., 0], data.test.images[:, 0].numpy())
    assert held["test_labels"].tolist() == data.test.labels.tolist()


def test_what_is_said_of_the_set_is_true_of_its_file(conflicting: Path, nets: Path) -> None:
    held, results = arrays(conflicting), read(conflicting)
    x = torch.from_numpy(held["train_images"]).float().permute(0, 3, 1, 2)
    for file, role in (("one", "network"), ("other", "robust network")):
        said = load(nets / f"{file}.safetensors")(x).argmax(1).numpy()
        for labels, of in (("train_labels", "the set"), ("source_label", "the originals")):
            measured = results.one("label accuracy", subject=role, labels=of)
            assert measured.value == pytest.approx((said == held[labels]).mean())
    reached = results.one("targets reached", **{"stored as": "float16"})
    assert reached.value == results.one("label accuracy", subject="network", labels="the set").value
    assert reached.interval is not None and reached.n == 60
    before, after = (results.one("feature distance", at=at) for at in ("before", "after"))
    assert after.value < before.value
    assert 0 < results.one("distance moved").value <= 0.5 + 1e-5
    assert 0 < results.one("rounding distance").value < 0.002


def test_train_and_evaluate_take_the_set(conflicting: Path) -> None:
    data = load_data(f"npz:{conflicting / 'features.npz'}")
    made = made_of(data.provenance)
    assert made is not None
    assert (made["set"], made["label_shift"], made["data"]) == ("conflicting", 1, "digits")
    assert data.train.images.dtype == torch.float16 and data.test.images.dtype == torch.uint8
    assert (len(data.train), len(data.val)) == (54, 6)
    held = torch.from_numpy(arrays(conflicting)["train_images"])[data.train.index]
    assert torch.equal(data.train.pixels(slice(None)), held.permute(0, 3, 1, 2).float())
    assert data.provenance["content_hash"] != load_data("digits").provenance["content_hash"]


def test_the_set_is_made_again_from_its_provenance_alone(
    conflicting: Path, nets: Path, tmp_path: Path
) -> None:
    words = (nets / "one.safetensors", "--robust", nets / "other.safetensors", "--device", "cpu")
    about = conflicting / "provenance.json"
    assert hardy("features", *words, "--provenance", about, "--out", tmp_path / "again") == 0
    again = (tmp_path / "again" / "features.npz").read_bytes()
    assert again == (conflicting / "features.npz").read_bytes()
    assert "the same set, to the bit" in " ".join(read(tmp_path / "again").notes)
    assert (tmp_path / "again" / "provenance.json").read_bytes() == about.read_bytes()


def test_a_provenance_holds_all_that_may_be_asked() -> None:
    beside = {"out", "resume", "device", "data", "data_root", "stream", "workers", "provenance"}
    networks = {
        *("network", "checkpoint", "model", "normalize", "input_size"),
        *("robust", "robust_model", "robust_normalize"),
    }
    assert {*SETTINGS} == {*config.Features.__dataclass_fields__} - beside - networks


def test_a_killed_run_goes_on_to_the_same_bits(
    conflicting: Path, nets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("features", nets / "one.safetensors", "--set", "conflicting", *FEW, *ATTACKED)
    words += (*INVERTED, "--robust", nets / "other.safetensors", "--out", tmp_path / "run")
    usual, seen = making._stages, []

    def stages(job: Any, rows: Any, device: Any) -> Any:
        seen.append(rows[0].item())
        if len(seen) == 2:
            raise KeyboardInterrupt
        return usual(job, rows, device)

    monkeypatch.setattr(making, "_stages", stages)
    assert hardy(*words) == 130
    assert not (tmp_path / "run" / "features.npz").exists()
    assert hardy(*words, "--resume") == 0
    assert seen == [0, 32, 32]  # the first batch is not made again
    whole = (tmp_path / "run" / "features.npz").read_bytes()
    assert whole == (conflicting / "features.npz").read_bytes()


def test_the_pictures_hang_on_their_own_draws_and_stay_in_the_ball(
    nets: Path, tmp_path: Path
) -> None:
    found = []
    for batch in ("16", "7"):
        words = ("--set", "d_rand", *FEW[:4], *FEW[6:], *ATTACKED, "--batch-size", batch)
        out = tmp_path / batch
        assert hardy("features", nets / "one.safetensors", *words, "--out", out) == 0
        found.append(arrays(out))
    one, other = found
    assert np.array_equal(one["train_labels"], other["train_labels"])
    assert len(np.unique(one["train_labels"])) > 5
    # Two batch sizes may round otherwise, and so may three steps.
    assert np.abs(one["train_images"] - other["train_images"]).max() < 1e-2
    data = load_data("digits")
    place = {int(index): row for row, index in enumerate(data.train.index)}
    rows = torch.tensor([place[int(index)] for index in one["source_index"]])
    moved = one["train_images"][..., 0].astype(np.float32) - data.train.pixels(rows)[:, 0].numpy()
    assert 0.3 < np.linalg.norm(moved.reshape(60, -1), axis=1).max() < 0.502


def test_a_folder_holds_the_same_pictures_in_8_bits(nets: Path, tmp_path: Path) -> None:
    words = (nets / "one.safetensors", "--set", "d_det", *FEW, *ATTACKED)
    assert hardy("features", *words, "--out", tmp_path / "npz") == 0
    assert hardy("features", *words, "--format", "folder", "--out", tmp_path / "png") == 0
    held = arrays(tmp_path / "npz")
    for image, label, index in zip(
        held["train_images"], held["train_labels"], held["source_index"], strict=True
    ):
        path = tmp_path / "png" / "features" / "train" / CLASSES[label] / f"{index:08d}.png"
        with Image.open(path) as png:
            assert np.abs(np.asarray(png) / 255 - image[..., 0]).max() < 0.51 / 255 + 5e-4
    data = load_data(f"folder:{tmp_path / 'png' / 'features'}")
    made = made_of(data.provenance)
    assert made is not None and said_of(made).startswith("d_det of digits (")
    assert len(data.test) == len(held["test_labels"])
    results = read(tmp_path / "png")
    assert results.one("rounding distance").value > 0.004
    assert any("rounded to 8 bits" in note for note in results.notes)


def test_the_page_shows_the_set(nets: Path, tmp_path: Path, drawn: None) -> None:
    words = ("--set", "d_r", *FEW, *INVERTED, "--out", tmp_path / "run")
    assert hardy("features", nets / "one.safetensors", *words) == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "feature distance after inversion" in page and "targets reached" not in page
    assert "The first pictures of the set" in page and "Not shown" not in page
    assert "features are at" in page
    assert (tmp_path / "run" / "figures" / "features.svg").is_file()
    assert "## The set" in (tmp_path / "run" / "tables.md").read_text(encoding="utf-8")


ONE = ("one.safetensors", *FEW)
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "no network": (FEW, "whose features"),
    "no robust network": ((*ONE, "--set", "conflicting"), "--robust"),
    "a robust network too many": ((*ONE, "--robust", "other.safetensors"), "--set conflicting"),
    "steps of nothing": ((*ONE, "--set", "d_r", "--steps", "5"), "--steps is for --set d_det"),
    "a norm of nothing": ((*ONE, "--set", "d_nr", "--norm", "linf"), "--norm is for --set d_det"),
    "inversion of nothing": ((*ONE, "--head", "linear"), "--head is for --set d_r"),
    "no such head": ((*ONE, "--set", "d_r", "--head", "lin"), "did you mean linear"),
    "a head run more than once": ((*ONE, "--set", "d_r", "--head", "conv9"), "no linear map"),
    "other classes": (("seven.safetensors", *FEW), "tells 7 classes apart"),
    "other channels": (("colour.safetensors", *FEW), "takes 3 colour channels"),
    "no steps": ((*ONE, "--steps", "0"), "--steps must be at least 1"),
    "no other picture": ((*ONE, "--set", "d_r", "--limit", "1"), "at least two"),
    "an empty folder": ((*ONE, "--limit", "10", "--format", "folder"), "no picture of train"),
    "no provenance": ((*ONE[:1], "--provenance", "gone.json"), "there is no"),
}


def refused(capsys: pytest.CaptureFixture[str], out: Path, *words: object) -> str:
    capsys.readouterr()
    assert hardy("features", *words, "--out", out) == 2
    said = capsys.readouterr().err
    assert not out.exists() and said.count("\n") == 1
    return said


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told_in_a_line(
    case: str, nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = MISTAKES[case]
    files = [str(nets / word) if word.endswith(".safetensors") else word for word in words]
    assert said in refused(capsys, tmp_path / "out", *files)


def test_a_provenance_refuses_other_weights_pictures_and_settings(
    conflicting: Path, nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = nets / "one.safetensors", nets / "other.safetensors"
    about, out = ("--provenance", conflicting), tmp_path / "out"
    swapped = refused(capsys, out, other, "--robust", one, *about)
    assert "made with other weights of the network" in swapped
    same = refused(capsys, out, one, "--robust", one, *about)
    assert "made with other weights of the robust network" in same
    made = f"npz:{conflicting / 'features.npz'}"
    data = refused(capsys, out, one, "--robust", other, *about, "--data", made)
    assert "the set was made of digits with the content" in data
    steps = refused(capsys, out, one, "--robust", other, *about, "--steps", "7")
    assert "--steps stands in --provenance" in steps
    assert "give its --robust too" in refused(capsys, out, one, *about)
    damaged = tmp_path / "provenance.json"
    damaged.write_text(json.dumps({"kind": "something else"}), encoding="utf-8")
    assert "holds no provenance" in refused(capsys, out, one, "--provenance", damaged)
