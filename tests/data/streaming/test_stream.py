"""Pictures that are streamed are those that lie in memory, to the bit, wherever they are read."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from hardy.data import (
    Augment,
    DataSet,
    Mix,
    Split,
    Streaming,
    batches,
    joined,
    limited,
    load_data,
    load_extra,
)
from hardy.data.archive import Spot
from hardy.data.corruptions import corrupted
from hardy.data.streaming import encoded, looked
from hardy.data.streaming.chained import Chained, Held, chained
from hardy.data.streaming.stream import AHEAD, Streamed, hashes_of, picture_hashes
from other_processes import eventually

ON = Streaming("on", workers=2)
KINDS = ("directory", "zip", "deflated.zip", "tar", "tar.gz", "tar.xz")


def jpeg(number: int, size: tuple[int, int] = (12, 8), mode: str = "RGB") -> bytes:
    shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
    noise = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, mode).save(buffer, "JPEG")
    return buffer.getvalue()


# 3 + 2 pictures of two classes in train, 2 + 2 in test, of several sizes; one is grey.
FILES = {
    **{f"train/b/{i}.jpg": jpeg(i, (12, 8 + i)) for i in range(3)},
    "train/a/ü 1.jpg": jpeg(10),
    "train/a/2.JPG": jpeg(11, mode="L"),
    **{f"test/{name}/{i}.jpg": jpeg(20 + i) for name in "ab" for i in range(2)},
    "train/notes.txt": b"no picture",
}


def stored(root: Path, kind: str, files: dict[str, bytes] = FILES) -> Path:
    """The files as a directory or an archive, with the folders as entries."""
    folders = sorted({f"{name.rpartition('/')[0]}/" for name in files})
    path = root / ("pets" if kind == "directory" else f"pets.{kind}")
    if kind == "directory":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind.endswith("zip"):
        method = zipfile.ZIP_DEFLATED if kind.startswith("deflated") else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in folders:
                archive.writestr(name, b"")
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        modes: dict[str, Literal["w", "w:gz", "w:xz"]]
        modes = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}
        with tarfile.open(path, modes[kind]) as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def both(path: Path, how: Streaming = ON, **more: object):
    arguments = {"image_size": 6, "val_fraction": 0.4, **more}
    return [load_data(f"folder:{path}", streaming=s, **arguments) for s in (Streaming(), how)]


def assert_same(one: Split, other: Split) -> None:
    assert isinstance(one.images, torch.Tensor) and isinstance(other.images, Streamed)
    assert one.name == other.name and one.images.shape == other.images.shape
    assert torch.equal(one.labels, other.labels) and torch.equal(one.index, other.index)
    assert torch.equal(one.images, other.images[:])
    assert torch.equal(one.pixels(slice(0, 2)), other.pixels(slice(0, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_is_the_same_in_memory_and_streamed(kind: str, tmp_path: Path, cache: Path):
    path = stored(tmp_path, kind)
    memory, stream = both(path)
    assert stream.provenance == memory.provenance  # the content hash among them
    assert stream.classes == memory.classes == ("a", "b")
    assert stream.image_size == 6 and stream.in_channels == 3
    for name in ("train", "val", "test"):
        assert_same(getattr(memory, name), getattr(stream, name))
    packed = len(list(cache.glob("*.zip")))
    assert packed == (kind in ("deflated.zip", "tar.gz", "tar.xz")), "the others lie in place"


@pytest.mark.parametrize("kind", ["directory", "tar.xz"])
def test_the_second_start_decodes_nothing(kind, tmp_path, monkeypatch: pytest.MonkeyPatch):
    path = stored(tmp_path, kind)
    _, first = both(path)
    monkeypatch.setattr(encoded, "decoded", None)
    _, second = both(path)
    assert second.provenance == first.provenance
    monkeypatch.undo()
    assert torch.equal(second.test.images[:], first.test.images[:])
    # Another size is another set.
    monkeypatch.setattr(encoded, "decoded", None)
    with pytest.raises(TypeError):
        load_data(f"folder:{path}", image_size=5, streaming=ON)


def test_a_set_of_grey_pictures_stays_grey(tmp_path: Path):
    grey = {f"{name}/{i}.jpg": jpeg(i, (4, 4), "L") for name in "ab" for i in range(8)}
    memory, stream = both(stored(tmp_path, "directory", grey), image_size=None)
    assert stream.train.images.shape[1:] == (1, 4, 4)
    for name in ("train", "val", "test"):
        assert_same(getattr(memory, name), getattr(stream, name))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_is_named_at_the_start(workers: int, tmp_path: Path):
    files = {**FILES, "test/b/bad.jpg": jpeg(1)[:-40]}
    with pytest.raises(ValueError, match=r"^test/b/bad.jpg cannot be read as a picture"):
        both(stored(tmp_path, "directory", files), Streaming("on", workers))


def test_other_sizes_are_refused_as_in_memory(tmp_path: Path):
    path = stored(tmp_path, "tar.xz")
    said = []
    for how in (Streaming(), ON):
        with pytest.raises(ValueError, match="pass --image-size") as caught:
            load_data(f"folder:{path}", streaming=how)
        said.append(str(caught.value))
    assert said[0] == said[1]


def looked_at(folder: Path, workers: int) -> tuple[Path, DataSet, str]:
    """Where a streamed set of small pictures lies, the set, and the name of its first file."""
    files = {f"{name}/{i}.jpg": jpeg(i, (8, 8)) for name in "ab" for i in range(8)}
    path = stored(folder, "directory", files)
    _, data = both(path, Streaming("on", workers), image_size=None)
    images = data.train.images
    return path, data, images.source.files.name(int(images.rows[0]))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_has_changed_on_disk_is_named_in_one_line(workers: int, tmp_path: Path):
    path, data, name = looked_at(tmp_path, workers)
    (path / name).write_bytes(jpeg(3, (10, 10)))
    with pytest.raises(ValueError, match=rf"^{name} of .*pets has changed since"):
        list(batches(data.train, 4, seed=0))
    (path / name).unlink()
    with pytest.raises(ValueError, match=rf"^{name} of .*pets cannot be read "):
        list(batches(data.train, 4, seed=0))


@pytest.mark.parametrize("kind", ["directory", "zip", "tar.gz"])
def test_where_pictures_lie_hangs_on_no_working_directory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nor is another set of the same relative path taken for it."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    path = stored(tmp_path / "one", kind)
    stored(tmp_path / "two", kind, {name: jpeg(7) for name in FILES})
    monkeypatch.setenv("HARDY_CACHE", "../cache")  # both have the same
    monkeypatch.chdir(tmp_path / "one")
    expected, first = both(Path(path.name))
    monkeypatch.chdir(tmp_path)
    assert_same(expected.train, first.train)
    monkeypatch.chdir(tmp_path / "two")
    _, second = both(Path("../one") / path.name)
    assert_same(expected.train, second.train)


@pytest.mark.parametrize("workers", [0, 2])
def test_another_picture_of_the_same_size_is_noticed(workers: int, tmp_path: Path):
    path, data, name = looked_at(tmp_path, workers)
    (path / name).write_bytes(jpeg(99, (8, 8)))
    with pytest.raises(ValueError, match=rf"^{name} of .*pets has changed since.*is another one"):
        list(batches(data.train, 4, seed=0))


def test_pictures_of_another_decoder_are_looked_at_anew(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    """They may differ in a bit, and would all be taken for changed."""
    path = stored(tmp_path, "directory")
    both(path)
    monkeypatch.setattr(Image, "__version__", "0.0")
    both(path)
    assert len(list(cache.glob("*.npz"))) == 2


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_picture_of_a_zip_is_found_by_its_checksum(packed: bool, tmp_path: Path):
    """Though it still decodes: in a zip that is read in place, and in the one in the cache."""
    path, name = stored(tmp_path, "tar.gz" if packed else "zip"), "train/b/1.jpg"
    place = both(path)[1].train.images.source.files.place if packed else path
    whole = bytearray(place.read_bytes())
    at = whole.index(FILES[name])
    changed = bytearray(FILES[name])
    changed[-3] ^= 1  # the last bits of the last block
    Image.open(io.BytesIO(changed)).load()
    whole[at : at + len(changed)] = changed
    place.write_bytes(whole)
    with pytest.raises(ValueError, match=rf"^{name} of .*cannot be read .*fit their CRC-32"):
        data = load_data(f"folder:{path}", image_size=6, val_fraction=0.4, streaming=ON)
        data.train.images.source.read(np.arange(9), np.empty((9, 3, 6, 6), np.uint8))


def test_names_that_are_no_utf8(tmp_path: Path):
    path = stored(tmp_path, "directory")
    odd = os.fsencode(path / "train/a/2.JPG").replace(b"2.JPG", b"caf\xe9 100%41.jpg")
    try:
        (path / "train/a/2.JPG").rename(os.fsdecode(odd))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with tarfile.open(tmp_path / "pets.tar.gz", "w:gz") as archive:
        archive.add(path, "pets")
    for place in (path, tmp_path / "pets.tar.gz"):
        memory, stream = both(place)
        assert stream.provenance["content_hash"] == memory.provenance["content_hash"]
        assert_same(memory.train, stream.train)
        files = both(place)[1].train.images.source.files  # as it was remembered
        names = [os.fsencode(files.name(row)).rpartition(b"/")[2] for row in range(len(files))]
        assert b"caf\xe9 100%41.jpg" in names


def test_a_damaged_archive_is_not_taken_for_a_full_disk(tmp_path: Path, cache: Path):
    path = stored(tmp_path, "tar.gz")
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1  # of the checksum at the end
    path.write_bytes(whole)
    said = []
    for how in (Streaming(), ON):
        with pytest.raises(ValueError, match="get it again if it is damaged") as caught:
            load_data(f"folder:{path}", image_size=6, streaming=how)
        said.append(str(caught.value))
    assert said[0] == said[1] and list(cache.iterdir()) == []


def test_packing_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = stored(tmp_path, "deflated.zip")
    for count in (1, 0):
        both(path)
        assert capsys.readouterr().err.count("pets.deflated.zip: packed once into") == count


@pytest.mark.parametrize(("mode", "more"), [("RGB", 1), ("L", 16)])
def test_no_more_is_opened_twice_than_it_takes(
    mode: str, more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Sixteen pictures: all that are grey must be opened to know that none has colour."""
    files = {f"{name}/{i}.jpg": jpeg(i, (8, 8), mode) for name in "ab" for i in range(8)}
    path, count = stored(tmp_path, "zip", files), []
    real = Spot.read
    monkeypatch.setattr(Spot, "read", lambda spot: (count.append(1), real(spot))[1])
    load_data(f"folder:{path}", image_size=6, streaming=ON)
    assert len(count) == 16 + more


