"""A run that is killed, at whatever moment, goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import killed_runs
import numpy as np
import pytest
import torch
from verb_runs import assert_same, hardy, rows, timeless

from hardy import config
from hardy.evaluation.results import read
from hardy.methods.find import make, names
from hardy.models.architecture import Architecture
from hardy.models.load import save

TINY = (
    *("train", "--data", "digits", "--val-fraction", "0.2", "--eps", "0.1", "--steps", "1"),
    *("--restarts", "1", "--batch-size", "32", "--device", "cpu", "--model", "small_resnet"),
    *("--schedule", "onecycle", "--lr", "0.2", "--epochs", "3", "--limit", "96"),
    *("--val-pictures", "30", "--test-limit", "30"),
)
AVERAGES = {
    "ema": ("--average", "ema", "--average-start", "0.2", "--average-decay", "0.8"),
    "swa": ("--average", "swa", "--average-start", "0.3"),
}
TAUGHT = ("--teacher", "TEACHER", "--teacher-pictures", "20")
AWP = ("--awp", "0.01", "--awp-warmup", "1")
SCHEDULES = typing.get_args(typing.get_type_hints(config.Train)["schedule"])
WAYS: dict[str, tuple[str, ...]] = {
    **{name: ("--method", name, *(TAUGHT if make(name).roles else ())) for name in names()},
    **{
        kind: ("--method", "standard", "--schedule", kind, "--milestones", "1")
        for kind in SCHEDULES
    },
    **AVERAGES,
    "awp": AWP,
    "phases": (
        *("--method", "twins", "--method-options", "variant=trades", *AVERAGES["ema"]),
        *("--probe-epochs", "1", "--probe", "adversarial", "--eps-warmup", "1"),
    ),
    "accumulated": ("--accumulate", "3"),
    "extra": ("--extra-data", "npz:EXTRA", "--extra-fraction", "0.4"),
    "all": (
        *("--method", "trades", "--accumulate", "2", *AWP, *AVERAGES["swa"]),
        *("--extra-data", "npz:EXTRA", "--schedule", "cosine", "--nesterov"),
    ),
}


class Killed(BaseException):
    """Ends a run as nothing of it expects."""


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 50 pictures like digits."""
    path = tmp_path_factory.mktemp("extra") / "more.npz"
    draw = np.random.default_rng(0)
    np.savez(path, image=draw.integers(0, 256, (50, 8, 8, 1), np.uint8), label=np.arange(50) % 10)
    spec = Architecture("small_resnet", 10, 1, "none")
    digits = [str(i) for i in range(10)]
    save(path.with_name("teacher.safetensors"), spec.build(), spec, classes=digits, extra={})
    return path


def words_of(way: str, extra: Path) -> list[str]:
    """The flags given last count."""
    chosen = WAYS[way]
    flags = {word for word in chosen if word.startswith("--")}
    pairs = zip(TINY[1::2], TINY[2::2], strict=True)
    kept = [word for flag, value in pairs if flag not in flags for word in (flag, value)]
    teacher = str(extra.with_name("teacher.safetensors"))
    given = (word.replace("EXTRA", str(extra)).replace("TEACHER", teacher) for word in chosen)
    return ["train", *kept, *given]


@dataclass
class Whole:
    """A run that nothing disturbed, and its moments."""

    path: Path
    moments: list[str]


def run_to(number: int | None, words: list[str], out: Path) -> list[str]:
    """Run to the n-th moment, or to the end; the moments that passed."""
    moments: list[str] = []

    def moment(what: str) -> None:
        moments.append(what)
        if len(moments) == number:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        killed_runs.install(patch.setattr, moment)
        assert hardy(*words, "--out", out) == 0
        assert number is None, "the run has that many moments"
    return moments


def killed_and_resumed(number: int, words: list[str], out: Path) -> None:
    with pytest.raises(Killed):
        run_to(number, words, out)
    go_on(words, out)


