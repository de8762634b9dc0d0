"""One process of a run, alone or not yet joined with the others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hardy.training.engine import Engine

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def torchrun(monkeypatch: pytest.MonkeyPatch, local: int, world: int) -> None:
    """What it tells each process."""
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": local}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("WORLD_SIZE", str(world))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")


def test_a_process_alone_exchanges_nothing() -> None:
    engine = Engine(CPU)
    engine.launch()
    assert (engine.rank, engine.world, engine.first, engine.several) == (0, 1, True, False)
    assert str(engine) == "cpu" and not engine.torchrun
    one = torch.tensor([1.0, 2.0])
    assert engine.mean([one])[0] is one and engine.gather(one)[0] is one
    assert engine.from_first("here") == "here"
    norm = nn.BatchNorm1d(2)
    norm.running_mean = one.clone()
    engine.sync_batchnorm(norm)
    assert torch.equal(norm.running_mean, one)
    assert not torch.distributed.is_initialized()


def test_accumulation_needs_no_wrapper_where_there_is_none() -> None:
    with Engine(CPU).accumulating(lambda x: x, True):
        pass


@pytest.mark.parametrize(
    ("device", "devices", "said"),
    [
        (CUDA, 3, "3 processes need a GPU each, and this machine shows 2: give --devices 2, or"),
        (torch.device("cuda:1"), 2, "from the first on: give --device cuda, not cuda:1; CUDA_V"),
        (torch.device("mps"), 2, "--device mps takes one process: leave --devices out, or take"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    device: torch.device, devices: int, said: str, two_gpus: None
) -> None:
    with pytest.raises(ValueError) as error:
        Engine(device, devices=devices)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_torchrun_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, local=2, world=6)
    for devices in (1, 2):
        engine = Engine(CPU, devices=devices)
        assert (engine.world, engine.several, engine.torchrun) == (6, True, True)
    with pytest.raises(ValueError, match="started 2 processes on this machine, and --devices 3"):
        Engine(CPU, devices=3)


def test_torchrun_with_one_process_is_a_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, local=1, world=1)
    engine = Engine(CPU)
    engine.launch()
    assert (engine.rank, engine.world) == (0, 1)
    assert not torch.distributed.is_initialized()


def test_a_cluster_it_was_not_asked_to_use_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a job of SLURM the engine would guess that SLURM starts the processes."""
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "3"}.items():
        monkeypatch.setenv(name, value)
    engine = Engine(CPU, devices=2)
    assert (engine.rank, engine.world, engine.torchrun) == (0, 2, False)
