"""LIGS against the authors' numbers, by hand, and on networks whose gradients are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden_net import golden_file, golden_net
from hardy.attacks.alignment import alignment
from hardy.attacks.pgd import PGD, Loss
from hardy.data.splits import Split
from hardy.diagnosis.cosines import write_ligs
from hardy.diagnosis.ligs import LOSSES, Ligs, LossName, Neighbour, ligs
from hardy.draws import Draws
from hardy.evaluation.steps import Steps
from hardy.losses import cross_entropy, log_odds_against, margin
from hardy.threat import Linf


class Parabola(nn.Module):
    """Logits (0, f(x)), f(x) = sum of a_i x_i^2 / 2: of class 0 cross-entropy's gradient is
    sigmoid(f) a x, and its direction that of a x."""

    def __init__(self, *a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        f = (self.a * x.flatten(1).square()).sum(1) / 2
        return torch.stack([torch.zeros_like(f), f], 1)


def linear(classes: int, scale: float = 1.0) -> nn.Sequential:
    layer = nn.Linear(12, classes)
    with torch.no_grad():
        layer.weight.copy_(scale * Draws(3, 0, torch.arange(classes)).normal((12,), "w"))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def pictures(n: int = 20, classes: int = 2) -> Split:
    draws = Draws(0, 0, torch.arange(n))
    images = draws.integers(256, (3, 2, 2), "images").to(torch.uint8)
    return Split(images, draws.index % classes, draws.index + 100, "test")


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4)
    )


@pytest.mark.parametrize("loss", [cross_entropy, log_odds_against])
def test_the_authors_cosines(loss: Loss) -> None:
    golden = golden_file("ligs")
    net = golden_net(golden).eval()
    found = alignment(net, golden["x"], golden["v"], golden["y"], loss)
    torch.testing.assert_close(found, golden["cosine"], rtol=0, atol=1e-8)
    assert golden["cosine"].min() < 0.99


def test_a_cosine_by_hand() -> None:
    """At x = (1, 1) the gradient points along (2, 1), at x + v = (1, 3) along (2, 3)."""
    x = torch.ones(1, 1, 1, 2, dtype=torch.float64)
    v = torch.tensor([0.0, 2.0], dtype=torch.float64).view_as(x)
    for loss in (cross_entropy, log_odds_against, margin):
        found = alignment(Parabola(2, 1), x, v, torch.tensor([0]), loss)
        assert found.item() == pytest.approx(7 / math.sqrt(5 * 13), abs=1e-14)
    across = alignment(Parabola(1, 1), x, -2 * x, torch.tensor([1]))
    assert across.item() == pytest.approx(-1, abs=1e-14)


def test_its_gradient_to_a_weight_by_hand() -> None:
    """cos of (a, b) and (a, 3b) is (a^2 + 3 b^2) / sqrt((a^2 + b^2)(a^2 + 9 b^2)); at a = 2, b = 1
    its derivative to a is 4 / sqrt(65) - 7 (2 * 13 + 2 * 5) / 65^1.5; and one picture of two
    without a gradient takes no part."""
    net = Parabola(2, 1)
    x = torch.tensor([[1.0, 1], [0, 0]], dtype=torch.float64).view(2, 1, 1, 2)
    v = torch.tensor([[0.0, 2], [1, 1]], dtype=torch.float64).view(2, 1, 1, 2)
    found = alignment(net, x, v, torch.tensor([0, 0]), create_graph=True)
    assert found[1].isnan()
    torch.where(found.isnan(), 0, found).sum().backward()
    assert net.a.grad is not None
    expected = 4 / math.sqrt(65) - 7 * 36 / 65**1.5
    assert net.a.grad[0].item() == pytest.approx(expected, abs=1e-14)
    # The cosine does not change with the length of a.
    assert net.a.grad[1].item() == pytest.approx(-2 * expected, abs=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
def test_a_linear_network_of_two_classes_has_one(loss: LossName, kind: str) -> None:
    found = ligs(linear(2), pictures(), Neighbour(kind, 0.3), loss=loss, draws=2)  # type: ignore[arg-type]
    assert found.value == pytest.approx(1, abs=1e-6) and found.dropped == 0
    assert found.cosines.shape == (2, 20)
    low, high = found.interval
    assert low <= found.value <= high <= 1


def test_without_v_it_is_one_of_any_network() -> None:
    split = pictures(classes=4)
    x = split.pixels(slice(None)).double()
    found = alignment(convolutional().double().eval(), x, torch.zeros_like(x), split.labels)
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_confidence_hides_no_gradient(scale: float) -> None:
    """Cross-entropy's own gradients are zero in float32 where the logits are so far apart."""
    split = pictures()
    net = linear(2, scale)
    found = ligs(net, split)
    assert found.dropped == 0 and found.value == pytest.approx(1, abs=1e-6)
    x = split.pixels(slice(None))
    naive = alignment(net, x, torch.full_like(x, 0.01), split.labels, cross_entropy)
    assert naive.isnan().sum() >= 5


