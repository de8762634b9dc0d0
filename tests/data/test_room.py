from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hardy.data import load_data, room
from hardy.data.pictures import is_picture
from hardy.data.room import Streaming, free_memory, free_on, needed, too_large
from hardy.data.stream import Streamed

GIB = 2**30
ASKED = Streaming("auto", device="cuda:1")


@pytest.mark.parametrize(
    ("size", "memory", "on_device", "streams"),
    [
        (GIB, 3 * GIB, None, False),  # a third of it exactly
        (GIB + 1, 3 * GIB, None, True),
        (GIB, 30 * GIB, 2 * GIB, False),  # half of it exactly
        (GIB + 1, 30 * GIB, 2 * GIB, True),
        (GIB, None, GIB, True),
        (10**15, None, None, False),  # nothing is known
    ],
)
def test_more_than_a_third_of_memory_or_half_of_a_gpu(size, memory, on_device, streams):
    assert (too_large(lambda: size, memory, on_device, ASKED) is not None) == streams


def test_the_sentence_has_the_numbers_and_the_way_out():
    assert too_large(lambda: 6 * GIB, 12 * GIB, None, ASKED) == (
        "its pictures would take 6.0 GiB, more than a third of the 12.0 GiB of memory that are "
        "free: they are read from disk as they are needed (--stream off keeps them all the same)"
    )
    said = too_large(lambda: 6 * GIB, 99 * GIB, 8 * GIB, ASKED)
    assert said is not None and "more than half of the 8.0 GiB of cuda:1 that are free" in said


def test_each_process_keeps_its_own():
    four = Streaming("auto", copies=4)
    assert too_large(lambda: GIB, 11 * GIB, None, Streaming("auto")) is None
    said = too_large(lambda: GIB, 11 * GIB, None, four)
    assert said is not None and "would take 4 times 1.0 GiB" in said


def test_a_size_is_only_asked_for_where_it_matters():
    def size() -> int:
        raise AssertionError("asked for")

    assert Streaming("on").chosen("pets", size)
    assert not Streaming("off").chosen("pets", size)
    with pytest.raises(AssertionError, match="asked for"):
        Streaming("auto").chosen("pets", size)


def test_what_a_set_takes(tree: Callable[..., Path], picture: Callable[..., bytes], tmp_path):
    files = {f"{name}/{i}.png": picture(i, (5, 5)) for name in "ab" for i in range(4)}
    root = tree({**files, "a/notes.txt": b"1"})
    assert needed(root, lambda _: True, None) == 8 * 3 * 5 * 5
    assert needed(root, is_picture, 10) == 8 * 3 * 10 * 10
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert needed(tmp_path / "pets.zip", is_picture, None) == 8 * 3 * 5 * 5
    (tmp_path / "pets.tar.xz").write_bytes(b"x" * 40)  # not gone through
    assert needed(tmp_path / "pets.tar.xz", is_picture, 10) == 25 * 40


def test_auto_decides_by_what_is_free(
    tree: Callable[..., Path],
    picture: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    root = tree({f"{name}/{i}.png": picture(i, (5, 5)) for name in "ab" for i in range(4)})
    for free, lazy in ((8 * 75 * 3, False), (8 * 75 * 3 - 1, True)):
        monkeypatch.setattr(room, "free_memory", lambda free=free: free)
        data = load_data(f"folder:{root}", val_fraction=0.5, streaming=Streaming("auto", 1))
        assert isinstance(data.train.images, Streamed) == lazy
        assert (capsys.readouterr().err.startswith("tree: its pictures would take")) == lazy


def test_what_is_free_here():
    memory = free_memory()
    assert memory is None or 2**20 < memory < 2**50
    assert free_on(torch.device("cpu")) is None
