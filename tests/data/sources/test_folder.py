from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from hardy.data.sources.folder import load, name_of


@pytest.fixture
def files(picture: Callable[..., bytes]) -> dict[str, bytes]:
    """Two splits of two classes; the red of a picture tells which it is."""
    names = ["train/b/1.png", "train/a/2.png", "train/a/1.png", "test/b/1.png", "test/a/1.png"]
    return {name: picture((number, 9, 200)) for number, name in enumerate(names)}


def check(raw) -> None:
    assert raw.classes == ("a", "b")
    assert list(raw.parts) == ["train", "test"]
    assert raw.parts["train"].labels.tolist() == [0, 0, 1]
    assert raw.parts["train"].images[:, 0, 0, 0].tolist() == [2, 1, 0]  # sorted by path
    assert raw.parts["test"].images[:, :, 3, 3].tolist() == [[4, 9, 200], [3, 9, 200]]


Mode = Literal["w", "w:gz", "w:xz"]


def tarred(path: Path, files: dict[str, bytes], mode: Mode) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for kind, name in ((tarfile.SYMTYPE, "train/a/3.png"), (tarfile.FIFOTYPE, "train/a/4.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/hostname"
            archive.addfile(info)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_directory(tree, files):
    check(load(tree({**files, "train/a/notes.txt": b"", "train/a/._1.png": b""})))


@pytest.mark.parametrize(
    ("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz"), ("tgz", "w:gz")]
)
def test_tar_archives_whose_links_are_passed_over(tmp_path: Path, files, ending, mode):
    path = tarred(tmp_path / f"pets.{ending}", files, mode)
    check(load(path))
    assert name_of(path) == "pets"


def test_a_zip_in_an_outer_folder(tmp_path: Path, files):
    inner = {f"pets/{name}": data for name, data in files.items()}
    check(load(zipped(tmp_path / "pets.zip", inner)))


def test_members_that_point_outside_are_harmless(tmp_path: Path, files, picture):
    outside = {"../evil.png": picture(), "../train/a/x.png": picture(), "/train/a/y.png": picture()}
    home = tmp_path / "home"
    home.mkdir()
    check(load(zipped(home / "pets.zip", {**files, **outside})))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "home"]
    assert [each.name for each in home.iterdir()] == ["pets.zip"]


def test_class_folders_without_splits_are_one_split(tree, files):
    root = tree({name.removeprefix("train/"): files[name] for name in files if "train" in name})
    raw = load(root)
    assert list(raw.parts) == ["all"]
    assert raw.parts["all"].labels.tolist() == [0, 0, 1]


def test_pictures_outside_of_the_splits_are_counted(tree, files, picture):
    raw = load(tree({**files, "unlabelled/x/1.png": picture()}))
    check(raw)
    assert raw.notes == "1 pictures outside of the splits are left out"


def test_all_grey_pictures_keep_one_channel(tree, picture):
    root = tree({"a/1.png": picture(7, mode="L"), "b/1.png": picture(1, mode="1")})
    assert load(root).parts["all"].images[:, :, 0, 0].tolist() == [[7], [255]]


def test_one_coloured_picture_makes_three_channels(tree, picture):
    kinds = {
        "a/1.png": picture(7, mode="L"),
        "a/2.png": picture((1, 2, 3, 4), mode="RGBA"),
        "a/3.png": picture(np.full((4, 4), 0x1234, np.uint16)),
        "b/1.png": picture(1, mode="P"),
        "b/2.jpg": picture((0, 0, 0, 255), mode="CMYK", format="JPEG"),
    }
    images = load(tree(kinds)).parts["all"].images
    assert images[:3, :, 0, 0].tolist() == [[7] * 3, [1, 2, 3], [0x12] * 3]
    assert images.shape == (5, 3, 4, 4)


