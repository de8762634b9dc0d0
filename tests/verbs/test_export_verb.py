"""hardy export: files that run without it, and are the network."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from verb_runs import SMALL, hardy

import hardy as package
from hardy.data.splits import DataSet
from hardy.evaluation.agreement import DIFFERENCE, SAME
from hardy.evaluation.results import read
from hardy.files import PARTS, sha256
from hardy.models.exported import FORMATS, program_of

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
FILES = {"onnx": "network.onnx", "torch": "network.pt2"}

# Exporting attacks once: it has no --restarts.
HERE = tuple(
    word
    for flag, value in zip(SMALL[::2], SMALL[1::2], strict=True)
    if flag != "--restarts"
    for word in (flag, value)
)


@pytest.fixture(scope="module")
def exported(robust: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of hardy export on the network of `robust`, in both formats."""
    folder = tmp_path_factory.mktemp("runs") / "exported"
    few = ("--check-pictures", "20", "--format", "onnx", "torch")
    assert hardy("export", robust, *HERE, *few, "--out", folder) == 0
    return folder


def test_the_files_were_held_against_the_network(exported: Path) -> None:
    results = read(exported)
    assert {a.path: a.sha256 for a in results.artifacts if a.kind == "network"} == {
        file: sha256(exported / file) for file in FILES.values()
    }
    for name, file in FILES.items():
        size = results.one("file size", format=name)
        assert (size.value, size.subject) == ((exported / file).stat().st_size, file)
        ways = [
            (kind, batch, results.one(DIFFERENCE, format=name, pictures=kind, batch=batch))
            for kind in ("clean", "attacked")
            for batch in (1, 20)
        ]
        for kind, batch, apart in ways:
            assert apart.n == 20 and 0 <= float(apart.setting["relative"] or 0) < 1e-3
            assert (apart.setting.get("attack") == "PGD") == (kind == "attacked")
            assert results.one(SAME, format=name, pictures=kind, batch=batch).value == 1
    # They are other pictures.
    spreads = [
        results.one(DIFFERENCE, pictures=kind, format="onnx", batch=1).setting["spread"]
        for kind in ("clean", "attacked")
    ]
    assert spreads[0] != spreads[1]


@pytest.mark.parametrize("name", FILES)
def test_the_lines_of_the_docs_run_where_hardy_is_not(
    name: str, exported: Path, robust: Path, tmp_path: Path
) -> None:
    programs = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (lines,) = (text for text in programs if f'("{FILES[name]}"' in text)
    without = "import sys; sys.modules['hardy'] = None\n"
    after = f"import numpy; numpy.save({str(tmp_path / 'logits.npy')!r}, numpy.asarray(logits))\n"
    if name == "torch":
        after = "logits = logits.detach()\n" + after
    else:
        after += "assert 'torch' not in sys.modules\n"
    done = subprocess.run(
        [sys.executable, "-c", without + lines + after],
        cwd=exported,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str([str(digit) for digit in range(10)]) in done.stdout
    with torch.no_grad():
        logits = package.load(robust)(torch.full((3, 1, 8, 8), 0.5))
    assert np.allclose(np.load(tmp_path / "logits.npy"), logits, atol=1e-4)


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_what_it_is(name: str, exported: Path) -> None:
    _, about = FORMATS[name].read(exported / FILES[name])
    assert about["hardy"] == package.__version__
    assert (about["model"], about["data"], about["norm"]) == ("small_resnet", "digits", "linf")
    assert about["eps"] == "0.1" and about["classes"].startswith('["0", "1", ')
    assert about["pixels"] == "float32 (B, 1, 8, 8) in [0, 1]; normalisation is inside"
    assert about["logits"] == "float32 (B, 10)"


def test_the_page_says_how_near_the_files_are(
    drawn: None, robust: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--format", "torch", "--check-pictures", "5", "--out", tmp_path / "e")
    assert hardy("export", "--checkpoint", robust, *HERE, *words) == 0
    said = capsys.readouterr().out
    assert "network.pt2" in said and "5 of 5" in said and "no picture changes its class" in said
    page = (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    assert "small_resnet on digits" in page and "5 attacked" in page and "5 of 5" in page
    assert "Other measurements" not in page


def test_a_foreign_file_and_going_on(foreign: Path, tmp_path: Path) -> None:
    words = ("export", "--checkpoint", foreign, "--model", "small_resnet", *HERE)
    few = ("--format", "torch", "--check-pictures", "1", "--out", tmp_path / "e")
    assert hardy(*words, *few) == 0
    assert hardy(*words, *few) == 2
    assert hardy(*words, *few, "--resume") == 0
    found = read(tmp_path / "e")
    # Of one picture, one by one is all at once.
    assert [m.setting["batch"] for m in found.select(DIFFERENCE)] == [1, 1]
    assert any("no normalisation" in note for note in found.notes)


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))


FEW: dict[str, Any] = {"eps": 0.1, "steps": 1, "check_pictures": 5, "device": "cpu"}


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return replace(package.load_data("digits"), name="mine")


def test_a_network_from_python(digits: DataSet, tmp_path: Path) -> None:
    net = tiny()
    results = package.export(**FEW, model=net, data=digits, format=("torch",), out=tmp_path / "e")
    assert net.training and results.facts["data"] == "mine"
    forward, _ = FORMATS["torch"].read(tmp_path / "e" / "network.pt2")
    x = digits.test.pixels(slice(0, 7))
    assert torch.allclose(forward(x), net.eval()(x), atol=1e-5)


class Other(nn.Module):
    """The same network with all its logits moved."""

    def __init__(self, model: nn.Module, by: float) -> None:
        super().__init__()
        self.model, self.by = model, by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x) + self.by


