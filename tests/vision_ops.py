"""The two operators that torchvision wants of a build of its own, declared where they are
missing: no network uses them. Imported before timm and torchvision, which a test skips without.
And weights in place of those that timm would download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

DECLARED = torch.library.Library("torchvision", "FRAGMENT")  # what is declared goes with it
OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

try:
    torchvision = pytest.importorskip("torchvision")
except RuntimeError:
    for operator in OPERATORS:
        DECLARED.define(operator)
    torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")


def publish(model: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network's weights, in a file of the folder, be those that timm publishes."""
    file, create = folder / "published.safetensors", timm.create_model
    save_file(model.state_dict(), file)

    def from_file(*args: Any, **keywords: Any) -> nn.Module:
        return create(*args, pretrained_cfg_overlay={"file": str(file)}, **keywords)

    monkeypatch.setattr(timm, "create_model", from_file)