def test_an_interrupted_packing_leaves_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    path, count = stored(tmp_path, "tar.xz"), 0
    real = zipfile.ZipFile.writestr

    def stop(*arguments: object) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(zipfile.ZipFile, "writestr", stop)
    with pytest.raises(KeyboardInterrupt):
        load_data(f"folder:{path}", image_size=6, streaming=ON)
    assert list(cache.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("HARDY_CACHE", str(cache))
    memory, stream = both(path)
    assert_same(memory.test, stream.test)


def test_where_nothing_can_be_packed_it_says_so(tmp_path: Path, cache: Path):
    cache.write_bytes(b"a file where the folder should be")
    path = stored(tmp_path, "tar.xz")
    with pytest.raises(ValueError, match=r"is compressed.*make room, give another folder as"):
        load_data(f"folder:{path}", image_size=6, streaming=ON)


@pytest.mark.parametrize("harm", ["cut", "empty", "gone"])
def test_a_damaged_entry_is_built_anew(harm: str, tmp_path: Path, cache: Path):
    path = stored(tmp_path, "directory")
    _, first = both(path)
    (entry,) = cache.glob("*.npz")
    whole = entry.read_bytes()
    entry.write_bytes({"cut": whole[:-30], "empty": b"", "gone": b""}[harm])
    if harm == "gone":
        entry.unlink()
    _, second = both(path)
    assert second.provenance == first.provenance
    assert entry.read_bytes()[:100] == whole[:100]


def test_an_entry_of_any_bytes_is_no_error(tmp_path: Path, cache: Path):
    """Of these 400 nineteen would end the run (NotImplementedError)."""
    both(stored(tmp_path, "directory"))
    (entry,) = cache.glob("*.npz")
    whole, draws = entry.read_bytes(), random.Random(0)
    kept = 0
    for _ in range(400):
        changed = bytearray(whole)
        changed[draws.randrange(len(whole))] = draws.randrange(256)
        entry.write_bytes(changed)
        kept += looked._read(entry, 0) is not None
    assert 0 < kept < 200


def test_less_than_no_workers(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^workers must be at least 0, not -2: 0 decodes in"):
        both(stored(tmp_path, "directory"), Streaming("on", -2))


def test_only_cuda_is_not_waited_for(noise: Split, monkeypatch: pytest.MonkeyPatch):
    """A copy to another device may not be whole when it is used."""
    asked, real = [], torch.Tensor.to

    def to(self: torch.Tensor, *args, **kwargs):
        asked.append(kwargs.get("non_blocking", False))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", to)
    assert len(list(streamed(noise).images.batches([slice(0, 4), slice(4, 9)]))) == 2
    assert asked == [False, False]


def test_a_cache_that_cannot_be_written_is_no_error_in_place(tmp_path: Path, cache: Path):
    cache.write_bytes(b"a file where the folder should be")
    memory, stream = both(stored(tmp_path, "zip"))
    assert_same(memory.train, stream.train)


def streamed(split: Split, workers: int = 2) -> Split:
    """The same, read from memory as a file would be."""
    assert isinstance(split.images, torch.Tensor)
    return replace(split, images=Streamed.whole(Held(split.images), workers))


@pytest.fixture
def noise() -> Split:
    """Fifty 3×6×6 pictures."""
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 6, 6), np.uint8)
    return Split(torch.from_numpy(images), torch.arange(50) % 3, torch.arange(50), "train")


