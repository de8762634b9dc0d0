"""Pictures that an attack breaks, found once more and written plainly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from test_robustness import TwoClasses, some_split
from torch import Tensor

from hardy.attacks.active_set import STANDS, WRONG, Stage
from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.pictures import found_again, shown, write_broken
from hardy.evaluation.robustness import Ensemble, Protocol, judge
from hardy.threat import Linf

EPS = 8 / 255
PROTOCOL = Protocol(PGD(Linf(EPS), steps=5), restarts=2, batch_size=16)


def judged(model: TwoClasses) -> tuple[Split, Tensor]:
    split = some_split(model)
    by = judge(model, split, PROTOCOL).by
    assert by is not None
    assert (by == 0).sum() > 5 and (by == STANDS).sum() > 5 and (by == WRONG).any()
    return split, by


def test_who_was_broken_is_found_again_and_nobody_else_is_attacked() -> None:
    model = TwoClasses()
    split, by = judged(model)
    seen = []

    class Watched(PGD):
        def search(self, forward, x, y, draws: Draws, judge=None):  # type: ignore[no-untyped-def]
            seen.extend(draws.index.tolist())
            return super().search(forward, x, y, draws, judge)

    watched = Protocol(Watched(Linf(EPS), steps=5), restarts=2, batch_size=16)
    rows = torch.cat([rows for rows, _ in found_again(model, split, watched, by)])
    assert sorted(rows.tolist()) == (by == 0).nonzero()[:, 0].tolist()
    assert set(seen) == set(split.index[rows].tolist())
    for rows, x_adv in found_again(model, split, PROTOCOL, by):
        assert (model(x_adv).argmax(1) != split.labels[rows]).all()
        assert ((x_adv - split.pixels(rows)).abs() <= EPS + 1e-6).all()


def test_the_stage_that_broke_it_searches_with_its_own_draws() -> None:
    """Of two stages of the same runs the second must not be given the first one's draws."""
    model, restarts = TwoClasses(), []
    split, by = judged(model)

    class Watched(PGD):
        def search(self, forward, x, y, draws: Draws, judge=None):  # type: ignore[no-untyped-def]
            restarts.append(draws.restart)
            return super().search(forward, x, y, draws, judge)

    runs = (Watched(Linf(EPS), steps=5),) * 2
    twice = Ensemble("both", (Stage("a", runs), Stage("b", runs)), batch_size=64)
    later = torch.where(by == 0, 1, by)
    list(found_again(model, split, twice, later))
    assert restarts[0] == 2, "runs 0 and 1 are the first stage's"


def test_what_is_shown_agrees_with_itself(tmp_path: Path) -> None:
    model = TwoClasses()
    split, by = judged(model)
    one = shown(model, split, PROTOCOL, by)
    assert torch.equal(one.broken, by == 0)
    assert torch.equal(one.x_adv[by != 0], split.pixels(slice(None))[by != 0])
    assert torch.equal(one.adversarial != one.clean, by == 0)

    write_broken(tmp_path / "broken.npz", split, ("no", "yes"), {"a/net": one, "b": one})
    with np.load(tmp_path / "broken.npz", allow_pickle=False) as file:
        kept = dict(file)
    kinds = ("adversarial", "clean class", "adversarial class", "broken")
    keys = {f"{label}/{kind}" for label in ("a/net", "b") for kind in kinds}
    assert kept.keys() == {"clean", "labels", "classes", *keys}
    assert kept["clean"].dtype == kept["b/adversarial"].dtype == np.uint8
    assert kept["b/broken"].dtype == np.bool_ and kept["classes"].tolist() == ["no", "yes"]
    moved = kept["b/adversarial"].astype(int) - kept["clean"].astype(int)
    assert (np.abs(moved).max((1, 2, 3)) <= 8).all()
    assert ((moved != 0).any((1, 2, 3)) == kept["b/broken"]).all()


def test_clean_pictures_are_written_as_bytes_whatever_they_are_stored_as(tmp_path: Path) -> None:
    levels = torch.arange(12).view(4, 1, 1, 3) * 20
    for images in (levels.to(torch.uint8), (levels / 255).half(), levels / 255):
        split = Split(images, torch.arange(4) % 2, torch.arange(4), "test")
        write_broken(tmp_path / "broken.npz", split, ["a", "b"], {})
        with np.load(tmp_path / "broken.npz") as held:
            assert held["clean"].dtype == np.uint8
            np.testing.assert_array_equal(held["clean"], levels.numpy())
