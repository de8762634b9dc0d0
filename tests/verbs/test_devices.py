"""Training in several processes, as a user starts it: the same results, one folder, no orphans."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_resume import rows
from torch import Tensor
from verb_runs import TRAIN, assert_same, replaced, timeless, weights

import hardy as package
from hardy.attacks.pgd import PGD
from hardy.cli import run
from hardy.data.splits import Split
from hardy.evaluation.results import read
from hardy.evaluation.robustness import Protocol, judge
from hardy.threat import Linf
from hardy.verbs.train import _judged
from other_processes import alive, eventually, hears_ctrl_c

slow = pytest.mark.slow

NET = '''
import torch
from torch import nn

def make():
    """Without BatchNorm, whose statistics differ when a batch is shared out."""
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))
'''
PROGRAM = """
import torch, hardy, bn_free

if __name__ == "__main__":
    common = dict(data=hardy.load_data("digits"), eps=0.1, steps=1, restarts=1, epochs=1)
    common |= dict(limit=256, test_limit=33, batch_size=64, device="cpu")
    for number in (1, 2):
        torch.manual_seed(0)
        net = bn_free.make()
        before = net[0].weight.clone()
        results = hardy.train(model=net, devices=number, out=f"python-{number}", **common)
        n = results.one("clean accuracy", split="test").n
        print(number, results.folder, n, torch.equal(net[0].weight, before))
    again = hardy.train(model=net, devices=2, out="python-3", **common)
    print(3, again.folder)
"""
# An odd number of pictures: one process judges one more than the other.
WORDS = (
    *replaced(replaced(TRAIN, "--val-pictures", "101"), "--test-limit", "99"),
    *("--model", "bn_free:make", "--epochs", "2", "--average", "ema"),
)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of a user's own; the runs go there."""
    folder = tmp_path_factory.mktemp("devices")
    (folder / "bn_free.py").write_text(NET)
    return folder


def started(place: Path, *words: object, by: tuple[str, ...] = ("-m", "hardy")) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *by, *map(str, words)],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )


