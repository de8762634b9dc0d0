from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hardy.data import load_data
from hardy.data.raw import Part, Raw
from hardy.data.sources.npz import load

# Six pictures of 2×2 with three channels, all numbers different.
NHWC = np.arange(6 * 2 * 2 * 3, dtype=np.uint8).reshape(6, 2, 2, 3)
NCHW = NHWC.transpose(0, 3, 1, 2)
LABELS = np.array([0, 1, 2, 2, 1, 0], np.uint8)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ddpm.npz"


@pytest.mark.parametrize(
    "names", [("image", "label"), ("images", "labels"), ("x", "y"), ("image", "y")]
)
def test_the_published_layout_under_its_names(path: Path, names: tuple[str, str]):
    raw = load(saved(path, **{names[0]: NHWC, names[1]: LABELS}))
    part = raw.parts["all"]
    assert np.array_equal(part.images, NCHW)
    assert part.images.flags.c_contiguous
    assert part.labels.tolist() == LABELS.tolist()
    assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int64)
    assert raw.classes == ("0", "1", "2")
    assert (raw.source, raw.normalization, raw.notes) == ("ddpm.npz", "none", "")
    assert raw.content_hash == Raw({"all": Part(NCHW, LABELS)}, (), "").content_hash


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (NHWC[..., 0], NCHW[:, :1]),
        (NHWC[..., :1], NCHW[:, :1]),
        (np.asfortranarray(NHWC), NCHW),
        (np.ascontiguousarray(NCHW), NCHW),
        (NCHW[:, :1], NCHW[:, :1]),
    ],
)
def test_other_orders_of_the_axes(path: Path, images: np.ndarray, expected: np.ndarray):
    found = load(saved(path, image=images, label=LABELS)).parts["all"].images
    assert np.array_equal(found, expected)


def test_a_last_axis_of_three_is_the_channels(path: Path):
    images = np.arange(6 * 3 * 3 * 3, dtype=np.uint8).reshape(6, 3, 3, 3)
    found = load(saved(path, image=images, label=LABELS)).parts["all"].images
    assert np.array_equal(found, images.transpose(0, 3, 1, 2))


def test_splits_are_taken_as_they_are(path: Path):
    parts = {
        "test_images": NHWC[:2], "test_labels": LABELS[:2],
        "train_images": NHWC[2:5], "train_labels": LABELS[2:5],
        "validation_x": NHWC[5:], "validation_y": LABELS[5:],
    }  # fmt: skip
    raw = load(saved(path, **parts, classes=np.array(["ant", "bee", "cat"])))
    assert {name: part.labels.tolist() for name, part in raw.parts.items()} == {
        "train": [2, 2, 1],
        "val": [0],
        "test": [0, 1],
    }
    assert np.array_equal(raw.parts["train"].images, NCHW[2:5])
    assert raw.classes == ("ant", "bee", "cat")
    data = load_data(f"npz:{path}")
    assert [len(each) for each in (data.train, data.val, data.test)] == [3, 1, 2]


def test_other_arrays_are_named_and_stay_unread(path: Path):
    objects = np.array([{}], dtype=object)
    raw = load(saved(path, image=NHWC, label=LABELS, logits=np.zeros(6), meta=objects))
    assert raw.notes == "the arrays logits, meta are left out"


def test_a_relative_path_is_looked_for_in_the_root(path: Path):
    saved(path, image=np.repeat(NHWC, 4, 0), label=np.repeat(LABELS, 4))
    data = load_data("npz:ddpm.npz", path.parent, val_fraction=0.5)
    assert (data.name, data.normalization, data.num_classes) == ("ddpm", "none", 3)
    assert [len(each) for each in (data.train, data.val, data.test)] == [9, 9, 6]
    rows = torch.cat([data.train.index, data.val.index, data.test.index])
    assert sorted(rows.tolist()) == list(range(24))
    assert data.provenance["source"] == "ddpm.npz"


def test_the_pictures_of_arrays_are_resized_as_those_of_files(path: Path):
    wide = np.repeat(NHWC, 3, axis=2)  # 2×6, the centre of which is pixels 2 and 3
    part = load(saved(path, image=wide, label=LABELS), 2).parts["all"]
    assert np.array_equal(part.images, np.repeat(NCHW, 3, axis=3)[..., 2:4])


def test_one_class_alone_cannot_be_learned(path: Path):
    saved(path, image=NHWC, label=np.zeros(6, int))
    with pytest.raises(ValueError, match=r"ddpm has one class only \(0\)"):
        load_data(f"npz:{path}")


