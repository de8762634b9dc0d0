from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hardy.data import DataSet, Mix, Split, Streaming, batches, joined, load_data, load_extra
from hardy.data.streaming.stream import Streamed

NAMES = ("cat", "dog", "eel")
ON = Streaming("on", workers=2)


def dataset(
    classes: tuple[str, ...] = NAMES, channels: int = 3, size: int = 4, **provenance: str
) -> DataSet:
    """Nine pictures; all three splits are the same."""
    images = torch.arange(9, dtype=torch.uint8).view(-1, 1, 1, 1)
    images = images.expand(-1, channels, size, size).clone()
    split = Split(images, torch.arange(9) % 3, torch.arange(9), "train")
    return DataSet("pets", split, split, split, classes, "none", provenance)


def arrays(count: int = 6, size: int = 4, channels: int = 3) -> dict[str, Any]:
    """Pictures filled with 100 + row; labels 0, 1, 2, 0, …"""
    images = np.arange(100, 100 + count, dtype=np.uint8)[:, None, None, None]
    return {
        "image": np.broadcast_to(images, (count, size, size, channels)),
        "label": np.arange(count) % 3,
    }


@pytest.fixture
def generated(tmp_path: Path):
    """Writes an npz of those arrays and gives its spec."""

    def make(**changes: Any) -> str:
        path = tmp_path / "made.npz"
        np.savez(path, **{**arrays(), **changes})
        return f"npz:{path}"

    return make


def pets(picture, names=("eel", "cat", "dog"), size: int = 4, split: str = "") -> dict[str, bytes]:
    """Two pictures of each class, whose red is 10 · its place in `names` and one more; none is
    one of `dataset`."""
    return {
        f"{split}{name}/{row}.png": picture((10 * place + row, 0, 99), size=(size, size))
        for place, name in enumerate(names)
        for row in range(2)
    }


def test_arrays_without_splits_give_all_of_their_pictures(generated):
    extra = load_extra(generated(), None, dataset())
    assert extra.name == "extra"
    assert extra.images[:, 2, 3, 3].tolist() == list(range(100, 106))
    assert extra.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert extra.index.tolist() == list(range(6))
    relative = generated().removeprefix("npz:")
    path = Path(relative)
    assert len(load_extra(f"npz:{path.name}", path.parent, dataset())) == 6


def test_arrays_with_splits_give_their_train_split(tmp_path: Path):
    some = arrays()
    parts = {f"{split}_{name}": some[name][rows] for name in some
             for split, rows in (("train", slice(0, 4)), ("test", slice(4, 6)))}  # fmt: skip
    np.savez(tmp_path / "made.npz", **parts)
    extra = load_extra("npz:made.npz", tmp_path, dataset())
    assert extra.images[:, 0, 0, 0].tolist() == [100, 101, 102, 103]
    del parts["train_image"], parts["train_label"]
    parts |= {"val_image": some["image"], "val_label": some["label"]}
    np.savez(tmp_path / "made.npz", **parts)
    with pytest.raises(ValueError, match="has val and test but no train split"):
        load_extra("npz:made.npz", tmp_path, dataset())


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_single_split_is_not_taken_for_the_whole(tmp_path: Path, tree, picture, split: str):
    some = arrays()
    np.savez(tmp_path / "held.npz", **{f"{split}_{name}": some[name] for name in some})
    with pytest.raises(ValueError, match=f"held.npz has {split} but no train split: add one"):
        load_extra("npz:held.npz", tmp_path, dataset())
    root = tree(pets(picture, split=f"{split}/"))
    with pytest.raises(ValueError, match=f"tree has {split} but no train split: add one"):
        load_extra(f"folder:{root}", None, dataset())


def test_a_single_train_split_is_taken(tmp_path: Path):
    some = arrays()
    np.savez(tmp_path / "made.npz", **{f"train_{name}": some[name] for name in some})
    assert len(load_extra("npz:made.npz", tmp_path, dataset())) == 6


def held_out() -> DataSet:
    """Pictures filled with 0 to 2 in train, 3 and 4 in val, 5 to 8 in test."""
    whole = dataset()
    rows = {"train": slice(0, 3), "val": slice(3, 5), "test": slice(5, 9)}
    return replace(whole, **{name: whole.train.take(rows[name], name) for name in rows})


