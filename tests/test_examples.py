"""The examples run as they stand, and do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from hardy import load
from hardy.cli import run
from hardy.evaluation.results import read

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def named(start: str) -> Path:
    (path,) = (path for path in EXAMPLES if path.name.startswith(start))
    return path


def functions(start: str) -> dict[str, Any]:
    """What an example defines, without running it."""
    return runpy.run_path(str(named(start)), run_name="an example")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_it_is_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    doc = text.split('"""')[1]
    assert f"examples/{path.name}" in doc and "one core" in doc


@pytest.mark.slow
def test_rift_on_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    functions("01")["main"](tmp_path, epochs=1)
    said = capsys.readouterr().out
    assert "clean accuracy gain: " in said and "a picture of a " in said
    assert (tmp_path / "rift" / "report.html").is_file()


def test_a_method_of_your_own(tmp_path: Path) -> None:
    words = ["--method", str(named("02")), "--method-options", "clean_share=0.3"]
    data = ["--data", "digits", "--model", "small_resnet", "--eps", "0.1", "--steps", "2"]
    caps = ["--epochs", "2", "--limit", "256", "--test-limit", "50", "--restarts", "1"]
    assert run(["train", *words, *data, *caps, "--out", str(tmp_path / "run")]) == 0
    assert read(tmp_path / "run").facts["method"] == "HalfAndHalf(clean_share=0.3)"
    log = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
    assert '"clean": ' in log and '"attacked": ' in log


def test_its_loss_is_the_mean_that_it_says() -> None:
    import torch
    from torch import nn

    from hardy.data.loader import Batch
    from hardy.draws import Draws
    from hardy.methods.protocol import Nets

    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x, y = torch.rand(5, 1, 2, 2), torch.tensor([0, 1, 2, 1, 0])
    batch = Batch(x, y, torch.arange(5), Draws(0, 0, torch.arange(5)))
    method = functions("02")["HalfAndHalf"](clean_share=0.25)
    found = method.loss(Nets(net, net, net), batch, x * 0.5, 0.0)
    ce = nn.functional.cross_entropy
    expected = 0.25 * ce(net(x), y) + 0.75 * ce(net(x * 0.5), y)
    assert torch.allclose(found["loss"], expected)
    assert not found["clean"].requires_grad and not found["attacked"].requires_grad


@pytest.mark.slow
def test_your_own_network_and_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = functions("03")
    example["main"](tmp_path, pictures=256)
    said = capsys.readouterr().out
    assert "module 0: criticality" in said and "clean accuracy: " in said
    load(tmp_path / "train", model=example["network"]())


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_it_stands(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert list(tmp_path.glob("runs/**/report.html"))
