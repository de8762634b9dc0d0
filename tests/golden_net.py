"""The net of the golden files, which hold what the authors' own code computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hardy.models.normalize import normalizer

GOLDEN = Path(__file__).parent / "golden"


class GoldenNet(nn.Module):
    """Two convolutions with BatchNorm, the mean over space, a linear layer."""

    def __init__(self, width: int = 8, normalize: str = "none") -> None:
        super().__init__()
        self.normalize = normalizer(normalize, 3)
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.linear = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(self.normalize(x))).relu()
        x = self.bn2(self.conv2(x)).relu()
        return self.linear(x.mean((2, 3)))


def golden_file(name: str) -> dict[str, Tensor]:
    """The numeric entries of a golden file."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {k: torch.from_numpy(v) for k, v in file.items() if v.dtype.kind in "fiu"}


def golden_net(
    golden: dict[str, Tensor], role: str = "student", normalize: str = "none"
) -> nn.Module:
    """The net of a golden file in double precision, in train mode."""
    state = {k.removeprefix(f"{role}/"): v for k, v in golden.items() if k.startswith(f"{role}/")}
    net = GoldenNet(len(state["conv1.weight"]), normalize).double()
    missing = net.load_state_dict(state, strict=False).missing_keys
    assert all("num_batches_tracked" in key or "normalize" in key for key in missing), missing
    return net