@pytest.mark.parametrize(("fills", "seen"), [((3,), 1), ((8,), 1), ((0, 3, 4, 4, 5, 9), 4)])
def test_pictures_of_val_and_test_are_refused(generated, fills: tuple[int, ...], seen: int):
    """Counted as rows of the extra data, whatever their labels; those of train are welcome."""
    image = arrays()["image"].copy()
    image[: len(fills)] = np.reshape(fills, (-1, 1, 1, 1))
    spec = generated(image=image, label=np.zeros(6, int))
    message = f"^{seen} of the 6 pictures of the extra data made are also in val or test of pets"
    with pytest.raises(ValueError, match=message) as caught:
        load_extra(spec, None, held_out())
    assert "\n" not in str(caught.value)


def test_only_exact_copies_count_and_only_of_what_is_taken(generated):
    image = arrays()["image"].copy()
    image[:3] = np.reshape([0, 1, 2], (3, 1, 1, 1))
    image[3] = 3
    image[3, 2, 1, 0] += 1
    assert len(load_extra(generated(image=image), None, held_out())) == 6
    rows = load_extra(generated(), None, held_out(), limit=3).index.tolist()
    (left_out,) = {0, 3} - set(rows)
    image = arrays()["image"].copy()
    image[left_out] = 7
    spec = generated(image=image)
    assert load_extra(spec, None, held_out(), limit=3).index.tolist() == rows
    with pytest.raises(ValueError, match=r"^1 of the 6 pictures"):
        load_extra(spec, None, held_out())


def test_pictures_that_were_saved_in_another_layout_are_the_same(generated):
    """Pixels, not files, are compared: channels last here, first in `data`."""
    data = load_data("digits")
    rows = torch.cat([data.train.images[:4], data.test.images[:2]])
    spec = generated(image=rows.permute(0, 2, 3, 1).numpy(), label=np.zeros(6, int))
    with pytest.raises(ValueError, match=r"^2 of the 6 pictures of the extra data made are also"):
        load_extra(spec, None, data)


def test_a_named_set_without_splits_is_not_cut():
    extra = load_extra("digits", None, dataset(tuple("0123456789"), channels=1, size=8))
    assert len(extra) == 1797
    assert extra.labels[:4].tolist() == [0, 1, 2, 3]


def test_the_set_itself_is_refused(generated):
    data = load_data("digits")
    with pytest.raises(ValueError, match="extra data digits are the data themselves"):
        load_extra("digits", None, data)
    other = dataset(source="made.npz", content_hash="0" * 16)
    assert len(load_extra(generated(), None, other)) == 6


def test_a_limit_is_stratified_and_always_takes_the_same(generated):
    spec = generated(**arrays(60))
    first, second = (load_extra(spec, None, dataset(), limit=12) for _ in range(2))
    assert torch.bincount(first.labels).tolist() == [4, 4, 4]
    assert torch.equal(first.index, second.index)
    assert torch.equal(first.images[:, 0, 0, 0].long(), first.index + 100)
    assert len(load_extra(spec, None, dataset(), limit=61)) == 60
    with pytest.raises(ValueError, match="--extra-limit must be at least 1, not 0"):
        load_extra(spec, None, dataset(), limit=0)


def test_the_classes_of_a_folder_are_matched_by_name(tree, picture):
    root = tree(pets(picture))
    extra = load_extra(f"folder:{root}", None, dataset(("eel", "cat", "dog")))
    reds = extra.images[:, 0, 0, 0].tolist()
    assert dict(zip(reds, extra.labels.tolist(), strict=True)) == {
        0: 0, 1: 0, 10: 1, 11: 1, 20: 2, 21: 2,
    }  # fmt: skip
    same = load_extra(f"folder:{root}", None, dataset())
    assert same.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert same.images[:, 0, 0, 0].tolist() == [10, 11, 20, 21, 0, 1]


def test_a_folder_gives_its_train_split_in_the_size_of_the_data(tree, picture):
    files = pets(picture, size=8, split="train/") | pets(picture, size=8, split="test/")
    extra = load_extra("folder:tree", tree(files).parent, dataset())
    assert extra.images.shape == (6, 3, 4, 4)
    assert extra.images[:, 0].float().var((1, 2)).max() == 0
    assert extra.images[:, 0, 0, 0].tolist() == [10, 11, 20, 21, 0, 1]


def test_arrays_follow_the_size_and_the_channels_of_the_data(generated):
    extra = load_extra(generated(**arrays(size=8, channels=1)), None, dataset())
    assert extra.images.shape == (6, 3, 4, 4)
    assert extra.images[:, 2, 3, 3].tolist() == list(range(100, 106))
    assert load_extra(generated(), None, dataset(channels=1)).images.shape == (6, 1, 4, 4)


