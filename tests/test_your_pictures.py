"""A stranger's way from a folder of pictures to an exported network, command by command as
docs/your-pictures.md has it, with fewer pictures and passes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hardy
from hardy.cli import run
from hardy.evaluation.results import read
from vision_ops import publish, timm

PAGE = Path(__file__).parents[1] / "docs" / "your-pictures.md"
CLASSES = ("daisy", "rose", "tulip")
# Later words count: what is asked on the page is kept, and cut short.
FEW = {
    "train": "--epochs 1 --limit 24 --steps 1 --restarts 1 --batch-size 8 --val-fraction 0.25",
    "rift": "--epochs 1 --lr 0.01 --k 1 --steps 1 --restarts 1 --mrc-pictures 8 --alphas 0.5 1 "
    "--batch-size 8 --val-fraction 0.25",
    "evaluate": "--limit 6 --steps 1 --restarts 1 --attack pgd --severities 1 --curve-points 2 "
    "--preflight-pictures 6",
    "export": "--check-pictures 6 --steps 1",
    "push": "",
}


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines[0].startswith("pip install ")
    assert all(line.startswith("hardy ") for line in lines[1:])
    return [shlex.split(line)[1:] for line in lines[1:]]


def test_the_page_goes_all_the_way() -> None:
    verbs = [words[0] for words in commands()]
    assert verbs == ["train", "train", "train", "rift", "evaluate", "export", "push"]
    assert {*verbs} == {*FEW}


@pytest.fixture
def flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs of three colours and several sizes, in the working directory."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for number, name in enumerate(CLASSES):
            folder = tmp_path / "flowers" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                size = (64 + 3 * i, 70 + i, 3)
                pixels = rng.integers(0, 90, size, dtype=np.uint8)
                pixels[..., number] += 120
                Image.fromarray(pixels).save(folder / f"{i:03}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARDY_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in place of those that timm would get from the network."""
    torch.manual_seed(0)
    publish(timm.create_model("resnet18"), tmp_path, monkeypatch)


@pytest.mark.slow
def test_every_command_of_the_page(flowers: Path, published: None) -> None:
    for words in commands():
        assert run([*words, *FEW[words[0]].split()]) == 0, words
    runs = flowers / "runs"
    assert not (runs / "dry").exists() and not list(runs.glob("train*"))  # --dry-run left nothing
    twins = read(runs / "twins")
    assert "TWINS" in str(twins.facts["method"])
    measured = read(runs / "measured")
    subjects = {m.subject for m in measured.select("robust accuracy")}
    assert len(subjects) == 3
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        logits = hardy.load(runs / "rift")(x)
    assert logits.shape == (2, len(CLASSES))
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(runs / "exported" / "network.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(CLASSES)
    (found,) = session.run(None, {"pixels": x.numpy()})
    assert np.allclose(found, logits.numpy(), atol=1e-3)
    card = (runs / "card" / "README.md").read_text(encoding="utf-8")
    assert "robust accuracy" in card