@pytest.mark.parametrize("workers", [0, 1, 5])
@pytest.mark.parametrize("part", [(0, 1), (0, 2), (1, 2)])
def test_a_pass_gives_the_same_batches(workers: int, part: tuple[int, int], noise: Split):
    def one_pass(split: Split):
        return batches(
            split, 8, seed=3, epoch=1, augment=Augment(1), shuffle=True, drop_last=True, part=part
        )

    found, expected = list(one_pass(streamed(noise, workers))), list(one_pass(noise))
    assert len(found) == len(expected) == 6
    for one, other in zip(found, expected, strict=True):
        assert one.x.dtype == other.x.dtype and torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y) and torch.equal(one.draws.index, other.draws.index)


def test_rows_are_taken_without_reading(noise: Split):
    class Unread(Held):
        def read(self, rows: np.ndarray, out: np.ndarray) -> None:
            raise AssertionError("nothing is asked for")

    images = Streamed.whole(Unread(noise.images), 1)
    lazy = replace(noise, images=images)
    part = limited(lazy.take(torch.arange(40)).take(slice(10, None, 2)), 9, seed=0)
    lazy = replace(part, images=replace(part.images, source=Held(noise.images)))
    expected = limited(noise.take(torch.arange(40)).take(slice(10, None, 2)), 9, seed=0)
    assert torch.equal(lazy.images[:], expected.images)
    assert torch.equal(lazy.pixels(torch.tensor([4, 0])), expected.pixels(torch.tensor([4, 0])))
    assert lazy.images[slice(0, 0)].shape == (0, 3, 6, 6)


