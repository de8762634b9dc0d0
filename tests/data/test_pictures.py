from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from hardy.data.archive import Member
from hardy.data.pictures import decode, decoded, probed
from hardy.data.sources.folder import load

# Two by two in reading order: what each of Exif's eight orientations stores of it (JEITA CP-3451).
UPRIGHT = np.array([[10, 80], [160, 240]], np.uint8)
STORED = {
    1: [[10, 80], [160, 240]],
    2: [[80, 10], [240, 160]],
    3: [[240, 160], [80, 10]],
    4: [[160, 240], [10, 80]],
    5: [[10, 160], [80, 240]],
    6: [[80, 240], [10, 160]],
    7: [[240, 80], [160, 10]],
    8: [[160, 10], [240, 80]],
}


def photographed(orientation: int, stored: np.ndarray, format: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, format, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", STORED)
def test_what_a_camera_held_otherwise_is_turned_upright(orientation: int):
    data = photographed(orientation, np.array(STORED[orientation], np.uint8))
    assert decoded(data, "x.png", 1, None)[0].tolist() == UPRIGHT.tolist()


def test_a_photograph_is_turned_before_it_is_cut():
    """Held upright (6) and stored lying: what is left in the file is above."""
    stored = np.zeros((32, 64), np.uint8)
    stored[:, :32] = 200
    lying, upright = (
        decode([Member("x.jpg", photographed(each, stored, "JPEG"))], 32)[0, 0] for each in (1, 6)
    )
    assert (lying[:, :16] == 200).all() and (lying[:, 16:] == 0).all()
    assert np.array_equal(upright, lying.T)


def test_exif_that_makes_no_sense_changes_nothing():
    good = photographed(6, UPRIGHT)
    at = good.index(b"eXIf") + 4
    bad = good[:at] + b"XX" + good[at + 2 :]
    length = int.from_bytes(good[at - 8 : at - 4], "big")
    crc = zlib.crc32(bad[at - 4 : at + length]).to_bytes(4, "big")
    bad = bad[: at + length] + crc + bad[at + length + 4 :]
    assert decoded(bad, "x.png", 1, None)[0].tolist() == UPRIGHT.tolist()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, 3])
def test_one_picture_is_as_it_is_among_many(picture, channels: int, size: int | None):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    files = [picture(pixels), picture(pixels[..., 0]), picture(5, (5, 5), "P")]
    members = [Member(f"{row}.png", data) for row, data in enumerate(files)]
    for one, expected in zip(members, decode(members, size, channels), strict=True):
        assert np.array_equal(decoded(one.read(), one.name, channels, size), expected)


def test_a_single_picture_that_cannot_be_used_is_named(picture, monkeypatch):
    with pytest.raises(ValueError, match=r"^x\.png has 6×4 pixels.* pass --image-size$"):
        decoded(picture(size=(6, 4)), "x.png", 3, None)
    with pytest.raises(ValueError, match=r"^x\.png cannot be read as a picture"):
        decoded(b"none", "x.png", 3, 4)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(ValueError, match=r"^x\.png has more than the 15 pixels"):
        decoded(picture(), "x.png", 3, 4)


def test_pictures_of_another_form_are_told_how_they_differ(picture):
    wide, square = Member("b.png", picture(size=(6, 4))), Member("a.png", picture())
    with pytest.raises(ValueError) as caught:
        probed([wide, square], None)
    assert str(caught.value) == "b.png has 6×4 pixels and is not square: pass --image-size N"
    with pytest.raises(ValueError) as caught:
        probed([square, wide], None)
    assert str(caught.value) == (
        "b.png has 6×4 pixels, but pictures must be square and of one size (the first has 4×4): "
        "pass --image-size N"
    )


def test_transparency_is_dropped_without_a_word(recwarn):
    image = Image.new("P", (2, 2), 1)
    image.putpalette([9, 9, 9, 200, 100, 50])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes([255, 0]))
    assert decoded(buffer.getvalue(), "x.png", 3, None)[:, 0, 0].tolist() == [200, 100, 50]
    assert not recwarn.list


def test_names_as_people_give_them(tree, picture):
    root = tree(
        {
            "train/Überraschung groß/Foto 1 (Kopie).PNG": picture((1, 0, 0)),
            "train/猫/bild.JFIF": picture((0, 0, 250), size=(4, 4), format="JPEG"),
            "train/猫/scan.tif": b"not opened",
        }
    )
    raw = load(root)
    assert raw.classes == ("Überraschung groß", "猫")
    assert raw.parts["train"].labels.tolist() == [0, 1]
    assert raw.parts["train"].images[1, 2].min() > 200