@torch.no_grad()
def spread(net: nn.Module, data: DataSet) -> float:
    return float(net(data.test.pixels(slice(None))).std())


@pytest.mark.parametrize("by", [0.002, float("nan")])
def test_a_file_that_is_another_network_is_not_kept(
    by: float, digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, size = tiny().eval(), (1, 8, 8)
    move, usual = by * spread(net, digits), FORMATS["torch"]

    def write(path: Path, program: Any, about: Any) -> None:
        usual.write(path, program_of(Other(net, move), size), about)

    # The first file is right, the second is not: neither is kept.
    right = replace(usual, file="first.pt2")
    monkeypatch.setitem(FORMATS, "onnx", right)
    monkeypatch.setitem(FORMATS, "torch", replace(usual, write=write))
    both: Any = {"format": ("onnx", "torch"), "out": tmp_path / "e"}
    with pytest.raises(
        ValueError, match=r"network.pt2, clean pictures in batches of 1: its logits"
    ):
        package.export(**FEW, model=net, data=digits, **both)
    left = {path.name for path in (tmp_path / "e").iterdir()}
    assert left == {"config.json"} and not list((tmp_path / "e").glob(PARTS))


def test_a_file_that_differs_by_less_than_is_allowed_is_kept_and_the_difference_told(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tiny().eval()
    program = program_of(Other(net, 0.0005 * spread(net, digits)), (1, 8, 8))
    monkeypatch.setattr("hardy.verbs.export.program_of", lambda *_: program)
    results = package.export(**FEW, model=net, data=digits, format=("torch",), out=tmp_path / "e")
    for apart in results.select(DIFFERENCE, pictures="clean"):
        # The spread of all test pictures is about that of these five.
        assert 0.0003 < float(apart.setting["relative"] or 0) < 0.0008


class Noisy(nn.Module):
    """Gives other logits each time."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) + torch.rand(1, device=x.device)


def test_a_network_that_draws_random_numbers_is_refused(digits: DataSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="draws random numbers"):
        package.export(**FEW, model=Noisy(), data=digits, format=("torch",), out=tmp_path / "e")
    assert not list((tmp_path / "e").glob("network*"))


def test_mistakes(
    robust: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "e"

    def said(*words: object) -> str:
        assert hardy("export", *words, *HERE, "--out", out) == 2
        return capsys.readouterr().err

    assert "--format" in said(robust, "--format", "tflite") and "onnx" in said(
        robust, "--format", "tflite"
    )
    assert "not both" in said(robust, "--checkpoint", robust)
    assert "nothing to export: give a run folder" in said()
    assert "--check-pictures must be at least 1" in said(robust, "--check-pictures", "0")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "needs the package onnxruntime: pip install 'hardy[export]'" in said(robust)
    assert not out.exists()
    with pytest.raises(ValueError, match="--format must be one of onnx, torch, not 'tflite'"):
        package.export(network=robust, format=("tflite",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="--format needs at least one"):
        package.export(network=robust, format=())
