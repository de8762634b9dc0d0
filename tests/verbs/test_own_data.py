"""Pictures that a user's function gives, and other sizes and channels, through the verbs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from verb_runs import SMALL, TRAIN, hardy, replaced, weights

import hardy as package
from hardy.evaluation.results import read
from hardy.models.load import read_checkpoint
from hardy.verbs.asked.inputs import unseen_val

MINE = """
from pathlib import Path
import numpy as np

def load(seed):
    from sklearn.datasets import load_digits
    pictures, labels = load_digits(return_X_y=True)
    level = int(Path("level.txt").read_text())
    return (pictures * level).astype(np.uint8).reshape(-1, 8, 8), labels

def broken():
    return load(0)[0], load(0)[1] / 2
"""
ONCE = replaced(TRAIN, "--epochs", "1")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits_of_mine.py").write_text(MINE)
    (tmp_path / "level.txt").write_text("15")
    yield "digits_of_mine"
    sys.modules.pop("digits_of_mine", None)


def test_a_function_trains_and_its_val_is_known_again(module: str, tmp_path: Path, capsys) -> None:
    words = replaced(ONCE, "--data", f"{module}:load")
    assert hardy(*words, "--out", tmp_path / "t") == 0
    facts = read(tmp_path / "t").facts
    assert facts["data"] == f"{module}:load"
    found = read_checkpoint(tmp_path / "t")
    assert unseen_val(found, package.load_data(f"{module}:load", val_fraction=0.2))
    (tmp_path / "level.txt").write_text("14")
    assert not unseen_val(found, package.load_data(f"{module}:load", val_fraction=0.2))
    capsys.readouterr()
    assert hardy(*words, "--out", tmp_path / "t", "--resume") == 2
    assert "was started with other train pictures" in capsys.readouterr().err


def test_a_mistake_in_it_is_one_line_before_anything_is_written(
    module: str, tmp_path: Path, capsys
) -> None:
    assert hardy(*replaced(ONCE, "--data", f"{module}:broken"), "--out", tmp_path / "t") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the label array of digits_of_mine:broken has the type float64" in line
    assert not (tmp_path / "t").exists()


OTHER_EACH_TIME = """
import numpy as np

def load():
    random = np.random.default_rng()
    return random.integers(0, 256, (400, 8, 8), dtype=np.uint8), np.arange(400) % 10
"""


@pytest.mark.slow
def test_pictures_that_differ_between_processes_end_the_run_in_one_line(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    words = replaced(replaced(ONCE, "--limit", "200"), "--test-limit", "50")
    assert hardy(*words, "--out", tmp_path / "net") == 0  # of digits
    (tmp_path / "other_each_time.py").write_text(OTHER_EACH_TIME)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    flags = ("--data", "other_each_time:load", "--devices", "2")
    evaluate = ("evaluate", tmp_path / "net", *SMALL, "--preflight-pictures", "0")
    for out, verb in (("train", words), ("evaluate", evaluate)):
        capsys.readouterr()
        assert hardy(*verb, *flags, "--out", tmp_path / out) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("hardy: the processes of this run have different ")
        assert "test pictures: a function that gives data must give the same each time" in line


def test_the_same_function_from_python_gives_the_same_weights(module: str, tmp_path: Path) -> None:
    def load(image_size: int) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_digits

        pictures, labels = load_digits(return_X_y=True)
        return (np.asarray(pictures) * 15).astype(np.uint8).reshape(-1, 8, 8), np.asarray(labels)

    assert hardy(*replaced(ONCE, "--data", f"{module}:load"), "--out", tmp_path / "a") == 0
    package.train(
        data=load,
        val_fraction=0.2,
        eps=0.1,
        steps=2,
        restarts=1,
        batch_size=64,
        device="cpu",
        model="small_resnet",
        schedule="onecycle",
        lr=0.2,
        epochs=1,
        limit=512,
        val_pictures=100,
        test_limit=100,
        out=tmp_path / "b",
    )
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_digits_in_the_form_of_other_pictures(tmp_path: Path) -> None:
    words = (*ONCE, "--image-size", "12", "--channels", "3", "--limit", "64")
    assert hardy(*replaced(words, "--steps", "1"), "--out", tmp_path / "t") == 0
    assert weights(tmp_path / "t")["conv1.weight"].shape[1] == 3