def finished(program: Any) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a program that must end by itself."""
    try:
        out, err = program.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        raise
    return program.returncode, out, err


def unfolded(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="session")
def one(place: Path) -> Path:
    """The run of one process."""
    code, _, err = finished(started(place, *WORDS, "--out", "one"))
    assert code == 0, err
    return place / "one"


@pytest.fixture(scope="session")
def said(place: Path) -> tuple[str, str]:
    """What the run of two processes in the folder 'two' writes."""
    code, out, err = finished(started(place, *WORDS, "--devices", "2", "--out", "two"))
    assert code == 0, err
    return out, err


@pytest.fixture(scope="session")
def two(place: Path, said: tuple[str, str]) -> Path:
    return place / "two"


def assert_as_one(found: Path, one: Path) -> None:
    """All that a run of one process writes: float32 sums differ in their last bits, and no
    picture is judged otherwise."""
    for name in ("best.safetensors", "live.safetensors"):
        ours, theirs = load_file(found / name), load_file(one / name)
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-4)
    for ours, theirs in zip(timeless(read(found)), timeless(read(one)), strict=True):
        if ours["quantity"] == "train loss":
            assert ours.pop("value") == pytest.approx(theirs.pop("value"), abs=1e-5)
        assert ours == theirs
    # One writes the run; on the whole, the same files lie there.
    assert {f.name for f in found.iterdir()} == {f.name for f in one.iterdir()}


@slow
def test_two_processes_find_what_one_does(one: Path, two: Path) -> None:
    assert_as_one(two, one)
    assert read(two).facts["devices"] == "2 processes on cpu"
    assert "devices" not in read(one).facts


@slow
def test_everything_is_said_once(said: tuple[str, str]) -> None:
    out, err = said
    assert unfolded(out).count("99 pictures of test") == 1
    for line in ("2 processes on cpu", "epoch 1/2", "epoch 2/2", "page: "):
        assert err.count(line) == 1, err
    assert "Warning" not in err and "deprecated" not in err and "distributed" not in err


def torchrun(*flags: str) -> tuple[str, ...]:
    return ("-m", "torch.distributed.run", *flags, "-m", "hardy")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@slow
def test_torchrun_is_the_same_run(two: Path, place: Path) -> None:
    by = torchrun("--standalone", "--nproc-per-node", "2")
    code, out, err = finished(started(place, *WORDS, "--out", "torchrun", by=by))
    assert code == 0, err
    assert_same(weights(place / "torchrun"), weights(two))
    assert timeless(read(place / "torchrun")) == timeless(read(two))
    assert unfolded(out).count("99 pictures of test") == 1 and err.count("epoch 2/2") == 1


@slow
@pytest.mark.parametrize("rendezvous", ["static", "c10d"])
def test_so_are_two_machines(rendezvous: str, two: Path, place: Path, tmp_path: Path) -> None:
    """The second has another directory, as a machine without a shared disk has."""
    (tmp_path / "bn_free.py").write_text(NET)
    port, programs = free_port(), []
    for node, where in enumerate((place, tmp_path)):
        common = ("--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(node))
        if rendezvous == "static":
            more = ("--master-addr", "127.0.0.1", "--master-port", str(port))
        else:
            endpoint = ("--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "run")
            host = "true" if node == 0 else "false"
            more = ("--rdzv-backend", "c10d", *endpoint, "--rdzv-conf", f"is_host={host}")
        by = torchrun(*common, *more, "--local-addr", "127.0.0.1")
        programs.append(started(where, *WORDS, "--out", f"nodes-{rendezvous}", by=by))
    results = [finished(program) for program in programs]
    assert [code for code, _, _ in results] == [0, 0], results
    # With c10d either machine may become the first.
    folders = [where / f"nodes-{rendezvous}" for where in (place, tmp_path)]
    wrote = [folder for folder in folders if folder.exists()]
    assert len(wrote) == 1
    assert_same(weights(wrote[0]), weights(two))
    assert timeless(read(wrote[0])) == timeless(read(two))


@slow
def test_a_killed_run_of_two_goes_on_bit_for_bit(two: Path, place: Path) -> None:
    """SIGKILL of all of it, in the second epoch."""
    words = (*WORDS, "--devices", "2", "--out", "killed")
    program = started(place, *words)
    assert eventually((place / "killed" / "last.ckpt").exists, 120)
    os.killpg(program.pid, signal.SIGKILL)
    program.communicate()
    assert not (place / "killed" / "results.json").exists()
    code, _, err = finished(started(place, *words, "--resume"))
    assert code == 0, err
    assert "epoch 1/2" not in err and "epoch 2/2" in err
    assert_same(weights(place / "killed"), weights(two))
    ours, theirs = (torch.load(f / "last.ckpt", weights_only=True) for f in (place / "killed", two))
    assert_same(ours, theirs)
    assert rows(place / "killed") == rows(two)
    assert timeless(read(place / "killed")) == timeless(read(two))


def children(pid: int) -> list[int]:
    """The processes that were started by one, and by those."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


@slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("sign", "whole"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)]
)
def test_a_run_that_is_ended_leaves_no_process(
    sign: signal.Signals, whole: bool, place: Path
) -> None:
    """Ctrl-C reaches all processes of a terminal, a scheduler's signal often only the first."""
    out = place / f"ended-{sign.name}"
    words = replaced(replaced(WORDS, "--epochs", "2000"), "--schedule", "constant")
    program = started(place, *words, "--devices", "2", "--out", out)
    assert eventually((out / "last.ckpt").exists, 120)
    pids = children(program.pid)
    assert len(pids) >= 2
    (os.killpg if whole else os.kill)(program.pid, sign)
    code, _, err = finished(program)
    assert code == (130 if sign == signal.SIGINT else -sign)
    assert eventually(lambda: not any(alive(pid) for pid in pids), 20)
    if sign == signal.SIGINT:
        assert err.splitlines()[-1].startswith("interrupted; the same flags with --resume")
        assert "Traceback" not in err