def test_other_sizes_need_image_size(tree, picture):
    root = tree({"a/1.png": picture(), "b/1.png": picture(size=(6, 4))})
    with pytest.raises(ValueError, match=r"b/1.png has 6×4 pixels.*pass --image-size"):
        load(root)
    assert load(root, 2).parts["all"].images.shape == (2, 3, 2, 2)


def test_resizing_keeps_the_centre(tree, picture):
    # 12×4 with a bright middle third: its shorter side is already 4, so the cut is exact.
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 250
    ramp = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    root = tree({"a/1.png": picture(wide), "b/1.png": picture(ramp)})
    images = load(root, 4).parts["all"].images
    assert (images[0] == 250).all()
    small = Image.fromarray(ramp).resize((4, 4), Image.Resampling.BICUBIC)
    assert np.array_equal(images[1, 0], np.asarray(small))


@pytest.mark.parametrize("change", [lambda data: data[:-25], lambda data: data[:9], lambda _: b""])
def test_a_damaged_picture_is_named(tree, files, change):
    files["train/a/2.png"] = change(files["train/a/2.png"])
    with pytest.raises(ValueError, match=r"train/a/2\.png cannot be read as a picture") as caught:
        load(tree(files))
    assert "\n" not in str(caught.value)


def test_a_format_that_would_start_a_program_is_not_opened(tree, files, picture):
    files["train/a/2.png"] = picture(format="EPS")
    with pytest.raises(ValueError, match=r"train/a/2\.png cannot be read as a picture"):
        load(tree(files))


def test_a_picture_beyond_pillows_limit_is_named(tree, files, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(ValueError, match=r"1\.png has more than the 15 pixels"):
        load(tree(files))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"train/c/": b""}, "the class folder train/c of .* has no pictures"),
        ({"test/c/": b""}, "the class folder test/c of .* has no pictures"),
        ({"train/c/1.png": b""}, r"the splits train and test of .* differ in their classes \(c\)"),
        ({"old/train/a/1.png": b""}, "has class folders in 'old/train' and 'train'"),
    ],
)
def test_layouts_that_mean_nothing_are_refused(tree, files, extra, message):
    with pytest.raises(ValueError, match=message):
        load(tree({**files, **extra}))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["readme.txt"], "has no pictures in class folders"),
        (["1.png"], "has no pictures in class folders"),
        (["a/1.png"], "has one class only"),
        (["a/1.png", "b/"], "the class folder b of .* has no pictures"),
    ],
)
def test_folders_without_classes_are_refused(tree, picture, names, message):
    with pytest.raises(ValueError, match=message):
        load(tree({name: picture() for name in names}))


def test_paths_that_are_no_folder_and_damaged_archives_are_refused(tmp_path: Path, files):
    with pytest.raises(ValueError, match="does not exist"):
        load(tmp_path / "nothing")
    (tmp_path / "x.rar").write_bytes(b"")
    with pytest.raises(ValueError, match="neither a directory nor"):
        load(tmp_path / "x.rar")


CUTS = [(ending, left) for ending in ("tar.gz", "tar.xz", "zip") for left in (-8, -60, 100, 0)]
CUTS += [("tar", left) for left in (2048, 1024, 100, 0)]  # its end is padding


@pytest.mark.parametrize(("ending", "left"), CUTS)
def test_an_archive_that_breaks_off_is_refused(tmp_path: Path, files, ending, left):
    path = tmp_path / f"cut.{ending}"
    if ending == "zip":
        zipped(path, files)
    else:
        modes: dict[str, Mode] = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}
        tarred(path, files, modes[ending])
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match="cannot be read"):
        load(path)


def test_a_member_that_claims_to_be_huge_is_refused(tmp_path: Path, files, monkeypatch):
    monkeypatch.setattr("hardy.data.archive._MOST_BYTES", 10)
    with pytest.raises(ValueError, match="more than the 10 that are read"):
        load(zipped(tmp_path / "pets.zip", files))