class Counting(Held):
    """Notes the rows that it is asked for."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__(images)
        self.__dict__["seen"] = []

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        self.seen.extend(rows.tolist())
        super().read(rows, out)


def decoders() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("hardy-decoder")]


def test_few_batches_are_read_ahead_and_closing_stops_it(noise: Split):
    source = Counting(noise.images)
    found = batches(replace(noise, images=Streamed.whole(source, 3)), 5, seed=0)
    assert source.seen == [], "nothing is read before the first is asked for"
    for number in range(1, 4):
        next(found)
        ahead = 5 * (number + AHEAD)
        assert eventually(lambda ahead=ahead: len(source.seen) == ahead)
        assert sorted(source.seen) == list(range(ahead))
    found.close()  # type: ignore[attr-defined]
    assert eventually(lambda: not decoders())
    assert len(source.seen) == 5 * (3 + AHEAD)


def test_the_error_of_a_worker_is_the_error_of_the_pass(noise: Split):
    class Failing(Held):
        def read(self, rows: np.ndarray, out: np.ndarray) -> None:
            if 17 in rows:
                raise ValueError("picture 17 is bad")
            super().read(rows, out)

    split = replace(noise, images=Streamed.whole(Failing(noise.images), 2))
    got = []
    with pytest.raises(ValueError, match=r"^picture 17 is bad$"):
        for batch in batches(split, 5, seed=0):
            got.append(batch)
    assert len(got) == 3, "those before it were whole"
    assert eventually(lambda: not decoders())


ABANDONED = """
import sys, time
import numpy as np, torch
from hardy.data.streaming.chained import Held
from hardy.data.streaming.stream import Streamed
from hardy.data.splits import DataSet