@slow
def test_a_loss_that_is_lost_ends_all_with_one_line(place: Path) -> None:
    began = time.monotonic()
    words = (*replaced(WORDS, "--lr", "1e30"), "--devices", "2", "--out", "lost")
    code, _, err = finished(started(place, *words))
    assert code == 2 and time.monotonic() - began < 120
    assert err.splitlines()[-1].startswith("hardy: pgd_at: 'loss' is not finite in step ")
    assert err.count("not finite") == 1 and "Traceback" not in err


@slow
def test_under_torchrun_a_folder_that_is_taken_ends_all(two: Path, place: Path) -> None:
    """Only the first process looks; the others must not wait for it."""
    by = torchrun("--standalone", "--nproc-per-node", "2")
    code, _, err = finished(started(place, *WORDS, "--out", "two", by=by))
    assert code != 0
    assert "hardy: two is not empty: pass --resume" in err


MISTAKES = {
    "--batch-size": ("63", "batches of 63 cannot be shared equally by 2 processes: make --batch-"),
    "--method": ("nothing", "no method 'nothing'"),
    "--extra-data": ("npz:no.npz", "no.npz"),
}


@pytest.mark.parametrize("flag", MISTAKES)
def test_mistakes_are_found_before_a_process_is_started(
    flag: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("hardy.verbs.train.in_processes", lambda *_: pytest.fail("started"))
    value, line = MISTAKES[flag]
    words = (*replaced(WORDS, flag, value), "--devices", "2", "--out", str(tmp_path / "out"))
    assert run(list(words)) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_network_that_cannot_be_copied_is_refused_without_a_folder(tmp_path: Path) -> None:
    class Local(torch.nn.Flatten):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input)[:, :10]

    with pytest.raises(ValueError, match="cannot be handed what they should work on"):
        package.train(
            data="digits",
            model=Local(),
            epochs=1,
            devices=2,
            device="cpu",
            batch_size=64,
            out=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


@slow
def test_from_python_twice_with_what_was_handed_in(place: Path, tmp_path: Path) -> None:
    """The function returns in the process that called it, and there only; nothing of a run
    stays in the way of the next."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "1 python-1 33 True",  # what is trained is a copy of the network that is handed over
        "2 python-2 33 True",
        "3 python-3",
    ]
    first, second, third = (weights(tmp_path / f"python-{n}") for n in (1, 2, 3))
    assert_same(second, third)
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=0, atol=1e-5)


@dataclass(frozen=True)
class Shared:
    """An engine of one process, with what the others have found."""

    rank: int
    world: int
    sent: dict[int, Tensor]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        self.sent[self.rank] = tensor
        return [self.sent.get(rank, torch.zeros_like(tensor)) for rank in range(self.world)]


@pytest.mark.parametrize("n", [1, 2, 7, 12])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_picture_is_judged_once_and_in_its_place(n: int, world: int) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
    images = torch.randint(0, 256, (n, 1, 3, 3), dtype=torch.uint8)
    split = Split(images, torch.arange(n) % 2, torch.arange(n), "val")
    protocol = Protocol(PGD(Linf(0.1), steps=2), restarts=2, batch_size=4)
    whole, sent = judge(net, split, protocol), {}
    found = [
        partial(_judged, Shared(rank, world, sent))(net, split, protocol, "")  # type: ignore[arg-type]
        for rank in range(world)
    ][-1]  # the last of them has what all have found
    assert torch.equal(found.clean, whole.clean) and torch.equal(found.robust, whole.robust)
    assert found.clean.dtype == torch.bool and len(found.clean) == n
    if n > 6:
        assert 0 < int(whole.robust.sum()) < int(whole.clean.sum()) < n, "so places matter"