class Dead(nn.Module):
    """Constant where the first pixel is dark, linear elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        lit = x.flatten(1)[:, :1] > 0.5
        bright = torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1)
        return torch.where(lit, bright, 0 * bright.detach())


def test_pictures_without_a_gradient_are_left_out_and_counted() -> None:
    split = pictures()
    rows = split.pixels(slice(None)).flatten(1)[:, 0]
    dark = int((rows < 0.5).sum())
    assert 0 < dark < 20 and (rows - 0.5).abs().min() > 0.003
    found = ligs(Dead(), split, Neighbour("uniform", 0.003))
    assert found.dropped == pytest.approx(dark / 20)
    m = found.measurement("test", "net")
    assert m.n == 20 - dark and m.setting["dropped"] == found.dropped
    assert m.value == pytest.approx(1, abs=1e-6)
    assert m.setting["v"] == "uniform" and m.setting["sigma"] == 0.003


def test_nan_is_not_taken_for_a_gradient_of_zero() -> None:
    net = linear(2)
    with torch.no_grad():
        net[1].weight[0, 0] = math.nan  # type: ignore[index]
    with pytest.raises(ValueError, match="the network gives NaN or infinite logits"):
        ligs(net, pictures())


def test_where_all_are_left_out_there_is_no_value() -> None:
    split = pictures()
    flat = Ligs(torch.full((2, 20), torch.nan), split.labels)
    assert flat.dropped == 1 and not flat.kept.any() and flat.by_class("ab", "test") == []
    with pytest.raises(ValueError, match="no picture of 20 has a LIGS: the gradient of the loss"):
        flat.measurement("test")


def test_means_intervals_classes_and_differences_by_hand() -> None:
    """Draws are averaged first; a draw without a cosine is left out of its picture's mean."""
    nan = math.nan
    one = Ligs(torch.tensor([[1.0, 0, nan, 0.5], [0, nan, nan, 0.5]]), torch.tensor([0, 0, 1, 1]))
    assert one.of_pictures[[0, 1, 3]].tolist() == [0.5, 0, 0.5] and one.dropped == 0.25
    assert one.value == pytest.approx(1 / 3)
    std = math.sqrt(((1 / 6) ** 2 * 2 + (1 / 3) ** 2) / 2)
    half = 1.959963984540054 * std / math.sqrt(3)
    assert one.interval == pytest.approx((1 / 3 - half, 1 / 3 + half))
    first, second = one.by_class(["a", "b"], "test", "net")
    assert (first.quantity, first.value, first.n) == ("class ligs", 0.25, 2)
    assert (second.setting["class"], second.value, second.n) == ("b", 0.5, 1)
    assert second.setting["dropped"] == 0.5
    other = Ligs(torch.tensor([[-1.0, -0.5, 1, nan]]), one.labels)
    gain = one.less(other, "test", "one − other")
    assert gain is not None and gain.n == 2 and gain.value == pytest.approx(1.0)
    half = 1.959963984540054 * math.sqrt(0.5) / math.sqrt(2)
    assert gain.interval == pytest.approx((1.0 - half, 1.0 + half))
    wide = Ligs(torch.tensor([[1.0, 1, 1, 1]]), one.labels)
    narrow = Ligs(torch.tensor([[-1.0, -1, -1, -1]]), one.labels)
    most = wide.less(narrow, "test", "")
    assert most is not None and most.value == 2 and most.interval is not None
    assert most.interval[1] == 2


def test_v_has_the_size_that_was_asked_for() -> None:
    draws, x = Draws(0, 0, torch.arange(64)), torch.zeros(64, 3, 8, 8)
    y = torch.zeros(64, dtype=torch.int64)
    gaussian, uniform = (Neighbour(kind, 0.1).v(linear(2), x, y, draws) for kind in NOISE)
    assert gaussian.std().item() == pytest.approx(0.1, rel=0.02)
    assert abs(gaussian.mean().item()) < 0.005 and gaussian.abs().max() > 0.3
    assert 0.099 < uniform.abs().max() <= 0.1 and uniform.std().item() == pytest.approx(
        0.1 / math.sqrt(3), rel=0.02
    )
    again = Neighbour("gaussian", 0.1).v(linear(2), x, y, draws, 1)
    assert not torch.equal(again, gaussian)


