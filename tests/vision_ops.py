"""The two operators that torchvision wants of a build of its own, declared where they are
missing: no network uses them. Imported before timm and torchvision, which a test skips without."""

from __future__ import annotations

import pytest
import torch

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