class Slow(Held):
    def read(self, rows, out):
        time.sleep(0.05)

found = Streamed.whole(Slow(torch.zeros(10_000, 1, 2, 2, dtype=torch.uint8)), 2)
passing = found.batches(torch.arange(10_000).split(8))
next(passing)
if sys.argv[1] == "error":
    raise KeyboardInterrupt
print("done")
"""


@pytest.mark.parametrize(("how", "code"), [("end", 0), ("error", -2)])
def test_an_interpreter_ends_in_the_middle_of_a_pass(how: str, code: int):
    """All of it would take minutes."""
    ended = subprocess.run([sys.executable, "-c", ABANDONED, how], capture_output=True, timeout=60)
    assert ended.returncode == code, ended.stderr.decode()


def test_hashes_of_pictures_are_those_of_their_bytes(tmp_path: Path, noise: Split):
    images = noise.images
    assert isinstance(images, torch.Tensor)
    own = picture_hashes(images)
    assert len(set(own.tolist())) == 50
    one = images[:1].clone()
    assert torch.equal(picture_hashes(one), own[:1])
    one[0, 2, 5, 5] ^= 1
    assert picture_hashes(one)[0] != own[0]
    rows = torch.tensor([7, 3, 7])
    assert torch.equal(picture_hashes(Streamed.whole(Held(images), 2).take(rows)), own[rows])
    memory, stream = both(stored(tmp_path, "directory"))
    known = stream.train.images.source.hashes()
    assert known is not None, "found while the set was looked through"
    assert torch.equal(picture_hashes(stream.train.images), picture_hashes(memory.train.images))


def test_known_hashes_of_joined_sets(noise: Split):
    class Known(Held):
        def hashes(self) -> np.ndarray | None:
            return hashes_of(self.images.numpy())

        def read(self, rows: np.ndarray, out: np.ndarray) -> None:
            raise AssertionError("known already")

    images = noise.images
    assert isinstance(images, torch.Tensor)
    first = Streamed.whole(Known(images[:30]), 1).take(slice(None, None, 3))
    second = Streamed.whole(Known(images[30:]), 1)
    found = chained(first, second)
    assert isinstance(found, Streamed) and isinstance(found.source, Chained)
    assert torch.equal(picture_hashes(found)[:10], picture_hashes(images[:30:3]))
    assert torch.equal(picture_hashes(found)[10:], picture_hashes(images[30:]))


def test_streamed_pictures_beside_those_in_memory_are_not_decoded_for_their_hashes(
    tmp_path: Path, noise: Split, monkeypatch: pytest.MonkeyPatch
):
    memory, stream = both(stored(tmp_path, "directory"))
    expected = picture_hashes(torch.cat([memory.train.images, noise.images]))
    monkeypatch.setattr(encoded, "decoded", None)
    assert torch.equal(picture_hashes(joined(stream.train, noise).images), expected)


@pytest.mark.parametrize("lazy", [(True, False), (False, True), (True, True)])
def test_joined_with_extra_pictures(lazy: tuple[bool, bool], noise: Split):
    own, extra = noise.take(slice(0, 20)), noise.take(slice(20, None), "extra")
    whole = joined(own, extra)
    parts = [streamed(s) if is_lazy else s for s, is_lazy in zip((own, extra), lazy, strict=True)]
    both_ = joined(*parts)
    assert isinstance(both_.images, Streamed) and both_.images.shape == (50, 3, 6, 6)
    assert torch.equal(both_.index, whole.index)
    mix = Mix(20, 0.5)
    found = batches(both_, 6, seed=1, epoch=2, shuffle=True, mix=mix, augment=Augment(1))
    expected = batches(whole, 6, seed=1, epoch=2, shuffle=True, mix=mix, augment=Augment(1))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)


def test_extra_pictures_that_are_held_out_are_found_while_streamed(tmp_path: Path):
    (tmp_path / "own").mkdir()
    memory, stream = both(stored(tmp_path / "own", "directory"))
    copied = {name.replace("test/", "train/c"): FILES[name] for name in FILES if "test/a" in name}
    files = {**copied, "train/b/9.jpg": jpeg(99)}
    files = {name.replace("train/ca", "train/a"): data for name, data in files.items()}
    (tmp_path / "more").mkdir()
    more = stored(tmp_path / "more", "directory", files)
    for data in (memory, stream):
        for how in (Streaming(), ON):
            with pytest.raises(ValueError, match="2 of the 3 pictures of the extra data pets"):
                load_extra(f"folder:{more}", None, data, streaming=how)


@pytest.mark.parametrize("name", ["gaussian_noise", "jpeg_compression", "fog"])
def test_corruptions_are_made_as_they_are_read(name: str):
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 32, 32), np.uint8)
    index = torch.arange(9) + 70
    split = Split(torch.from_numpy(images), torch.zeros(9, dtype=torch.int64), index, "test")
    expected = corrupted(split, name, 3, seed=5)
    found = corrupted(streamed(split).take(torch.arange(1, 9)), name, 3, seed=5)
    assert isinstance(found.images, Streamed) and found.name == expected.name
    assert torch.equal(found.images[slice(2, None)], expected.images[3:])
    with pytest.raises(ValueError):
        corrupted(streamed(split.take(slice(0, 1))), name, 9)


def test_tiny_imagenet_is_the_same_streamed(real_data: Path):
    options = {"image_size": 8, "val_fraction": 0.2}
    memory, stream = (
        load_data("tiny-imagenet", real_data, streaming=how, **options)  # type: ignore[arg-type]
        for how in (Streaming(), ON)
    )
    assert stream.provenance == memory.provenance and stream.classes == memory.classes
    assert stream.normalization == memory.normalization == "imagenet"
    assert_same(memory.test.take(slice(0, 50)), stream.test.take(slice(0, 50)))


def test_parquet_is_the_same_streamed_in_the_order_of_its_rows(tmp_path: Path, cache: Path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    root = tmp_path / "pets"
    root.mkdir()
    for split, start in (("train", 0), ("test", 20)):
        for number in range(2):  # rows whose names would sort otherwise: 10 before 2
            rows = [jpeg(start + 12 * number + i, (8, 8)) for i in range(12)]
            columns = {"image": rows, "label": [i % 2 for i in range(12)]}
            pq.write_table(pa.table(columns), root / f"{split}-0000{number}-of-00002.parquet")
    memory, stream = (
        load_data(f"parquet:{root}", val_fraction=0.25, streaming=how) for how in (Streaming(), ON)
    )
    assert stream.provenance == memory.provenance and stream.classes == memory.classes
    for name in ("train", "val", "test"):
        assert_same(getattr(memory, name), getattr(stream, name))
    assert len(list(cache.glob("*.zip"))) == 1
    assert (
        stream.train.images.source.files.name(13) == "train/row 1 of train-00001-of-00002.parquet"
    )


@pytest.mark.parametrize(("channels", "image_size"), [(1, None), (3, None), (1, 5), (3, 5)])
def test_other_channels_are_those_of_converted_arrays(channels, image_size, tmp_path: Path):
    for kind, mode in (("grey", "L"), ("colour", "RGB")):
        files = {f"{name}/{i}.jpg": jpeg(i, (8, 8), mode) for name in "ab" for i in range(8)}
        (tmp_path / kind).mkdir()
        path = stored(tmp_path / kind, "directory", files)
        memory, stream = both(path, channels=channels, image_size=image_size)
        assert stream.provenance == memory.provenance
        assert (stream.flips, stream.normalization) == (memory.flips, memory.normalization)
        assert stream.in_channels == channels
        assert_same(memory.train, stream.train)