NOISE = ("gaussian", "uniform")


def test_adversarial_v_is_what_the_attack_adds() -> None:
    """On a linear network every step of PGD points the same way: v is eps times a sign."""
    split, net = pictures(), linear(2)
    attack = PGD(Linf(0.05), steps=3, random_start=False)
    x = 0.3 + 0.4 * split.pixels(slice(None))
    neighbour = Neighbour("adversarial", attack=attack)
    draws = Draws(0, 0, split.index)
    v = neighbour.v(net, x, split.labels, draws)
    layer = net[1]
    assert isinstance(layer, nn.Linear)
    towards = layer.weight[1 - split.labels] - layer.weight[split.labels]
    torch.testing.assert_close(v.flatten(1), 0.05 * towards.sign(), rtol=0, atol=1e-6)
    assert neighbour.setting["attack"] == "PGD" and neighbour.setting["eps"] == 0.05
    started = Neighbour("adversarial", attack=PGD(Linf(0.05), steps=1, step_size=0.001))
    first, second = (started.v(net, x, split.labels, draws, number) for number in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", ["gaussian", "adversarial"])
def test_a_cosine_belongs_to_its_picture(kind: str) -> None:
    split, net = pictures(classes=4), convolutional().double()
    attack = PGD(Linf(0.1), steps=2) if kind == "adversarial" else None
    beside = Neighbour(kind, 0.2, attack)  # type: ignore[arg-type]
    net = Doubling(net)
    whole = ligs(net, split, beside, draws=2, batch_size=20)
    rows = torch.tensor([3, 17, 4])
    part = ligs(net, split.take(rows), beside, draws=2, batch_size=2)
    torch.testing.assert_close(part.cosines, whole.cosines[:, rows], rtol=0, atol=1e-6)
    assert whole.value < 0.999, "the bound could tell"
    other = ligs(net, split, beside, draws=2, seed=1)
    assert not torch.allclose(other.cosines, whole.cosines, atol=1e-4)


class Doubling(nn.Module):
    """A network of doubles behind pixels of single precision."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.double())


def test_the_network_is_measured_in_eval_mode_and_left_as_it_was() -> None:
    net = convolutional().train()
    net[1].momentum = 0.5  # type: ignore[union-attr]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    trained = ligs(net, pictures(classes=4), batch_size=7)
    assert net.training and all(m.training for m in net)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert torch.equal(ligs(net.eval(), pictures(classes=4), batch_size=7).cosines, trained.cosines)


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    split, steps = pictures(), Steps(tmp_path)
    whole = ligs(Parabola12(), split, draws=2, steps=steps)

    def broken(x: Tensor) -> Tensor:
        raise AssertionError("it is kept")

    net = Parabola12()
    net.forward = broken  # type: ignore[method-assign]
    assert torch.equal(ligs(net, split, draws=2, steps=steps).cosines, whole.cosines)
    with pytest.raises(AssertionError, match="it is kept"):
        ligs(net, split, draws=3, steps=steps)


class Parabola12(Parabola):
    """Of twelve pixels of single precision."""

    def __init__(self) -> None:
        super().__init__(*range(1, 13))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.double())


def test_the_file_holds_every_cosine(tmp_path: Path) -> None:
    split = pictures(4)
    found = {"a/b": Ligs(torch.tensor([[1.0, math.nan, 0.5, 0]]), split.labels)}
    write_ligs(tmp_path / "ligs.npz", split, ["x", "y"], found)
    with np.load(tmp_path / "ligs.npz", allow_pickle=False) as held:
        np.testing.assert_array_equal(held["a/b/cosines"], [[1, math.nan, 0.5, 0]])
        assert held["index"].tolist() == [100, 101, 102, 103]
        assert held["labels"].tolist() == [0, 1, 0, 1] and held["classes"].tolist() == ["x", "y"]


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"sigma must be positive, such as 0\.01, not -1"):
        Neighbour(sigma=-1)
    for kind, attack in (("adversarial", None), ("uniform", PGD(Linf(0.1)))):
        with pytest.raises(ValueError, match="an attack goes with the kind 'adversarial'"):
            Neighbour(kind, attack=attack)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws must be at least 1, not 0"):
        ligs(linear(2), pictures(), draws=0)

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), 2)

    with pytest.raises(ValueError, match="no gradient to its input"):
        ligs(Constant(), pictures())
