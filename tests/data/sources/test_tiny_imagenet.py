from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hardy.data import load_data
from hardy.data.sources.tiny_imagenet import load


@pytest.fixture
def official(picture: Callable[..., bytes]) -> dict[str, bytes]:
    files = {
        "wnids.txt": b"n2\nn1\n",
        "words.txt": b"n1\tcrane, bird\nn2\tcrane\nn3\tcat\n",
        "val/val_annotations.txt": b"val_0.JPEG\tn1\t0\t0\t3\t3\nval_1.JPEG\tn2\t0\t0\t3\t3\n",
        "val/images/val_0.JPEG": picture(10, mode="L"),
        "val/images/val_1.JPEG": picture((1, 2, 3)),
        "test/images/test_0.JPEG": b"never read",
    }
    for number, wnid in enumerate(("n1", "n2")):
        for row in range(3):
            files[f"train/{wnid}/images/{wnid}_{row}.JPEG"] = picture((row, number, 7))
            files[f"train/{wnid}/{wnid}_boxes.txt"] = b""
    return {f"tiny-imagenet-200/{name}": data for name, data in files.items()}


def check(raw) -> None:
    train, val = raw.parts["train"], raw.parts["val"]
    assert raw.classes == ("crane (n2)", "crane (n1)")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]  # in the order of wnids.txt, not sorted
    assert train.images[:, 1, 0, 0].tolist() == [1, 1, 1, 0, 0, 0]
    assert val.labels.tolist() == [1, 0]
    assert val.images[:, :, 2, 2].tolist() == [[10, 10, 10], [1, 2, 3]]  # grey becomes RGB
    assert (raw.normalization, raw.notes) == ("imagenet", "2 of the 200 classes")


def test_the_directory_and_the_folder_that_holds_it(tree, official):
    root = tree(official)
    check(load(root))
    check(load(root / "tiny-imagenet-200"))


@pytest.mark.parametrize("name", ["tiny-imagenet-200.zip", "tiny-imagenet-two.zip"])
def test_the_zip_by_name_or_by_path(tmp_path: Path, official, name: str):
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for member, data in official.items():
            archive.writestr(member, data)
    check(load(tmp_path))
    check(load(tmp_path / name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val/images/val_2.JPEG": b""}, "differ in val_2.JPEG"),
        ({"val/val_annotations.txt": b"val_0.JPEG\tn1\n"}, "differ in val_1.JPEG"),
        (
            {"val/val_annotations.txt": b"val_0.JPEG\tn1\nval_1.JPEG\tn9\n"},
            "the class n9 that wnids.txt does not name",
        ),
        ({"wnids.txt": b"n1\nn2\nn3\n"}, "no pictures in train/n3/images"),
        ({"wnids.txt": b"n1\n"}, "of a class that wnids.txt does not name"),
        ({"train/n1/images/n1_1.JPEG": b"cut"}, "n1_1.JPEG cannot be read as a picture"),
    ],
)
def test_layouts_that_contradict_themselves_are_refused(tree, official, change, message):
    for name, data in change.items():
        official[f"tiny-imagenet-200/{name}"] = data
    with pytest.raises(ValueError, match=message):
        load(tree(official))


def test_a_directory_without_classes_file_or_with_two_archives_is_refused(tree):
    root = tree({"tiny-imagenet-a.zip": b"", "tiny-imagenet-b.zip": b""})
    with pytest.raises(ValueError, match="several archives"):
        load(root)
    with pytest.raises(ValueError, match="cannot be read"):
        load(root / "tiny-imagenet-a.zip")
    with zipfile.ZipFile(root / "tiny-imagenet-a.zip", "w") as archive:
        archive.writestr("x/readme.txt", "")
    with pytest.raises(ValueError, match=r"expected one wnids.txt .* found 0"):
        load(root / "tiny-imagenet-a.zip")


def test_the_real_ten_classes(real_data: Path):
    data = load_data("tiny-imagenet", real_data / "tiny-imagenet-10-classes.zip")
    assert len(data.train) + len(data.val) == 5000
    assert len(data.test) == 500
    assert data.train.images.shape[1:] == (3, 64, 64)
    assert np.bincount(data.test.labels).tolist() == [50] * 10
    assert data.classes[0] == "n04099969"
