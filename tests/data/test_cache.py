from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from hardy.data import cache as stored
from hardy.data.raw import Raw
from hardy.data.sources import folder


@pytest.fixture
def root(tree: Callable[..., Path], picture: Callable[..., bytes]) -> Path:
    return tree({f"{name}/{row}.png": picture((row, 2, 3)) for name in "ab" for row in range(3)})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every decoding."""
    calls: list[int] = []
    real = folder.decode
    monkeypatch.setattr(folder, "decode", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    return calls


def same(first: Raw, second: Raw) -> bool:
    about = [
        (each.classes, each.source, each.normalization, each.notes) for each in (first, second)
    ]
    return first.content_hash == second.content_hash and about[0] == about[1]


def test_the_second_load_reads_what_the_first_decoded(root, decoded, cache):
    first, second = folder.load(root), folder.load(root)
    assert len(decoded) == 1
    assert same(first, second)
    assert sorted(each.suffix for each in cache.iterdir()) == [".json", ".npy"]


def test_another_size_setting_or_changed_file_is_decoded_anew(root, decoded, picture):
    folder.load(root)
    folder.load(root, 2)
    assert len(decoded) == 2
    (root / "a" / "0.png").write_bytes(picture((99, 2, 3)))
    os.utime(root / "a" / "0.png", ns=(1, 1))
    assert folder.load(root).parts["all"].images[0, 0, 0, 0] == 99
    assert len(decoded) == 3


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "gone"])
def test_a_damaged_cache_is_built_anew(root, decoded, cache, suffix, harm):
    first = folder.load(root)
    (path,) = cache.glob(f"*{suffix}")
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        flipped = data[:-9] + bytes((data[-9] ^ 1,)) + data[-8:]
        path.write_bytes({"cut": data[:-7], "flip": flipped, "empty": b""}[harm])
    assert same(folder.load(root), first)
    assert same(folder.load(root), first)
    assert len(decoded) == 2


def test_a_pickle_in_the_cache_is_not_opened(root, decoded, cache):
    import numpy as np

    folder.load(root)
    (path,) = cache.glob("*.npy")
    np.save(path, np.array([{}], object), allow_pickle=True)
    folder.load(root)
    assert len(decoded) == 2


def test_a_cache_that_cannot_be_written_is_no_error(root, decoded, cache):
    cache.write_bytes(b"a file where the folder should be")
    assert same(folder.load(root), folder.load(root))
    assert len(decoded) == 2


def test_the_key_hangs_on_no_order_and_on_all_that_is_there(root, monkeypatch):
    """Of files a directory gives in another order, and of each change to them."""
    (root / "c" / "d").mkdir(parents=True)
    first, real = stored.key_of(root, "x", 4), os.walk

    def backwards(*args, **kwargs):
        for top, folders, files in real(*args, **kwargs):
            folders.reverse()
            files.reverse()
            yield top, folders, files

    monkeypatch.setattr(os, "walk", backwards)
    assert stored.key_of(root, "x", 4) == first
    monkeypatch.undo()
    keys = {first, stored.key_of(root, "x", 5), stored.key_of(root, "y", 4)}
    (root / "c" / "d").rmdir()
    keys.add(stored.key_of(root, "x", 4))
    os.utime(root / "a" / "1.png", ns=(1, 1))
    keys.add(stored.key_of(root, "x", 4))
    (root / "a" / "1.png").rename(root / "a" / "9.png")
    keys.add(stored.key_of(root, "x", 4))
    assert len(keys) == 6


def test_no_file_is_kept_for_the_key(tmp_path):
    """A few hundred bytes each would be gigabytes of a large set."""
    for row in range(20):
        (tmp_path / f"{row:02}").mkdir()
        for each in range(100):
            (tmp_path / f"{row:02}" / f"a picture {each:04}.jpeg").touch()
    stored.key_of(tmp_path, "x", None)
    tracemalloc.start()
    stored.key_of(tmp_path, "x", None)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200 * 2000, "the names of one folder at a time"
