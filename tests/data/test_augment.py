from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hardy.data import Augment, DataSet, Split, augment_of, flip, pad_crop
from hardy.draws import Draws


class Fixed(Draws):
    """Draws that were drawn by hand: offsets for crops, sides for flips."""

    def integers(self, high: int, shape, stream: str) -> Tensor:
        table = {"crop": [[0, 2], [1, 1], [2, 0]], "flip": [1, 0, 1]}[stream]
        drawn = torch.tensor(table)
        assert drawn.shape[1:] == tuple(shape)
        assert int(drawn.max()) < high
        return drawn


HAND = Fixed(0, 0, torch.arange(3))
PICTURE = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
THREE = PICTURE.expand(3, 2, 3, 3) * torch.tensor([1, 10]).view(1, 2, 1, 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crops_by_hand_with_a_black_border(dtype: torch.dtype):
    cropped = pad_crop(THREE.to(dtype), 1, "zero", HAND)
    assert cropped.dtype == dtype
    # Offset (0, 2): a row of border above, a column of border on the right; (1, 1): no change.
    assert cropped[0, 0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert cropped[1, 0].tolist() == PICTURE.tolist()
    assert cropped[2, 1].tolist() == [[0, 40, 50], [0, 70, 80], [0, 0, 0]]


def test_crops_by_hand_with_a_reflected_border():
    cropped = pad_crop(THREE, 1, "reflect", HAND)
    assert cropped[0, 0].tolist() == [[5, 6, 5], [2, 3, 2], [5, 6, 5]]
    assert cropped[2, 0].tolist() == [[5, 4, 5], [8, 7, 8], [5, 4, 5]]


def test_flips_by_hand():
    flipped = flip(THREE, HAND)
    assert flipped[0, 0].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert torch.equal(flipped[1], THREE[1])
    assert torch.equal(flipped[2], THREE[2].flip(-1))


@pytest.mark.parametrize("mode", ["zero", "reflect"])
@pytest.mark.parametrize("pad", [1, 4])
def test_crops_equal_padding_and_cutting_one_by_one(mode: str, pad: int):
    images = torch.rand(20, 3, 6, 7)
    draws = Draws(1, 2, torch.arange(20))
    kind = "constant" if mode == "zero" else "reflect"
    padded = torch.nn.functional.pad(images, (pad,) * 4, kind)
    offsets = draws.integers(2 * pad + 1, (2,), "crop").tolist()
    expected = [
        picture[:, y : y + 6, x : x + 7] for picture, (y, x) in zip(padded, offsets, strict=True)
    ]
    assert torch.equal(pad_crop(images, pad, mode, draws), torch.stack(expected))


def test_an_example_is_augmented_alike_anywhere_in_a_batch():
    images, index = torch.rand(16, 3, 8, 8), torch.arange(100, 116)
    draws, order = Draws(0, 3, index), torch.randperm(16)
    whole = Augment()(images, draws)
    assert torch.equal(Augment()(images[order], draws.take(order)), whole[order])
    assert not torch.equal(Augment()(images, replace(draws, epoch=4)), whole)


def test_no_padding_and_no_flip_change_nothing():
    images = torch.rand(2, 1, 4, 4)
    assert Augment(pad=0, flip=False)(images, Draws(0, 0, torch.arange(2))) is images


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="pad must be 0 or more"):
        Augment(pad=-1)
    with pytest.raises(ValueError, match="mode must be one of zero, reflect"):
        Augment(mode="wrap")
    with pytest.raises(ValueError, match="a reflected border of 3 needs pictures larger than 3×3"):
        pad_crop(THREE, 3, "reflect", HAND)


@pytest.mark.parametrize(
    ("channels", "size", "expected"),
    [
        (1, 8, Augment(1, flip=False)),
        (1, 28, Augment(2, flip=False)),
        (3, 32, Augment(4)),
        (3, 64, Augment(8)),
        (3, 224, Augment(8)),
    ],
)
def test_defaults_follow_channels_and_size(channels: int, size: int, expected: Augment):
    rows = torch.zeros(1, dtype=torch.int64)
    part = Split(torch.zeros(1, channels, size, size, dtype=torch.uint8), rows, rows, "train")
    assert augment_of(DataSet("x", part, part, part, ("a",), "none", {}), "zero") == expected


@pytest.mark.parametrize(
    ("channels", "flips", "expected"),
    [(3, False, Augment(2, flip=False)), (3, True, Augment(4)), (1, True, Augment(4))],
)
def test_what_the_set_says_of_mirrored_pictures_comes_first(
    channels: int, flips: bool, expected: Augment
):
    rows = torch.zeros(1, dtype=torch.int64)
    part = Split(torch.zeros(1, channels, 32, 32, dtype=torch.uint8), rows, rows, "train")
    data = DataSet("x", part, part, part, ("a",), "none", {}, flips)
    assert augment_of(data, "zero") == expected
