"""Processes are started, fail together, and never outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import process_tasks as tasks
import pytest

from hardy.training.processes import in_processes, packed
from other_processes import alive, eventually, hears_ctrl_c


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("hardy.training.processes.GRACE", 0.5)
    before = set(multiprocessing.active_children())
    environment = dict(os.environ)
    yield
    assert set(multiprocessing.active_children()) == before
    ours = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    assert ours == {k: v for k, v in environment.items() if k != "PYTEST_CURRENT_TEST"}


def test_each_is_told_its_place_and_the_first_answers(tmp_path: Path) -> None:
    word, found = in_processes(packed(tasks.described, "word"), 2, tmp_path)
    assert word == "word" and found == "0 0 2 127.0.0.1"
    assert (tmp_path / "0").read_text() == "0 0 2 127.0.0.1 True"
    assert (tmp_path / "1").read_text() == "1 0 2 127.0.0.1 True"


@pytest.mark.parametrize("in_rank", [0, 1])
def test_a_mistake_in_one_ends_all_and_is_raised_here(in_rank: int) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError) as error:
        in_processes(packed(tasks.failing, "value", in_rank), 2)
    assert time.monotonic() - began < 60 and str(error.value) == "--lr is wrong"
    assert f"in process {in_rank} of 2:\nTraceback" in error.value.__notes__[0]


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("foreign", RuntimeError, "Mute: what happened"),
        ("killed", ChildProcessError, "process 1 of the run was ended by SIGKILL"),
        ("exit", ChildProcessError, "process 1 of the run ended with exit code 3"),
    ],
)
def test_so_does_whatever_else_can_happen(how: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        in_processes(packed(tasks.failing, how, 1), 2)


def test_the_cause_is_told_and_not_what_followed_from_it() -> None:
    with pytest.raises(ChildProcessError, match="process 1 of the run was ended by SIGKILL"):
        in_processes(packed(tasks.failing_of_the_other), 2)


def test_what_cannot_be_handed_over_is_refused_before_any_starts() -> None:
    with pytest.raises(ValueError, match=r"cannot be handed .*: define networks at the top of"):
        packed(tasks.described, lambda: None)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_orphans(sign: signal.Signals, tmp_path: Path) -> None:
    """Whatever ends the process that waits, and it alone, ends the others."""
    program = subprocess.Popen(
        [sys.executable, tasks.__file__, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )
    files = [tmp_path / "0.pid", tmp_path / "1.pid"]
    assert eventually(lambda: all(file.exists() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert all(alive(pid) for pid in pids)
    program.send_signal(sign)
    _, said = program.communicate(timeout=30)
    assert program.returncode == -sign
    assert eventually(lambda: not any(alive(pid) for pid in pids))
    assert said.count("KeyboardInterrupt") == (sign == signal.SIGINT), "said by one"


def test_a_program_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "unguarded.py"
    program.write_text(
        "import process_tasks as tasks\n"
        "from hardy.training.processes import in_processes, packed\n"
        "in_processes(packed(tasks.rank), 2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tasks.__file__).parent)}
    found = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 1
    assert "ValueError: several devices are asked for outside of  if __name__" in found.stderr
    assert "ChildProcessError: process " in found.stderr.splitlines()[-1]
