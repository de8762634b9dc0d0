from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from hardy.data import load_data
from hardy.data.splits import DataSet


def content(data: DataSet) -> list[torch.Tensor]:
    return [each.index for each in (data.train, data.val, data.test)]


def test_digits_are_cut_into_three_stratified_parts():
    data = load_data("digits")
    assert [len(each) for each in (data.train, data.val, data.test)] == [1213, 135, 449]
    assert sorted(torch.cat(content(data)).tolist()) == list(range(1797))
    assert (data.num_classes, data.in_channels, data.image_size) == (10, 1, 8)
    assert data.normalization == "none"
    shares = torch.bincount(data.test.labels) / 449
    whole = torch.bincount(torch.tensor(load_digits(return_X_y=True)[1])) / 1797
    assert (shares - whole).abs().max() < 1 / 449


def test_digits_are_scaled_to_bytes():
    data = load_data("digits")
    pictures = np.asarray(load_digits(return_X_y=True)[0]).reshape(-1, 8, 8)[data.val.index]
    assert data.val.images.dtype == torch.uint8
    assert data.val.images.max() == 255
    scaled = np.floor(pictures * 255 / 16 + 0.5)
    assert np.abs(data.val.images[:, 0].numpy() - scaled).max() <= 1  # 127.5 may go either way


def test_val_is_the_same_for_one_seed_and_test_for_all():
    first, same, other = (load_data("digits", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.val.index, same.val.index)
    assert not torch.equal(first.val.index, other.val.index)
    assert torch.equal(first.test.index, other.test.index)
    assert first.provenance["content_hash"] == other.provenance["content_hash"]


def test_the_limit_caps_train_alone():
    whole, capped = load_data("digits"), load_data("digits", limit_train=100)
    assert len(capped.train) == 100
    assert set(capped.train.index.tolist()) <= set(whole.train.index.tolist())
    assert torch.equal(whole.val.index, capped.val.index)
    assert torch.equal(whole.test.index, capped.test.index)
    assert capped.provenance["limit_train"] == 100


def test_an_unknown_name_says_what_there_is_and_what_is_near():
    with pytest.raises(ValueError, match=r"expected one of digits.*did you mean .*cifar10"):
        load_data("cifar-10")
    with pytest.raises(ValueError, match="tiny-imagenet, folder:PATH"):
        load_data("folder:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_fraction": 0.0}, "--val-fraction must lie between 0 and 1"),
        ({"val_fraction": 1.0}, "--val-fraction must lie between 0 and 1"),
        ({"val_fraction": 1e-6}, "val split of digits is empty"),
        ({"image_size": 0}, "--image-size must be at least 1"),
        ({"channels": 2}, "--channels must be 1 or 3, not 2"),
        ({"limit_train": 0}, "--limit must be at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        load_data("digits", **arguments)
    assert "\n" not in str(caught.value)


def write_mnist(root: Path, prefix: str, count: int) -> None:
    images = np.arange(count * 4, dtype=np.uint8).tobytes()
    labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
    head = struct.pack(">4I", 0x0803, count, 2, 2)
    (root / f"{prefix}-images-idx3-ubyte").write_bytes(head + images)
    packed = gzip.compress(struct.pack(">2I", 0x0801, count) + labels)
    (root / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(packed)


def test_a_published_test_stays_whole_and_val_comes_from_train(tmp_path: Path):
    write_mnist(tmp_path, "train", 60)
    write_mnist(tmp_path, "t10k", 20)
    data = load_data("mnist", tmp_path, val_fraction=0.5)
    assert data.test.index.tolist() == list(range(20))
    assert (len(data.train), len(data.val)) == (30, 30)
    assert torch.bincount(data.val.labels).tolist() == [3] * 10
    assert data.provenance["notes"] == ""


def test_the_root_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_mnist(tmp_path, "t10k", 40)
    monkeypatch.setenv("HARDY_DATA", str(tmp_path))
    data = load_data("mnist")
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 10)
    assert "the train files are not there" in str(data.provenance["notes"])


def split_files(picture: Callable[..., bytes], *splits: str) -> dict[str, bytes]:
    return {
        f"{split}/{name}/{row}.png": picture((row, number, place))
        for place, split in enumerate(splits)
        for number, name in enumerate(("cat", "dog"))
        for row in range(10)
    }


def test_val_serves_as_test_where_there_is_none(picture, tree):
    data = load_data(f"folder:{tree(split_files(picture, 'train', 'validation'))}")
    assert (len(data.train), len(data.val), len(data.test)) == (18, 2, 20)
    assert (data.test.images[:, 2] == 1).all()  # the second split's colour
    assert (data.val.images[:, 2] == 0).all()
    assert "val is the test" in str(data.provenance["notes"])


def test_three_splits_stay_as_they_are(picture, tree):
    data = load_data(f"folder:{tree(split_files(picture, 'train', 'val', 'test'))}")
    assert [int(each.images[0, 2, 0, 0]) for each in (data.train, data.val, data.test)] == [0, 1, 2]
    assert len(data.train) == len(data.val) == 20


def test_val_and_test_without_train_are_refused(picture, tree):
    with pytest.raises(ValueError, match="has val and test but no train split"):
        load_data(f"folder:{tree(split_files(picture, 'val', 'test'))}")


def test_a_relative_folder_is_looked_for_in_the_root(picture, tree):
    root = tree(split_files(picture, "train", "test"))
    data = load_data("folder:tree", root.parent)
    assert (data.name, data.classes) == ("tree", ("cat", "dog"))
