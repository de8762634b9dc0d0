"""Networks that the tests of the verbs share: trained once, and only read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from verb_runs import RIFT, TRAIN, hardy, set_back

from hardy import load


@pytest.fixture(scope="session")
def robust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of adversarial training on digits: clean 0.73, so there is room. Its last
    epoch is not its best."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "robust"
    with pytest.MonkeyPatch.context() as patch:
        set_back(patch)
        assert hardy(*TRAIN, "--out", folder) == 0
    return folder


@pytest.fixture(scope="session")
def foreign(robust: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as people publish them: a bare state dict."""
    path = tmp_path_factory.mktemp("foreign") / "robust.pt"
    torch.save(load(robust).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def better(robust: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of rift on the network of `robust`, several candidates wide."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "better"
    wide = ("--choose", "both", "--k", "2", "--lr", "0.03", "--tolerance", "0.05")
    assert hardy(*RIFT, *wide, "--checkpoint", robust, "--out", folder) == 0
    return folder


@pytest.fixture
def drawn() -> None:
    """Asked for by a test that looks at the page of its own run."""


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes three quarters of a small run: only the tests of the page wait for it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("hardy.verbs.runs.folder.write_report", lambda folder: folder)