@pytest.mark.parametrize(
    ("classes", "differing"), [(NAMES, "eel, fox"), (("0", "1", "2"), "0, 1, 2, cat, dog")]
)
def test_the_classes_of_a_folder_must_be_those_of_the_data(tree, picture, classes, differing):
    root = tree(pets(picture, ("cat", "dog", "fox")))
    with pytest.raises(ValueError, match=rf"tree and pets differ in .* \({differing}\)"):
        load_extra(f"folder:{root}", None, dataset(classes))


@pytest.mark.parametrize("classes", [NAMES, ("0", "1", "2")])
def test_names_are_compared_where_both_sides_have_them(generated, classes):
    spec = generated(classes=np.array(classes))
    assert load_extra(spec, None, dataset()).labels.tolist() == [0, 1, 2, 0, 1, 2]
    unnamed = dataset(("0", "1", "2"))
    assert load_extra(spec, None, unnamed).labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.arange(6)}, "made have the label 5, but pets has 3 classes: .* from 0 to 2"),
        ({"classes": np.array(["cat", "dog", "fox"])}, r"differ in their classes \(eel, fox\)"),
        ({"classes": np.array(["cat", "eel", "dog"])}, r"\(1 is eel, in pets dog\): .* one order"),
    ],
)
def test_what_differs_is_named(generated, changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        load_extra(generated(**changes), None, dataset())
    assert "\n" not in str(caught.value)


def test_fewer_classes_without_names_fit(generated):
    extra = load_extra(generated(label=np.zeros(6, int)), None, dataset())
    assert extra.labels.tolist() == [0] * 6


def test_an_unknown_name_is_refused_as_for_data():
    with pytest.raises(ValueError, match=r"unknown data 'npz:'.*folder:PATH, npz:PATH"):
        load_extra("npz:", None, dataset())


def test_joined_rows_are_own_then_extra_with_draws_of_their_own(generated):
    data = dataset()
    extra = load_extra(generated(), None, data)
    both = joined(data.train, extra)
    assert (len(both), both.name) == (15, "train")
    assert both.images[:, 0, 0, 0].tolist() == [*range(9), *range(100, 106)]
    assert both.labels.tolist() == [0, 1, 2] * 5
    assert both.index.tolist() == [*range(9), *range(2**40, 2**40 + 6)]
    (batch,) = batches(both, 15, seed=0)
    drawn = batch.draws.uniform((4,), "crop")
    (alone,) = batches(data.train, 9, seed=0)
    assert torch.equal(drawn[:9], alone.draws.uniform((4,), "crop"))
    assert len(drawn.unique()) == drawn.numel()


def test_a_joined_split_trains_in_its_mix(generated):
    data = dataset()
    both = joined(data.train, load_extra(generated(), None, data))
    found = list(batches(both, 3, seed=0, shuffle=True, drop_last=True, mix=Mix(9, 0.7)))
    assert [(batch.index >= 2**40).tolist() for batch in found] == [[False, True, True]] * 3


def test_the_columns_that_are_asked_for_are_those_of_the_extra_file_too(tmp_path: Path, picture):
    """A file that has no such column is read by its only one."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": picture((200 + row, 0, 0))} for row in range(6)]
    labels = pa.array([row % 3 for row in range(6)])
    two = {"photo": images, "thumb": images[::-1], "coarse": labels, "fine": labels}
    pq.write_table(pa.table(two), tmp_path / "two.parquet")
    pq.write_table(pa.table({"image": images, "kind": labels}), tmp_path / "one.parquet")
    for name, reds in (("two", range(205, 199, -1)), ("one", range(200, 206))):
        spec = f"parquet:{name}.parquet"
        extra = load_extra(spec, tmp_path, dataset(), image_column="thumb", label_column="coarse")
        assert extra.images[slice(0, 6)][:, 0, 0, 0].tolist() == list(reds)
        assert extra.labels.tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(ValueError, match=r"two\.parquet has several columns of encoded pictures"):
        load_extra("parquet:two.parquet", tmp_path, dataset(), label_column="coarse")


def test_what_is_no_files_goes_to_the_device_in_batches_where_that_is_asked(generated):
    own = dataset()
    lazy, held = (load_extra(generated(), None, own, streaming=s) for s in (ON, Streaming()))
    assert isinstance(lazy.images, Streamed) and not isinstance(held.images, Streamed)
    both = joined(own.train, lazy)
    assert torch.equal(both.pixels(slice(0, 15)), joined(own.train, held).pixels(slice(0, 15)))
