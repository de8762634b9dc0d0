from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hardy.data import load_data
from hardy.data.pictures import is_picture
from hardy.data.streaming import room
from hardy.data.streaming.room import (
    Size,
    Streaming,
    free_memory,
    free_on,
    in_colour,
    needed,
    of_container,
    too_large,
)
from hardy.data.streaming.stream import Streamed

GIB = 2**30
ASKED = Streaming("auto", device="cuda:1")


@pytest.mark.parametrize(
    ("size", "memory", "on_device", "streams"),
    [
        (GIB, 4 * GIB, None, False),  # a quarter of it exactly
        (GIB + 1, 4 * GIB, None, True),
        (GIB, 30 * GIB, 2 * GIB, False),  # half of it exactly
        (GIB + 1, 30 * GIB, 2 * GIB, True),
        (GIB, None, GIB, True),
        (10**15, None, None, False),  # nothing is known
    ],
)
def test_more_than_a_quarter_of_memory_or_half_of_a_gpu(size, memory, on_device, streams):
    assert (too_large(lambda: Size(size), memory, on_device, ASKED) is not None) == streams


def test_the_sentence_has_the_numbers_and_the_way_out():
    assert too_large(lambda: Size(6 * GIB), 12 * GIB, None, ASKED) == (
        "its pictures would take 6.0 GiB, more than a quarter of the 12.0 GiB of memory that are "
        "free"
    )
    guess = too_large(lambda: Size(6 * GIB, guessed=True), 12 * GIB, None, ASKED)
    assert guess is not None and "6.0 GiB (a guess: 25 times the file's own size), more" in guess
    said = too_large(lambda: Size(6 * GIB), 99 * GIB, 8 * GIB, ASKED)
    assert said is not None and "more than half of the 8.0 GiB of cuda:1 that are free" in said


def test_each_process_keeps_its_own():
    four = Streaming("auto", copies=4)
    assert too_large(lambda: Size(GIB), 15 * GIB, None, Streaming("auto")) is None
    said = too_large(lambda: Size(GIB), 15 * GIB, None, four)
    assert said is not None and "would take 4 times 1.0 GiB" in said


def test_a_size_is_only_asked_for_where_it_matters():
    def size() -> Size:
        raise AssertionError("asked for")

    assert Streaming("on").chosen("pets", size)
    assert not Streaming("off").chosen("pets", size)
    with pytest.raises(AssertionError, match="asked for"):
        Streaming("auto").chosen("pets", size)


def test_what_a_set_takes(tree: Callable[..., Path], picture: Callable[..., bytes], tmp_path):
    files = {f"{name}/{i}.png": picture(i, (5, 5)) for name in "ab" for i in range(4)}
    root = tree({**files, "a/notes.txt": b"1"})
    assert needed(root, lambda _: True, None) == in_colour(8, 5) == Size(8 * 3 * 5 * 5)
    assert needed(root, is_picture, 10) == in_colour(8, 10)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert needed(tmp_path / "pets.zip", is_picture, None) == in_colour(8, 5)
    (tmp_path / "pets.tar.xz").write_bytes(b"x" * 40)  # not gone through
    assert needed(tmp_path / "pets.tar.xz", is_picture, 10) == Size(25 * 40, guessed=True)


def test_auto_decides_by_what_is_free(
    tree: Callable[..., Path],
    picture: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    root = tree({f"{name}/{i}.png": picture(i, (5, 5)) for name in "ab" for i in range(4)})
    for free, lazy in ((8 * 75 * 4, False), (8 * 75 * 4 - 1, True)):
        monkeypatch.setattr(room, "free_memory", lambda free=free: free)
        data = load_data(f"folder:{root}", val_fraction=0.5, streaming=Streaming("auto", 1))
        assert isinstance(data.train.images, Streamed) == lazy
        said = " ".join(capsys.readouterr().err.split())
        assert said.startswith("tree: its pictures would take") == lazy
        assert said.endswith("needed (--stream off keeps them all the same)") == lazy


def test_what_is_no_files_but_too_large_for_the_device_goes_there_in_batches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    resident = load_data("digits")
    whole = 1797 * 64
    monkeypatch.setattr(room, "free_memory", lambda: 1)  # they are in memory anyhow
    for free, lazy in ((2 * whole, False), (2 * whole - 1, True)):
        monkeypatch.setattr(room, "free_on", lambda _, free=free: free)
        data = load_data("digits", streaming=Streaming("auto", 2, "cuda"))
        assert data.provenance == resident.provenance
        for name in ("train", "val", "test"):
            split, like = getattr(data, name), getattr(resident, name)
            assert isinstance(split.images, Streamed) == lazy
            assert torch.equal(split.images[slice(0, None)], like.images)
            assert torch.equal(split.labels, like.labels)
        said = " ".join(capsys.readouterr().err.split())
        assert ("of cuda that are free: they stay in memory and go there in" in said) == lazy


def test_arrays_functions_and_data_sets_can_be_held_off_the_device_by_hand():
    own = load_data("digits")
    on, off = Streaming("on", 0), Streaming("off")
    for spec, how in (("digits", on), (lambda: own, on), ("digits", off)):
        data = load_data(spec, streaming=how)
        assert isinstance(data.train.images, Streamed) == (how is on)
        assert torch.equal(data.val.images[slice(0, 9)], own.val.images[:9])


def test_what_is_left_of_a_containers_limit(tmp_path: Path):
    def written(name: str, **files: object) -> Path:
        for file, value in files.items():
            path = tmp_path / name / file.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
        return tmp_path / name

    stat = "anon 2000\nfile 900\ninactive_file 700\ntotal_inactive_file 800"
    second = {"memory_DOT_current": 9000, "memory_DOT_stat": stat}
    assert of_container(written("v2", memory_DOT_max=10_000, **second)) == 1700
    assert of_container(written("open", memory_DOT_max="max", **second)) == sys.maxsize
    first = {
        "memory__memory_DOT_limit_in_bytes": 5000,
        "memory__memory_DOT_usage_in_bytes": 4000,
        "memory__memory_DOT_stat": stat,
    }
    assert of_container(written("v1", **first)) == 1800
    assert of_container(tmp_path / "none") == sys.maxsize


def test_what_is_free_here():
    memory = free_memory()
    assert memory is None or 2**20 < memory < 2**50
    assert free_on(torch.device("cpu")) is None
