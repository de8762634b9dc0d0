"""MRC against the authors' own numbers, against closed form, and against itself."""

from __future__ import annotations

import numpy as np
import pytest

from golden_net import GOLDEN, golden_file, golden_net
from hardy.finetuning.mrc import OfficialAscent, mrc


@pytest.mark.parametrize("batch_size", [64, 24])
def test_official_ascent_gives_the_authors_numbers(batch_size: int) -> None:
    golden = golden_file("mrc_official")
    modules = np.load(GOLDEN / "mrc_official.npz")["modules"].tolist()
    net = golden_net(golden, normalize="cifar10")
    x_adv, y = golden["x_adv"], golden["y"]
    found = list(
        mrc(net, x_adv, x_adv, y, ascent=OfficialAscent(), precision="fp64", batch_size=batch_size)
    )
    found.sort(key=lambda c: c.mrc)
    assert [c.module for c in found] == modules
    assert np.allclose([c.mrc for c in found], golden["mrc"], rtol=1e-6)
