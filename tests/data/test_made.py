"""What a computed set says of itself, read back from an .npz, a folder and Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hardy.data import DataSet, Streaming, batches, load_data, load_extra
from hardy.data.made import KIND, PROVENANCE, made_of, said_of

ABOUT: dict[str, Any] = {
    "kind": KIND,
    "set": "d_rand",
    "data": "cifar10",
    "weights": {"network": "0123456789abcdef"},
    "label_shift": None,
    "normalization": "cifar10",
    "flips": True,
    "content_hash": "fedcba9876543210",
}
# Between two steps of 8 bits; exact in half precision.
X = (np.arange(24 * 2 * 2 * 3).reshape(24, 2, 2, 3) / 512).astype(np.float16)
Y = np.arange(24) % 3


def saved(path: Path, about: Any = ABOUT, **more: np.ndarray) -> Path:
    arrays = {
        "train_images": X,
        "train_labels": Y,
        "test_images": (X * 255).astype(np.uint8),
        "test_labels": Y,
        **more,
    }
    np.savez(path, provenance=np.array(json.dumps(about)), source_index=Y, **arrays)
    return path


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return load_data(f"npz:{saved(tmp_path / 'made.npz')}")


def test_a_set_brings_its_provenance_and_what_it_was_made_of(data: DataSet) -> None:
    made = made_of(data.provenance)
    assert made == ABOUT
    assert said_of(ABOUT) == "d_rand of cifar10 (fedcba9876543210) by network 0123456789abcdef"
    assert (data.normalization, data.flips, data.provenance["notes"]) == ("cifar10", True, "")
    assert made_of(load_data("digits").provenance) is None


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_stay_what_they_are(kind: type, tmp_path: Path) -> None:
    data = load_data(f"npz:{saved(tmp_path / 'made.npz', train_images=X.astype(kind))}")
    expected = torch.from_numpy(X.astype(np.float32)).permute(0, 3, 1, 2)[data.train.index]
    assert torch.equal(data.train.pixels(slice(None)), expected)
    (batch,) = batches(data.train, 64, seed=0)
    assert torch.equal(batch.x, expected) and batch.x.dtype == torch.float32
    assert data.train.images.element_size() == min(4, np.dtype(kind).itemsize)


def test_a_set_that_was_loaded_can_be_handed_over(data: DataSet) -> None:
    again = load_data(lambda: data)
    assert torch.equal(again.train.images, data.train.images)
    assert again.provenance["made"] == data.provenance["made"]


def test_floats_are_neither_streamed_nor_resized_nor_mixed_with_bytes(
    data: DataSet, tmp_path: Path
) -> None:
    path = f"npz:{tmp_path / 'made.npz'}"
    streamed = load_data(path, streaming=Streaming("on"))
    assert isinstance(streamed.train.images, torch.Tensor)
    for more in ({"image_size": 4}, {"channels": 1}):
        with pytest.raises(ValueError, match="are for pictures of 8 bits"):
            load_data(path, **more)
    whole = replaced_by_bytes(tmp_path)
    with pytest.raises(ValueError, match=r"are float16, those of bytes uint8"):
        load_extra(path, None, whole)


def replaced_by_bytes(folder: Path) -> DataSet:
    np.savez(folder / "bytes.npz", image=(255 - X * 255).astype(np.uint8), label=Y)
    return load_data(f"npz:{folder / 'bytes.npz'}")


@pytest.mark.parametrize(
    "about",
    [
        {**ABOUT, "kind": "another tool"},
        {key: value for key, value in ABOUT.items() if key != "weights"},
        {**ABOUT, "label_shift": "one"},
        ["no", "object"],
    ],
)
def test_what_is_no_provenance_is_refused(about: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "made.npz", about)
    with pytest.raises(ValueError, match=r"made\.npz holds no provenance of hardy features"):
        load_data(f"npz:{path}")


def test_a_folder_brings_its_provenance_too(tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / "set" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), number).save(folder / f"{number}.png")
    plain = load_data(f"folder:{tmp_path / 'set'}")
    assert made_of(plain.provenance) is None
    (tmp_path / "set" / PROVENANCE).write_text(json.dumps(ABOUT), encoding="utf-8")
    for streaming in (Streaming("off"), Streaming("on", workers=0)):
        data = load_data(f"folder:{tmp_path / 'set'}", streaming=streaming)
        assert made_of(data.provenance) == ABOUT
        assert data.provenance["content_hash"] == plain.provenance["content_hash"]
