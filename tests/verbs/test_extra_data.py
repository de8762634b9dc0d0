"""What a run with extra data makes sure of, and what its checkpoint says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from verb_runs import TRAIN, hardy

from hardy.data import load_data
from hardy.models.load import read_checkpoint
from hardy.verbs.asked.inputs import DATA_SEED, origin, unseen_val

DATA = load_data("digits", val_fraction=0.2, seed=DATA_SEED)
ONE_EPOCH = (*TRAIN, "--epochs", "1", "--limit", "64", "--extra-fraction", "0.5")


def saved(path: Path, images: torch.Tensor) -> str:
    image = images.permute(0, 2, 3, 1).numpy()
    np.savez(path, image=image, label=np.arange(len(image)) % 10)
    return f"npz:{path}"


@pytest.mark.parametrize("split", ["val", "test"])
def test_pictures_of_val_or_test_stop_a_run_before_it_begins(
    split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"val": DATA.val, "test": DATA.test}[split].images[:3]
    spec = saved(tmp_path / "more.npz", torch.cat([DATA.train.images[:40], own]))
    assert hardy(*ONE_EPOCH, "--extra-data", spec, "--out", tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hardy: 3 of the 43 pictures of the extra data more are also in val")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_names_its_extra_data_and_hands_the_name_on(tmp_path: Path) -> None:
    spec = saved(tmp_path / "more.npz", DATA.train.images[:40])
    assert hardy(*ONE_EPOCH, "--extra-data", spec, "--out", tmp_path / "run") == 0
    found = read_checkpoint(tmp_path / "run")
    assert found.extra["extra_data"] == spec
    assert unseen_val(found, DATA), "no picture of val was among them"
    assert origin(DATA, "rift", found)["extra_data"] == spec
    both = origin(DATA, "pgd_at", found, "npz:other.npz")["extra_data"]
    assert both == f"{spec}, npz:other.npz"
    plain = replace(found, extra={k: v for k, v in found.extra.items() if k != "extra_data"})
    assert "extra_data" not in origin(DATA, "rift", plain)
    assert origin(DATA, "pgd_at", plain, "npz:other.npz")["extra_data"] == "npz:other.npz"
    assert "extra_data" not in origin(DATA, "pgd_at")
