from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hardy.data import DataSet, Split, Streaming, augment_of, load_data
from hardy.data.from_python.handed import handed_in
from hardy.data.pictures import decoded
from hardy.data.raw import Part, Raw
from hardy.data.reshape import reshaped, reshaped_data, reshaped_raw
from hardy.data.streaming.chained import Held
from hardy.data.streaming.stream import Streamed

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (3, 3, 6, 6), dtype=np.uint8)
GREY = COLOUR[:, :1]


def pictures(split: Split) -> torch.Tensor:
    assert isinstance(split.images, torch.Tensor)
    return split.images


def raw(images: np.ndarray, **about) -> Raw:
    return Raw({"all": Part(images, np.arange(len(images)))}, ("a", "b", "c"), "x", **about)


def test_grey_is_repeated():
    found = reshaped(GREY, None, 3)
    assert found.shape == (3, 3, 6, 6)
    assert all(np.array_equal(found[:, channel], GREY[:, 0]) for channel in range(3))


def test_colour_becomes_the_luma_of_itu_r_601():
    found = reshaped(COLOUR, None, 1)
    luma = np.tensordot(COLOUR.astype(float), [0.299, 0.587, 0.114], axes=([1], [0]))
    assert found.shape == (3, 1, 6, 6) and found.flags.writeable
    assert np.abs(found[:, 0] - luma).max() <= 0.51
    pure = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8).reshape(3, 3, 1, 1)
    assert reshaped(pure, None, 1).flatten().tolist() == [76, 150, 29]


def test_grey_made_colour_and_grey_again_is_as_it_was():
    assert np.array_equal(reshaped(reshaped(GREY, None, 3), None, 1), GREY)


def test_nothing_asked_is_nothing_done():
    assert reshaped(COLOUR, None, None) is COLOUR
    assert reshaped(COLOUR, 6, 3) is COLOUR
    same = raw(COLOUR)
    assert reshaped_raw(same, None, None) is same


def test_sizes_come_about_as_those_of_picture_files(picture):
    """Bit for bit what decoding gives, in every combination of size and channels."""
    for images in (GREY, COLOUR):
        file = picture(images[1].transpose(1, 2, 0).squeeze())
        for size in (4, 6, 9):
            for channels in (1, 3):
                expected = decoded(file, "x.png", channels, size)
                assert np.array_equal(reshaped(images, size, channels)[1], expected)
    small = Image.fromarray(GREY[0, 0]).resize((4, 4), Image.Resampling.BICUBIC)
    assert np.array_equal(reshaped(GREY, 4, None)[0, 0], np.asarray(small))


def test_the_hash_is_that_of_the_pictures_that_are_used():
    assert reshaped_raw(raw(GREY), None, 3).content_hash == raw(np.repeat(GREY, 3, 1)).content_hash


@pytest.mark.parametrize(
    ("images", "channels", "flips", "normalization"),
    [
        (GREY, 3, False, "none"),
        (COLOUR, 1, True, "none"),
        (COLOUR, 3, None, "cifar10"),
        (COLOUR, None, None, "cifar10"),
    ],
)
def test_other_channels_have_other_statistics_and_are_mirrored_as_before(
    images, channels, flips, normalization
):
    found = reshaped_raw(raw(images, normalization="cifar10"), 4, channels)
    assert (found.flips, found.normalization) == (flips, normalization)
    assert reshaped_raw(raw(images, flips=not flips), 4, 4 - images.shape[1]).flips is (not flips)


def test_what_is_neither_grey_nor_coloured_is_refused():
    five = np.zeros((1, 5, 4, 4), np.uint8)
    assert reshaped(five, 4, 5) is five
    for asked in ((2, None), (None, 3)):
        with pytest.raises(ValueError, match="1 or 3 channels, not of 5: leave them out"):
            reshaped(five, *asked)


def test_digits_as_the_pictures_of_a_network_for_colour():
    plain, data = load_data("digits"), load_data("digits", image_size=32, channels=3)
    assert data.train.images.shape == (1213, 3, 32, 32)
    assert torch.equal(data.test.index, plain.test.index)
    big = Image.fromarray(pictures(plain.test)[0, 0].numpy()).resize(
        (32, 32), Image.Resampling.BICUBIC
    )
    assert torch.equal(pictures(data.test)[0, 1], torch.from_numpy(np.array(big)))
    assert (data.provenance["image_size"], data.provenance["channels"]) == (32, 3)
    assert data.provenance["content_hash"] != plain.provenance["content_hash"]
    augment = augment_of(data, "zero")
    assert augment is not None and (augment.flip, augment.pad) == (False, 2)


def test_a_data_set_that_is_cut_already():
    split = Split(torch.from_numpy(COLOUR), torch.arange(3), torch.arange(3), "train")
    data = DataSet("x", split, split, split, ("a", "b", "c"), "cifar10", {})
    found = reshaped_data(data, 4, 1)
    assert torch.equal(pictures(found.val), torch.from_numpy(reshaped(COLOUR, 4, 1)))
    assert (found.normalization, found.flips) == ("none", True)
    for image_size, channels in ((None, None), (COLOUR.shape[-1], 3), (COLOUR.shape[-1], None)):
        assert reshaped_data(data, image_size, channels) is data
    held = replace(split, images=Streamed.whole(Held(torch.from_numpy(COLOUR)), 0))
    with pytest.raises(ValueError, match=r"train are streamed, .* give image_size and channels to"):
        reshaped_data(replace(data, train=held), 4, None)


def test_a_data_set_that_has_the_size_it_is_asked_for_is_known_by_the_same_hash():
    digits = load_data("digits")
    assert handed_in(digits, image_size=8, channels=1).provenance == digits.provenance
    streamed = load_data("digits", streaming=Streaming("on"))
    assert handed_in(streamed, image_size=8).provenance == digits.provenance
    hashes = {d.provenance["content_hash"] for d in (digits, handed_in(digits, image_size=4))}
    assert len(hashes) == 2
