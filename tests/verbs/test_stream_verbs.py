"""Verbs on pictures that are streamed: the same weights and results as from memory."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image
from test_resume import last, stop_at
from verb_runs import MRC, TRAIN, assert_same, hardy, replaced, rows, timeless, weights

import hardy as package
from hardy import config
from hardy.data import Streaming, load_data
from hardy.data.streaming.encoded import Encoded
from hardy.data.streaming.stream import Streamed
from hardy.evaluation.results import read
from hardy.verbs.asked import inputs


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 600 digits as PNG files."""
    root = tmp_path_factory.mktemp("pictures")
    data = load_data("digits", val_fraction=0.2)
    for split in (data.train, data.test):
        for row in range(300):
            file = root / f"{int(split.labels[row])}" / f"{split.name} {row:03}.png"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(split.images[row, 0].numpy()).save(file)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def words(pictures: Path, stream: str, verb: tuple[str, ...] = TRAIN) -> tuple[str, ...]:
    found = replaced(verb, "--data", f"folder:{pictures}")
    found = replaced(replaced(found, "--epochs", "2"), "--limit", "192") if verb == TRAIN else found
    return (*found, "--stream", stream, "--workers", "2")


@pytest.fixture(scope="session")
def in_memory(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "in-memory"
    assert hardy(*words(pictures, "off"), "--out", out) == 0
    return out


def is_same(one: Path, other: Path) -> None:
    assert_same(weights(one), weights(other))
    assert rows(one) == rows(other)
    assert timeless(read(one)) == timeless(read(other))


def test_training_gives_the_same_weights(
    pictures: Path, in_memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, read_ = tmp_path / "run", []
    real = Encoded.read
    monkeypatch.setattr(Encoded, "read", lambda *a: (read_.append(len(a[1])), real(*a))[1])
    assert hardy(*words(pictures, "on"), "--out", out) == 0
    assert sum(read_) >= 2 * 192, "every picture of train in both epochs"
    is_same(out, in_memory)
    assert_same(last(out), last(in_memory))


@pytest.mark.parametrize(("first", "then"), [("on", "off"), ("off", "on")])
def test_a_run_goes_on_streamed_or_in_memory_alike(
    first: str,
    then: str,
    pictures: Path,
    in_memory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """What --stream auto decides may be another thing when a run is resumed."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, "hardy.training.checkpoint.save", 2)
        assert hardy(*words(pictures, first), "--out", out) == 130
    assert hardy(*words(pictures, then), "--out", out, "--resume") == 0
    is_same(out, in_memory)


def test_criticality_and_evaluation_are_the_same(pictures: Path, in_memory: Path, tmp_path: Path):
    """With corruptions, a curve over radii and the checks before them."""
    verbs = {
        "mrc": (*MRC, "--checkpoint", str(in_memory)),
        "evaluate": (
            *("evaluate", str(in_memory), *MRC[1:-2], "--limit", "40", "--corruptions"),
            *("contrast", "shot_noise", "--severities", "3", "--curve-points", "2"),
        ),
    }
    for name, verb in verbs.items():
        found = []
        for stream in ("off", "on"):
            out = tmp_path / f"{name}-{stream}"
            assert hardy(*words(pictures, stream, verb), "--out", out) == 0
            found.append(read(out))
        assert timeless(found[0]) == timeless(found[1])
        assert found[0].findings == found[1].findings


def test_extra_pictures_beside_streamed_ones(pictures: Path, tmp_path: Path):
    more = tmp_path / "more"
    for row in range(40):
        file = more / f"{row % 10}" / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 6 * row).save(file)
    for stream in ("off", "on"):
        command = (*words(pictures, stream), "--extra-data", f"folder:{more}")
        command = replaced((*command, "--extra-fraction", "0.5"), "--epochs", "1")
        assert hardy(*command, "--out", tmp_path / stream) == 0
    is_same(tmp_path / "on", tmp_path / "off")


@pytest.mark.slow
def test_two_processes_decode_their_own_rows(pictures: Path, tmp_path: Path):
    for stream in ("off", "on"):
        out = tmp_path / stream
        assert hardy(*words(pictures, stream), "--devices", "2", "--out", out) == 0
    is_same(tmp_path / "on", tmp_path / "off")


def test_how_pictures_are_kept_follows_the_flags(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    asked = config.Train(data="digits", stream="on", workers=3, device="cpu", devices=4)
    how = inputs.streaming_of(asked)
    assert (how.when, how.workers, str(how.device), how.copies) == ("on", 3, "cpu", 4)
    assert inputs.streaming_of(config.Mrc(device="cpu")).workers >= 1
    assert {"stream", "workers"} <= {f.name for f in fields(config.OnData)}


def test_what_is_no_files_trains_alike_from_memory_in_batches(tmp_path: Path):
    command = replaced(replaced(TRAIN, "--epochs", "1"), "--limit", "192")
    for stream in ("off", "on"):
        assert hardy(*command, "--stream", stream, "--out", tmp_path / stream) == 0
    is_same(tmp_path / "on", tmp_path / "off")


def test_a_streamed_set_from_python(pictures: Path, in_memory: Path, tmp_path: Path):
    data = load_data(
        f"folder:{pictures}", val_fraction=0.2, limit_train=192, streaming=Streaming("on", 1)
    )
    assert isinstance(data.train.images, Streamed)
    found = package.evaluate(
        checkpoints=(in_memory,), data=data, eps=0.1, steps=2, restarts=1, limit=40,
        curve_pictures=0, preflight_pictures=0, device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    assert found.one("clean accuracy", split="test").n == 40


def test_one_clear_line_for_a_damaged_picture(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = tmp_path / "pictures"
    for name in "ab":
        for row in range(4):
            file = root / name / f"{row}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 9 * row).save(file)
    (root / "b" / "3.png").write_bytes(b"no picture")
    assert hardy(*words(root, "on"), "--out", tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hardy: b/3.png cannot be read as a picture")
    assert not (tmp_path / "run").exists()