def go_on(words: list[str], out: Path) -> None:
    """With --resume, or from the start where the run had not even written what it is."""
    begun = (out / "config.json").is_file()
    assert hardy(*words, "--out", out, *(["--resume"] if begun else [])) == 0


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def last(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.ckpt", weights_only=True)


def assert_same_run(found: Path, expected: Path) -> None:
    """Every file, the networks and results to the bit."""
    assert files(found) == files(expected)
    for name in files(expected):
        if name.endswith(".safetensors"):
            assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    assert_same(last(found), last(expected))
    assert rows(found) == rows(expected)
    ours, theirs = read(found), read(expected)
    assert timeless(ours) == timeless(theirs)
    assert (ours.facts, ours.notes, ours.artifacts) == (
        theirs.facts,
        theirs.notes,
        theirs.artifacts,
    )


@pytest.fixture(scope="module")
def wholes(extra: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Whole]:
    """The undisturbed runs, made as they are asked for."""

    class Runs(dict[str, Whole]):
        def __missing__(self, way: str) -> Whole:
            path = tmp_path_factory.mktemp("whole") / "run"
            moments = run_to(None, words_of(way, extra), path)
            return self.setdefault(way, Whole(path, moments))

    return Runs()


def test_the_moments_are_those_that_are_meant(wholes: dict[str, Whole]) -> None:
    """Nine steps; three looks at val, one or two at test; the files: config, up to three in
    each epoch, results and perhaps the last network."""
    moments = wholes["pgd_at"].moments
    assert moments.count("a step") == 9
    assert moments.count("half of it written") == 3
    assert moments.count("drawing the page") == 1
    assert moments.count("judging") in (4, 5)
    written = moments.count("written")
    assert written == moments.count("begun") == moments.count("written under another name")
    assert 1 + 3 * 2 + 1 < written <= 1 + 3 * 3 + 1 + 1
    assert moments[:3] == ["begun", "written under another name", "written"]
    assert moments[-2:] == ["written", "drawing the page"]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_goes_on_from_the_middle(
    way: str, wholes: dict[str, Whole], extra: Path, tmp_path: Path
) -> None:
    """Killed in the second epoch: among its steps, and between its best and its last.ckpt."""
    whole = wholes[way]
    steps = [i for i, what in enumerate(whole.moments, 1) if what == "a step"]
    halves = [i for i, what in enumerate(whole.moments, 1) if what == "half of it written"]
    for number in (steps[4], halves[1]):
        out = tmp_path / str(number)
        killed_and_resumed(number, words_of(way, extra), out)
        assert_same_run(out, whole.path)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.75, 0.9, 1.0])
def test_all_at_once_goes_on_from_anywhere(
    share: float, wholes: dict[str, Whole], extra: Path, tmp_path: Path
) -> None:
    whole = wholes["all"]
    number = round(share * len(whole.moments))
    killed_and_resumed(number, words_of("all", extra), tmp_path / "run")
    assert_same_run(tmp_path / "run", whole.path)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pgd_at", "all"])
def test_every_moment(way: str, wholes: dict[str, Whole], extra: Path, tmp_path: Path) -> None:
    whole = wholes[way]
    assert len(whole.moments) > 40
    for number in range(1, len(whole.moments) + 1):
        killed_and_resumed(number, words_of(way, extra), tmp_path / str(number))
        assert_same_run(tmp_path / str(number), whole.path)


def test_killed_again_and_again(wholes: dict[str, Whole], extra: Path, tmp_path: Path) -> None:
    """Each time a few moments further, as on a machine that is taken away."""
    words, out, kills = words_of("all", extra), tmp_path / "run", 0
    for number in range(3, 60, 7):
        resume = ["--resume"] if (out / "config.json").is_file() else []
        try:
            run_to(number, [*words, *resume], out)
        except Killed:
            kills += 1
        except AssertionError:  # it has ended before that
            break
    assert kills > 3
    assert_same_run(out, wholes["all"].path)


def test_what_a_killed_process_left_half_written_goes(
    wholes: dict[str, Whole], extra: Path, tmp_path: Path
) -> None:
    """Also where it had only begun to write what it is: then there is nothing to resume, and
    the folder is as good as empty."""
    words, out = words_of("standard", extra), tmp_path / "run"
    out.mkdir()
    (out / ".config.json.abc.part").write_text("{")
    with pytest.raises(Killed):
        run_to(20, words, out)
    for name in (".last.ckpt.abc.part", "figures/.training.svg.abc.part"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("half of it")
    go_on(words, out)
    assert_same_run(out, wholes["standard"].path)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("way", ["pgd_at", "all"])
def test_sigkill(
    way: str, share: float, wholes: dict[str, Whole], extra: Path, tmp_path: Path
) -> None:
    """A process of its own, killed by the system: nothing of it can tidy up."""
    whole, words, out = wholes[way], words_of(way, extra), tmp_path / "run"
    number = 1 + round(share * (len(whole.moments) - 2))
    done = subprocess.run(
        [sys.executable, killed_runs.__file__, str(number), *words, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    what = whole.moments[number - 1]
    assert done.stderr.splitlines()[-1] == f"killed: {what}"
    if what in ("begun", "half of it written", "written under another name"):
        assert any(name.endswith(".part") for name in files(out)), "nobody has tidied up"
    go_on(words, out)
    assert_same_run(out, whole.path)
