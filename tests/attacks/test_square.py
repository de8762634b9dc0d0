"""Square Attack against linear models' optima, the paper's shapes by hand and its contract."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from golden_net import GoldenNet
from hardy.attacks.square import Square
from hardy.attacks.windows import eta, moved, painted, striped, tiled
from hardy.draws import Draws
from hardy.threat import L2, Linf, Threat
from known_nets import counted

DRAWS = Draws(0, 0, torch.arange(24))
X = 0.3 + 0.4 * DRAWS.uniform((2, 6, 9), "x", torch.float64)  # not square
W = Draws(1, 0, torch.arange(1)).normal((2, 6, 9), "w", torch.float64)[0]
# A weight that is smooth in L2: length is moved in lumps.
SMOOTH = torch.linspace(-1, 1, 9).double().expand(2, 6, 9)
KINDS = [Linf, L2]


def linear(x: Tensor, weight: Tensor, reach: float) -> Tensor:
    """Logits (0, w·(x - X) - reach) of the first pictures: broken where w·delta > reach."""
    score = ((x - X[: len(x)]) * weight).flatten(1).sum(1) - reach
    return torch.stack([torch.zeros_like(score), score], 1)


ZERO = torch.zeros(24, dtype=torch.int64)


@pytest.mark.parametrize(("share", "queries", "broken"), [(0.93, 5000, True), (1.001, 1500, False)])
def test_it_comes_close_to_the_sign_pattern(share: float, queries: int, broken: bool) -> None:
    """The optimum of w·delta in Linf is eps ||w||_1: nearly all of it is found, more never."""
    reach = share * 0.1 * float(W.abs().sum())
    one, y = X[:1], ZERO[:1]  # the logits know the first picture's place
    found = Square(Linf(0.1), queries=queries).search(
        lambda x: linear(x, W, reach), one, y, DRAWS.take(slice(1))
    )
    assert found.broken.item() is broken
    assert (found.x_adv - one).abs().max() <= 0.1 + 1e-12


def test_in_l2_it_comes_near_the_gradient() -> None:
    """The optimum is eps ||w||_2; more than half of it is found, more than all of it never."""
    for share, queries, broken in ((0.5, 1500, True), (1.001, 300, False)):
        reach = share * 0.5 * float(SMOOTH.norm())
        found = Square(L2(0.5), queries=queries).search(
            lambda x, reach=reach: linear(x, SMOOTH, reach), X[:1], ZERO[:1], DRAWS.take(slice(1))
        )
        assert found.broken.item() is broken
        assert (found.x_adv - X[:1]).norm() <= 0.5 + 1e-9


def test_eta_by_hand() -> None:
    """Side 3: rows 1 and 2 x 3. The upper peak, rings around its middle, is 1/4, 5/4, 1/4 before
    scaling to length one; the lower one has its middle in its second row, so all its first row
    are on the first ring too, as are the sides."""
    across, upright = eta(3, torch.float64, torch.device("cpu"))
    torch.testing.assert_close(across, upright.T)
    assert across.norm().item() == pytest.approx(1)
    upper = torch.tensor([1.0, 5.0, 1.0]).double() / 27**0.5
    lower = torch.tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0]]).double() / 30**0.5
    expected = torch.cat([upper[None], -lower]) / 2**0.5
    torch.testing.assert_close(across, expected)
    assert eta(1, torch.float64, torch.device("cpu")).flatten().tolist() == [-1, -1]


def words(*corners: float, upright: bool = False, signs: tuple[int, ...] = (1, -1)) -> Tensor:
    """The bits of one move: four corners as shares of the places, orientation, signs."""
    shares = [*corners, 0.75 * upright, *(0.75 * (sign > 0) for sign in signs)]
    return torch.tensor([[int(share * 2**32) for share in shares]])


def test_windows_reach_every_place_and_keep_their_side() -> None:
    """Six rows and nine columns, side 4: three and six places; the last one counts."""
    x = X[:1]
    for down, right, top, left in ((0.0, 0.0, 0, 0), (0.99, 0.99, 2, 5), (0.34, 0.17, 1, 1)):
        found = painted(x, x, 0.1, 4, words(down, right, 0, 0)) - x
        expected = torch.zeros_like(x)
        expected[0, 0, top : top + 4, left : left + 4] = 0.1
        expected[0, 1, top : top + 4, left : left + 4] = -0.1
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_all_places_are_taken_alike() -> None:
    x = torch.zeros(6000, 1, 4, 5).double()
    bits = Draws(0, 0, torch.arange(6000)).bits((6,), "places")
    bits[:, 5] = 2**31  # all signs up
    counts = painted(x, x, 1.0, 3, bits).sum(0)[0]
    # 2 x 3 places: the corner pixel lies in one of them, the middle ones in all of a column's.
    assert counts[0, 0] == pytest.approx(1000, abs=150)
    assert counts[3, 4] == pytest.approx(1000, abs=150)
    assert counts[1, 2] == 6000


def test_starts_are_stripes_and_tiles_on_the_sphere() -> None:
    delta = striped(X, 0.05, DRAWS) - X
    torch.testing.assert_close(delta.abs(), torch.full_like(X, 0.05))
    torch.testing.assert_close(delta, delta[:, :, :1].expand_as(delta))
    assert abs(delta.sign().mean()) < 0.2
    x = torch.full((5, 3, 11, 14), 0.5).double()
    delta = tiled(x, 0.3, Draws(0, 0, torch.arange(5))) - x
    torch.testing.assert_close(delta.flatten(1).norm(dim=1), torch.full((5,), 0.3).double())
    # Side 11 // 5 = 2, rows 0 to 9: the last one is left out. 5 x 7 tiles, each one eta.
    tiles = delta[:, :, :10].unfold(2, 2, 2).unfold(3, 2, 2)
    shapes = [sign * one for one in eta(2, torch.float64, x.device) for sign in (1, -1)]
    alike = [(tiles - 0.3 / 105**0.5 * one).abs().amax((-1, -2)) < 1e-9 for one in shapes]
    assert torch.stack(alike).sum(0).eq(1).all()
    assert all(one.double().mean() > 0.15 for one in alike)
    assert (delta[:, :, 10:] == 0).all() and (delta[:, :, :10] != 0).all()


def test_a_move_in_l2_takes_the_length_out_of_the_second_window() -> None:
    """Alone in the upper window of 3 x 3, the new delta has eta's shape where nothing was before;
    the window on the right is empty after; what lies in neither keeps its proportions."""
    x = torch.full((1, 1, 6, 9), 0.5).double()
    before = torch.zeros_like(x)
    before[..., 3:, 6:], before[..., 5, 0] = 0.04, 0.02  # there, and elsewhere
    bits = words(0, 0, 0.99, 0.99, signs=(1,))
    after = moved(x, x + before, 0.5, 3, bits) - x
    assert after.norm().item() == pytest.approx(0.5)
    assert (after[..., 3:, 6:] == 0).all()
    shape = eta(3, torch.float64, x.device)[0]
    here = after[0, 0, :3, :3]
    torch.testing.assert_close(here / here.norm(), shape)
    # spare + what the windows held is all but the pixel's own .02^2.
    assert after[0, 0, 5, 0].item() == pytest.approx(0.02)
    assert here.square().sum().item() == pytest.approx(0.25 - 0.0004)
    turned = moved(x, x + before, 0.5, 3, words(0, 0, 0.99, 0.99, upright=True, signs=(-1,))) - x
    torch.testing.assert_close(turned[0, 0, :3, :3], -here.T)


def test_sides_shrink_as_published() -> None:
    """CIFAR's 32 x 32: sqrt(.8 · 1024) = 28.6, halved in area at each mark; odd in L2."""
    x = torch.zeros(1, 3, 32, 32)
    queries = [0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 8001]
    assert [Square(Linf(1))._side(q, x) for q in queries] == [29, 29, 20, 14, 10, 7, 5, 4, 3, 1]
    assert [Square(L2(1))._side(q, x) for q in queries] == [29, 29, 21, 15, 11, 7, 5, 5, 3, 3]
    assert Square(Linf(1))._side(0, torch.zeros(1, 1, 2, 40)) == 2
    assert Square(L2(1))._side(9000, torch.zeros(1, 1, 2, 2)) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 4, 30), (1, 1, 1)])
