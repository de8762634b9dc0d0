"""last.ckpt: what goes in comes out, and a damaged one is named."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from hardy.training.checkpoint import FILE_NAME, load, save

CPU = torch.device("cpu")
STATE = {
    "epoch": 3,
    "model": {
        "weight": torch.randn(4, 3),
        "counter": torch.tensor(7),
        "half": torch.ones(2).half(),
    },
    "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
    "torch_rng": torch.get_rng_state(),
}


def test_round_trip_to_the_bit(tmp_path: Path) -> None:
    save(tmp_path / "run", STATE)
    found = load(tmp_path / "run", CPU)
    assert found is not None and found.keys() == STATE.keys()
    assert found["epoch"] == 3
    assert found["optimizer"]["param_groups"] == [{"lr": 0.1}]
    assert torch.equal(found["torch_rng"], STATE["torch_rng"])
    for name, value in STATE["model"].items():
        assert torch.equal(found["model"][name], value)
        assert found["model"][name].dtype == value.dtype
    assert [path.name for path in (tmp_path / "run").iterdir()] == [FILE_NAME]


def test_none_was_saved_yet(tmp_path: Path) -> None:
    assert load(tmp_path, CPU) is None
    assert load(tmp_path / "nowhere", CPU) is None


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, keep: float) -> None:
    save(tmp_path, STATE)
    path = tmp_path / FILE_NAME
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged: delete it") as error:
        load(tmp_path, CPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"not a checkpoint",
        b"0.",
        b"X\x04\x00\x00\x00\xff\xfe\xfd\xfc.",
        b"PK\x03\x04",
        b"\x80\x02.",
    ],
)
def test_another_files_bytes_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged: delete it"):
        load(tmp_path, CPU)


class Code:
    """What a malicious pickle looks like."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Code()}, FILE_NAME, pickle_module=pickle)
    with pytest.raises(ValueError, match="is damaged"):
        load(tmp_path, CPU)
    assert not (tmp_path / "ran").exists()
