from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hardy.data import DataSet, Split, load_data, load_extra
from hardy.data.raw import Part, Raw

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
LABELS = np.arange(40) % 2
EXPECTED = Raw({"all": Part(PICTURES.transpose(0, 3, 1, 2), LABELS)}, ("0", "1"), "")


def pictures(split: Split) -> torch.Tensor:
    assert isinstance(split.images, torch.Tensor)
    return split.images


def digest(made: Any, **more: Any) -> str:
    return str(load_data(lambda: made, **more).provenance["content_hash"])


class Items:
    """Pairs as torchvision gives them."""

    def __init__(self, pairs: list[tuple[Any, Any]], classes: list[str] | None = None) -> None:
        self.pairs = pairs
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return self.pairs[row]


def channels_first(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(
    "made",
    [
        (PICTURES, LABELS),
        (PICTURES.transpose(0, 3, 1, 2), LABELS.tolist()),
        (torch.from_numpy(PICTURES), torch.from_numpy(LABELS)),
        {"all": (PICTURES, LABELS.astype(np.uint8))},
        EXPECTED,
        Items([(Image.fromarray(x), int(y)) for x, y in zip(PICTURES, LABELS, strict=True)]),
        Items(
            [(channels_first(x), torch.tensor(y)) for x, y in zip(PICTURES, LABELS, strict=True)]
        ),
        [(x, y) for x, y in zip(PICTURES, LABELS, strict=True)],
        torch.utils.data.TensorDataset(
            torch.from_numpy(PICTURES).permute(0, 3, 1, 2), torch.from_numpy(LABELS)
        ),
    ],
    ids=["NHWC", "NCHW", "tensors", "dict", "Raw", "Pillow", "CHW", "list", "TensorDataset"],
)
def test_the_same_pictures_in_every_form_are_the_same_set(made: Any):
    assert digest(made) == EXPECTED.content_hash


def test_splits_are_cut_as_those_of_all_other_sets():
    data = load_data(lambda: {"test": (PICTURES[:10], LABELS[:10]), "train": (PICTURES, LABELS)})
    assert [len(each) for each in (data.train, data.val, data.test)] == [36, 4, 10]
    assert torch.equal(pictures(data.test), torch.from_numpy(PICTURES[:10].transpose(0, 3, 1, 2)))
    three = {"train": (PICTURES, LABELS), "validation": (PICTURES[:6], LABELS[:6])}
    data = load_data(lambda: {**three, "test": (PICTURES[:4], LABELS[:4])})
    assert [len(each) for each in (data.train, data.val, data.test)] == [40, 6, 4]


def test_class_names_by_any_way():
    named = np.array(["dog", "cat"])[LABELS]
    by_label = load_data(lambda: (PICTURES, named))
    assert by_label.classes == ("cat", "dog")
    assert torch.equal(by_label.train.labels, 1 - torch.from_numpy(LABELS)[by_label.train.index])
    by_key = load_data(lambda: {"all": (PICTURES, LABELS), "classes": ["dog", "cat"]})
    items = Items(list(zip(PICTURES, LABELS, strict=True)), ["dog", "cat"])
    assert by_key.classes == load_data(lambda: {"train": items}).classes == ("dog", "cat")


def test_names_are_numbered_by_the_classes_that_stand_beside_them():
    named = np.array(["owl", "cat"])[LABELS]
    pairs = Items(list(zip(PICTURES, named.tolist(), strict=True)), ["owl", "cat", "dog"])
    for made in ({"all": (PICTURES, named), "classes": ["owl", "cat", "dog"]}, pairs):
        data = load_data(lambda made=made: made)
        assert data.classes == ("owl", "cat", "dog")
        assert torch.equal(data.train.labels, torch.from_numpy(LABELS)[data.train.index])


def test_items_are_resized_as_picture_files_and_grey_ones_coloured():
    pairs = [(Image.fromarray(PICTURES[0]), 0), (Image.fromarray(PICTURES[1]).convert("L"), 1)]
    wide = Image.fromarray(np.repeat(PICTURES[2], 3, axis=1)).resize((24, 8))
    pairs = [*pairs, (wide, 0), (np.zeros((8, 4), np.uint8), 1)] * 5
    data = load_data(lambda: Items(pairs), image_size=4)
    images = torch.cat([pictures(each) for each in (data.train, data.val, data.test)])
    index = torch.cat([data.train.index, data.val.index, data.test.index])
    ordered = images[index.argsort()]
    assert torch.equal(ordered[0], torch.from_numpy(PICTURES[0].transpose(2, 0, 1)))
    assert torch.equal(ordered[1], torch.from_numpy(np.array(pairs[1][0])).expand(3, 4, 4))
    small = wide.resize((12, 4), Image.Resampling.BICUBIC).crop((4, 0, 8, 4))
    assert torch.equal(ordered[2], torch.from_numpy(np.array(small)).permute(2, 0, 1))


def test_a_function_gets_those_of_the_keywords_that_it_takes(tmp_path: Path):
    got: list[dict[str, Any]] = []

    def some(root: Path, image_size: int | None = None, other: int = 7):
        got.append({"root": root, "image_size": image_size, "other": other})
        return PICTURES, LABELS

    def every(**keywords: Any):
        got.append(keywords)
        return PICTURES, LABELS

    for each in (some, every):
        load_data(each, tmp_path, seed=3, image_size=4, val_fraction=0.2)
    assert got[0] == {"root": tmp_path, "image_size": 4, "other": 7}
    assert got[1] == {"root": tmp_path, "seed": 3, "image_size": 4, "val_fraction": 0.2}
    with pytest.raises(ValueError, match=r"cannot be called with root \(.*'path'.*give its other"):
        load_data(lambda path, root: None)


def test_a_data_set_of_ones_own_stays_as_it_is_cut():
    def split(name: str, rows: slice) -> Split:
        images = torch.from_numpy(PICTURES[rows]).permute(0, 3, 1, 2).contiguous()
        index = torch.arange(len(images)) + 100
        return Split(images, torch.from_numpy(LABELS[rows]), index, name)

    own = DataSet(
        "mine",
        split("train", slice(0, 30)),
        split("val", slice(30, 34)),
        split("test", slice(34, 40)),
        ("a", "b"),
        "cifar10",
        {},
    )
    data = load_data(lambda: own, limit_train=10)
    assert (data.name, len(data.train), data.normalization) == ("mine", 10, "cifar10")
    assert torch.equal(data.val.index, own.val.index)
    assert len(str(data.provenance["content_hash"])) == 16
    grey = load_data(lambda: own, channels=1, image_size=8)
    assert grey.val.images.shape == (4, 1, 8, 8)
    assert grey.provenance["content_hash"] != data.provenance["content_hash"]


def as_float(made: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return made[0] / 255, made[1]


GOOD = (PICTURES, LABELS)
WHOLE = io.BytesIO()
Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).save(WHOLE, "JPEG")
CUT_OFF = Image.open(io.BytesIO(WHOLE.getvalue()[: WHOLE.tell() // 2]))  # only its head is read


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (as_float(GOOD), r"the image array of .* type float64: .* uint8.*\(x \* 255\)\.round\(\)"),
        (Items([(torch.rand(3, 4, 4), 0)]), r"item 0 of .* type float32: .* \(x \* 255\)"),
        ((PICTURES[:, :2], LABELS), "has 2×4 pixels: cut the pictures square or pass --image-size"),
        ((PICTURES, LABELS[:9]), "has 40 pictures but 9 labels"),
        (
            (PICTURES, LABELS / 2),
            "the label array of .* has the type float64: save labels as whole",
        ),
        ((PICTURES, np.eye(40, dtype=int)), r"the label array of .* has the shape \(40, 40\)"),
        ((PICTURES, None), "the label array of .* is no array of numbers: give one"),
        (([[1], [1, 2]], LABELS), "the image array of .* is no array of numbers: give one"),
        (None, r"is of type NoneType: give \(images, labels\), a data set of pairs"),
        ({"train": 5}, r"train of .* is of type int: give \(images, labels\)"),
        ({"trian": GOOD}, "gives the splits trian: call them train, val and test, or all"),
        ({}, "gives the splits none at all: call them train"),
        ({"all": GOOD, "test": GOOD}, "gives all, test, which overlap"),
        ({"val": GOOD, "validation": GOOD}, "gives val, validation, which overlap"),
        ({"all": GOOD, "classes": ["a", "a"]}, "has 'a' twice"),
        ({"all": GOOD, "classes": 10}, r"classes of .* is int64 \(\): save the names as strings"),
        (
            {"train": Items([(PICTURES[0], 0)], ["a", "b"]), "classes": 10},
            r"classes of .* is int64 \(\): save the names",
        ),
        (
            {"all": (PICTURES, np.array(["a", "b"])[LABELS]), "classes": ["a", "c"]},
            r"has the label 'b', which is none of its classes \(a, c\): add it or correct it",
        ),
        (
            Items([(Image.fromarray(np.full((4, 4), 200, np.int32)), 0)]),
            "item 0 of .* has a picture of Pillow's mode I, 32 bits a pixel: give pixels of 8 bits",
        ),
        (
            Items([(Image.fromarray(np.full((4, 4), 0.9, np.float32)), 0)]),
            r"item 0 of .* Pillow's mode F, .* that is \(x \* 255\)\.round",
        ),
        (
            Items([(CUT_OFF, 0)]),
            r"item 0 of .*ImageFile\.py, line \d+: OSError: .*: correct it there",
        ),
        ({"all": GOOD, "classes": ["a", "b", "c"][:1]}, "has the label 1: expected 0 to 0"),
        (
            {"train": GOOD, "test": (PICTURES[..., :2, :2, :], LABELS)},
            "are 3×4×4 and those of test 3×2×2",
        ),
        (Items([]), "is empty: give at least one picture"),
        (
            Items([(PICTURES[0], 0), (PICTURES[0][:2, :2], 1)]),
            r"item 1 .* 2×2 pixels.* 4×4\): pass",
        ),
        (Items([(PICTURES[0], 0.5)]), "item 0 of .* has a label of type float: give a whole"),
        (Items([("cat.png", 0)]), "item 0 of .* has a picture of type str: give a Pillow image"),
        (["cat.png"], r"item 0 of .* is of type str: give \(picture, label\)"),
        (
            {"train": Items([(PICTURES[0], 0)], ["a"]), "test": Items([(PICTURES[0], 0)], ["b"])},
            "test of .* has other classes than the split before",
        ),
        (replace(EXPECTED, classes=("0",)), "has the label 1: expected 0 to 0"),
        (replace(EXPECTED, parts={"some": EXPECTED.parts["all"]}), "gives the splits some: call"),
        (
            Raw({"all": Part(PICTURES.astype(np.float32), LABELS)}, ("0", "1"), ""),
            r"the image array of .* is float32 of shape \(40, 4, 4, 3\): a Raw has uint8",
        ),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(made: Any, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        load_data(lambda: made)
    assert "\n" not in str(caught.value)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module to the current directory and gives its name; it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    count = iter(range(99))

    def write(text: str) -> str:
        name = f"pictures_of_mine_{next(count)}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("pictures_of_mine"):
            del sys.modules[name]


MADE = """
import numpy as np

def load(seed):
    import numbers_of_mine
    return numbers_of_mine.pictures, np.arange(40) % 2
"""


def test_a_function_by_its_import_path_finds_what_lies_beside_it(module, tmp_path: Path):
    helper = "import numpy as np\npictures = np.full((40, 4, 4), 7, np.uint8)\n"
    (tmp_path / "numbers_of_mine.py").write_text(helper)
    name = module(MADE)
    try:
        data = load_data(f"{name}:load")
    finally:
        sys.modules.pop("numbers_of_mine", None)
    assert (data.name, data.in_channels) == (f"{name}:load", 1)
    assert data.provenance["source"] == f"{name}:load"
    assert (pictures(data.train) == 7).all()
    assert str(tmp_path) not in sys.path


def test_errors_of_the_users_code_come_with_file_and_line(module):
    name = module("def load():\n    rows = []\n    return rows[3]\n")
    with pytest.raises(
        ValueError, match=rf"^{name}:load: .*{name}\.py, line 3: IndexError: "
    ) as one:
        load_data(f"{name}:load")
    assert "\n" not in str(one.value)
    items = (
        "class S:\n  def __len__(self): return 2\n  def __getitem__(self, row): return 1 / row\n"
    )
    name = module(items + "def load(): return S()\n")
    with pytest.raises(ValueError, match=rf"^item 0 of .*{name}\.py, line 3: ZeroDivisionError: "):
        load_data(f"{name}:load")
    for text in ("import os\n\n1 / 0\n", "x = 1\n\ndef load(:\n"):
        name = module(text)
        with pytest.raises(
            ValueError, match=rf"{name}\.py, line 3: \w+Error: .*: correct the file"
        ):
            load_data(f"{name}:load")


def test_an_error_in_a_library_is_shown_where_the_users_code_calls_it(module):
    name = module("import json\n\ndef load():\n    return json.loads('{')\n")
    with pytest.raises(ValueError, match=rf"{name}\.py, line 4: JSONDecodeError: "):
        load_data(f"{name}:load")


def test_paths_that_name_no_function(module):
    name = module("def lode(): pass\n")
    with pytest.raises(ValueError, match=rf"{name} has no function 'load' \(nearest: lode\)"):
        load_data(f"{name}:load")
    with pytest.raises(ValueError, match="there is no module 'no_pictures_here' on the path or in"):
        load_data("no_pictures_here:load")
    for spec in ("folders:/a/b", "C:\\pictures", "cifar-10", "parquet:", "a:b:c"):
        with pytest.raises(ValueError, match=r"unknown data .* or a function pkg\.module:load"):
            load_data(spec)


def test_nothing_is_imported_for_a_known_kind(module):
    """A module `npz` in the current directory is not what npz:PATH means."""
    Path("npz.py").write_text("raise SystemExit\n")
    with pytest.raises(ValueError, match=r"is no file: give an \.npz"):
        load_data("npz:load")


def test_as_extra_data_in_the_size_and_channels_of_the_data(module):
    name = module(
        "import numpy as np\n"
        "def load(): return np.arange(200, 210, dtype=np.uint8)[:, None, None] "
        "* np.ones((10, 16, 16), np.uint8), np.arange(10)\n"
    )
    digits = load_data("digits", channels=3)
    extra = load_extra(f"{name}:load", None, digits)
    assert extra.images.shape == (10, 3, 8, 8)
    assert pictures(extra)[:, 2, 5, 5].tolist() == list(range(200, 210))
    own = replace(digits, train=digits.train.take(slice(0, 9)))
    whole = load_data(lambda: own)
    assert (len(whole.train), whole.flips) == (9, False)


def test_the_function_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    (tmp_path / "mypictures.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mypictures", raising=False)
    data = load_data("mypictures:load")
    del sys.modules["mypictures"]
    assert (len(data.train), len(data.val), len(data.test)) == (270, 30, 100)
    assert data.classes == ("plain", "square") and data.image_size == 16
    bright = pictures(data.test)[:, :, 4:12, 4:12].float().mean((1, 2, 3)) > 100
    assert torch.equal(bright.long(), data.test.labels)