def test_inside_ball_and_box_whatever_the_shape(kind: type[Threat], shape: tuple[int, ...]) -> None:
    x = DRAWS.uniform(shape, "small").round(decimals=1)
    seen: list[Tensor] = []

    def forward(z: Tensor) -> Tensor:
        seen.append(z)
        return torch.stack([torch.ones(len(z)), z.flatten(1).sum(1) * 0], 1)

    found = Square(kind(0.3), queries=80).search(forward, x, ZERO, DRAWS)
    assert len(seen) == 80 and not found.broken.any() and torch.equal(found.x_adv, x)
    for z in seen:
        assert (kind(0.3).distance(z, x) <= 0.3 + 1e-6).all()
        assert z.min() >= 0 and z.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_is_a_row_of_the_batch(kind: type[Threat]) -> None:
    torch.manual_seed(0)
    net, rows = GoldenNet().double().eval(), torch.tensor([7, 2])
    draws = Draws(0, 0, torch.arange(12))
    x = draws.uniform((3, 8, 8), "x", torch.float64)
    y = net(x).argmax(1)
    attack = Square({Linf: Linf(0.5), L2: L2(7.0)}[kind], queries=150)
    whole = attack.search(net, x, y, draws)
    assert 0 < whole.broken.sum() < 12
    for some in (rows, rows[:1]):
        part = attack.search(net, x[some], y[some], draws.take(some))
        torch.testing.assert_close(part.x_adv, whole.x_adv[some], rtol=0, atol=1e-9)
    assert torch.equal(attack.search(net, x, y, draws).x_adv, whole.x_adv)
    other = attack.search(net, x, y, replace(draws, restart=1))
    assert not torch.equal(other.x_adv, whole.x_adv)