GOOD: dict[str, Any] = {"image": NHWC, "label": LABELS}
REFUSED = [
    ({"image": NHWC.astype(np.float32)}, "image of .* has the type float32: save .* uint8"),
    ({"image": NHWC / 71.0 * 1.1}, "the type float64: .* or as float16 or float32"),
    ({"image": np.full(NHWC.shape, np.nan, np.float32)}, "has the type float32: save"),
    ({"image": NHWC.astype(np.int64)}, "image of .* has the type int64"),
    ({"image": NHWC[0, 0]}, r"image of .* has the shape \(2, 3\): expected `image` uint8"),
    ({"image": NHWC[..., :2]}, r"has the shape \(6, 2, 2, 2\)"),
    ({"image": NHWC[:, :1]}, "image of .* has 1×2 pixels: cut the pictures square"),
    ({"image": NHWC[:0], "label": LABELS[:0]}, "image of .* is empty"),
    ({"image": np.array([{}] * 6)}, "image of .* holds Python objects, which are never read"),
    ({"label": LABELS[:5]}, "has 6 pictures but 5 labels"),
    ({"label": LABELS[:, None]}, r"label of .* has the shape \(6, 1\)"),
    ({"label": LABELS / 2}, "label of .* has the type float64: save labels as whole numbers"),
    ({"label": LABELS.astype(np.int8) - 1}, "label of .* has the label -1: labels begin at 0"),
    ({"label": LABELS.astype(np.uint64) << 62}, "at most 100,000 of them"),
    ({"label": np.array([None] * 6)}, "label of .* holds Python objects"),
    ({"images": NHWC}, "has both image and images: keep one"),
    ({"train_images": NHWC}, "has train_images but no train_label or train_labels or train_y"),
    ({"test_images": NHWC, "test_y": LABELS}, "has image beside arrays of splits"),
    ({"classes": np.array(["a", "b"])}, "has the label 2: expected 0 to 1"),
    ({"classes": np.array(["a", "b", "a"])}, "has 'a' twice"),
    ({"classes": np.array([b"a", b"b", b"c"])}, "classes of .* save the names as strings"),
    ({"classes": np.array([["a", "b", "c"]])}, "classes of .* save the names as strings"),
    ({"classes": np.array(["a", "b", None], dtype=object)}, "classes of .* holds Python objects"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_arrays_that_do_not_fit_are_refused(path: Path, change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        load(saved(path, **{**GOOD, **change}))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "has no pictures: expected `image` uint8"),
        ({"data": NHWC}, "has no pictures"),
        ({"label": LABELS}, "has label but no image or images or x: add it"),
        (
            {f"{split}_{name}": array for split in ("val", "validation")
             for name, array in (("x", NHWC), ("y", LABELS))},
            "has both val_ and validation_ arrays",
        ),
        (
            {"train_x": NHWC, "train_y": LABELS, "test_x": NHWC[..., 0], "test_y": LABELS},
            "the pictures of train are 3×2×2 and those of test 1×2×2",
        ),
        (
            {"train_x": NHWC, "train_y": LABELS, "test_x": NHWC, "test_y": LABELS[1:]},
            r"\(test\) has 6 pictures but 5 labels",
        ),
    ],
)  # fmt: skip
def test_files_without_a_pair_per_split_are_refused(path: Path, arrays, message: str):
    with pytest.raises(ValueError, match=message):
        load(saved(path, **arrays))


@pytest.mark.parametrize("left", [0, 1, 100, -1, -30, -200])
def test_a_file_that_breaks_off_is_refused(path: Path, left: int):
    saved(path, **GOOD)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"ddpm\.npz cannot be read as an \.npz") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_damage_inside_is_refused_with_the_name_of_the_array(path: Path):
    np.savez(path, **GOOD)
    data = bytearray(path.read_bytes())
    at = bytes(data).index(NHWC.tobytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"image of .* cannot be read .*CRC"):
        load(path)


def test_what_is_no_npz_is_refused(path: Path):
    with pytest.raises(ValueError, match=r"ddpm\.npz is no file: give an \.npz"):
        load(path)
    with pytest.raises(ValueError, match="is no file"):
        load(path.parent)
    with path.open("wb") as file:
        np.save(file, NHWC)
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image", b"pixels")
        archive.writestr("label", b"0")
    with pytest.raises(ValueError, match=r"image of .* is no numpy array"):
        load(path)
