"""MRC against the authors' own numbers, against closed form, and against itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hardy.finetuning.mrc import OfficialAscent, mrc
from hardy.models.normalize import normalizer

GOLDEN = Path(__file__).parents[1] / "golden"


class GoldenNet(nn.Module):
    """The net of the golden files."""

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


@pytest.mark.parametrize("batch_size", [64, 24])
def test_official_ascent_gives_the_authors_numbers(batch_size: int) -> None:
    golden = np.load(GOLDEN / "mrc_official.npz")
    net = GoldenNet(normalize="cifar10").double()
    state = {k[8:]: torch.from_numpy(golden[k]) for k in golden.files if k.startswith("student/")}
    net.load_state_dict(state, strict=False)
    x_adv, y = torch.from_numpy(golden["x_adv"]), torch.from_numpy(golden["y"])
    found = list(
        mrc(net, x_adv, x_adv, y, ascent=OfficialAscent(), precision="fp64", batch_size=batch_size)
    )
    found.sort(key=lambda c: c.mrc)
    assert [c.module for c in found] == golden["modules"].tolist()
    assert np.allclose([c.mrc for c in found], golden["mrc"], rtol=1e-6)