def test_only_what_raises_the_margin_is_kept() -> None:
    """Each trial differs from the best before it in one window alone."""
    seen: list[Tensor] = []
    one, y, draws = X[:1], ZERO[:1], DRAWS.take(slice(1))

    def forward(z: Tensor) -> Tensor:
        seen.append(z)
        return linear(z, W, 100.0)

    Square(Linf(0.1), queries=400).search(forward, one, y, draws)
    best = seen[0]
    for query, trial in enumerate(seen[1:]):
        changed, side = (trial != best)[0].any(0), Square(Linf(0.1))._side(query, one)
        for axis in (0, 1):
            places = changed.any(axis).nonzero()
            assert not len(places) or int(places.max() - places.min()) < side
        if forward(trial)[0, 1] > forward(best)[0, 1]:
            best = trial
    assert forward(best)[0, 1] > forward(seen[0])[0, 1] + 0.5 * 0.1 * W.abs().sum()


def test_the_active_set_and_the_judge() -> None:
    everywhere = torch.tensor([[0.0, 1.0]]).double()
    forward, sizes = counted(lambda x: everywhere.expand(len(x), 2))
    assert Square(Linf(0.1)).search(forward, X, ZERO, DRAWS).broken.all()
    assert sizes == [24], "all broken at once: no further query"
    denied = Square(Linf(0.1), queries=5).search(
        forward, X, ZERO, DRAWS, judge=lambda x: -everywhere.expand(len(x), 2)
    )
    assert not denied.broken.any() and torch.equal(denied.x_adv, X)


def test_a_coarse_search_is_judged_where_it_ends() -> None:
    """Half precision that sees no difference at all: the judge still looks at the last point."""
    flat = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16)
    found = Square(Linf(0.1), queries=3).search(
        lambda x: flat.expand(len(x), 2), X, ZERO, DRAWS, judge=lambda x: -flat.expand(len(x), 2)
    )
    assert found.broken.all() and (found.x_adv != X).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("when", [0, 1, 70])
def test_logits_that_are_not_finite_are_an_error(bad: float, when: int) -> None:
    seen: list[int] = []

    def forward(x: Tensor) -> Tensor:
        seen.append(1)
        logits = torch.tensor([[1.0, 0.0]]).repeat(len(x), 1)
        logits[3, 1] = bad if len(seen) == when + 1 else 0.0
        return logits

    with pytest.raises(ValueError, match="NaN or infinite logits"):
        Square(Linf(0.1), queries=200).search(forward, X, ZERO, DRAWS)


def test_repr_and_setting_say_everything() -> None:
    attack = Square(L2(0.5), queries=300, p_init=0.3)
    assert repr(attack) == "Square-300(L2(eps=0.5), p_init=0.3)"
    assert attack.setting == {
        "attack": "Square",
        "norm": "l2",
        "eps": 0.5,
        "queries": 300,
        "p_init": 0.3,
    }


def test_settings_out_of_range_are_errors() -> None:
    with pytest.raises(ValueError, match=r"^queries must be at least 1, not 0$"):
        Square(Linf(0.1), queries=0)
    for p in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"^p_init must be a share in \(0, 1\], not"):
            Square(Linf(0.1), p_init=p)
