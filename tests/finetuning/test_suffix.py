"""A suffix is the full network, bit for bit: of our own networks and of nasty ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hardy.finetuning.mrc import candidates
from hardy.finetuning.suffix import PROBE, LogitsOf, Suffixes, weight_of
from hardy.losses import cross_entropy
from hardy.models.architecture import ZOO
from hardy.models.mobilenetv2 import mobilenetv2
from hardy.models.preact_resnet import preact_resnet18
from hardy.models.resnet import resnet18, resnet34, slim_resnet18, thin_resnet18
from hardy.models.small import mnist_cnn, resnet2b, small_resnet
from hardy.models.wide_resnet import wide_resnet
from hardy.modes import autocast

Net = Callable[[], nn.Module]

# Every network of the zoo, thin where its function lets us: the graph is the same.
OURS: dict[str, tuple[Net, tuple[int, int, int]]] = {
    "small_resnet": (small_resnet, (1, 8, 8)),
    "resnet18": (lambda: resnet18(width=4, normalize="cifar10"), (3, 16, 16)),
    "resnet34": (lambda: resnet34(width=4), (3, 16, 16)),
    "thin_resnet18": (thin_resnet18, (3, 8, 8)),
    "slim_resnet18": (slim_resnet18, (3, 8, 8)),
    "preact_resnet18": (lambda: preact_resnet18(width=4, normalize="cifar10"), (3, 16, 16)),
    "wrn28_10": (lambda: wide_resnet(28, 1), (3, 8, 8)),
    "wrn34_10": (lambda: wide_resnet(34, 1), (3, 8, 8)),
    "mobilenetv2": (lambda: mobilenetv2(width=0.125, normalize="cifar10"), (3, 8, 8)),
    "resnet2b": (resnet2b, (3, 32, 32)),
    "mnist_cnn": (mnist_cnn, (1, 28, 28)),
}


def lively(model: nn.Module) -> nn.Module:
    """Weights and statistics that no two channels share, in eval mode."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def same_as_full(model: nn.Module, x: Tensor, chunk: int) -> str:
    """Hold every candidate's suffix to the full network; the notes, joined.

    Kernels round by the size of the batch, so bits are compared where the rows are as many
    as the pictures whose values were cached at once; elsewhere, to rounding.
    """
    names = candidates(model)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    attributes = set(vars(model))
    pictures = x.clone()
    torch.manual_seed(1)
    y = torch.randint(0, 3, (len(x),))
    notes: list[str] = []

    suffixes = Suffixes(model, x, names, chunk=chunk, note=notes.append)
    assert sorted(suffixes.order) == sorted(names)
    weights = [weight_of(model, name) for name in suffixes.order]
    rows = [
        slice(len(x) - chunk, len(x)),
        # Any order, but where a picture's rows in a matrix, and so their rounding, move with it.
        torch.arange(chunk) if isinstance(model, BatchSecond) else torch.randperm(len(x))[:chunk],
    ]
    wanted = [_logits_and_gradients(model, x[r].clone(), y[r], weights) for r in rows]
    for i, (name, weight) in enumerate(zip(suffixes.order, weights, strict=True)):
        logits_of = suffixes.cut(name)
        for r, (logits, gradients) in zip(rows, wanted, strict=True):
            _assert_equal(logits_of, r, y, weight, logits, gradients[i])
        origin = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(1.25).add_(torch.randn_like(origin), alpha=0.01)
            assert torch.allclose(logits_of(slice(None)), model(x.clone()), rtol=1e-4, atol=1e-5)
        logits, (gradient,) = _logits_and_gradients(model, x[rows[1]], y[rows[1]], [weight])
        _assert_equal(logits_of, rows[1], y, weight, logits, gradient)
        with torch.no_grad():
            weight.copy_(origin)

    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model.state_dict().keys() == state.keys()
    assert [module.training for module in model.modules()] == modes
    assert set(vars(model)) == attributes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(x, pictures)
    return " ".join(notes)


def _logits_and_gradients(
    forward: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, weights: list[nn.Parameter]
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    logits = forward(x)
    loss = cross_entropy(logits, y).sum()
    return logits, torch.autograd.grad(loss, weights, allow_unused=True)


def _assert_equal(
    logits_of: LogitsOf,
    rows: slice | Tensor,
    y: Tensor,
    weight: nn.Parameter,
    logits: Tensor,
    gradient: Tensor | None,
) -> None:
    """The suffix gives these logits and this gradient, bit for bit."""
    found = logits_of(rows)
    assert torch.equal(found, logits)
    (mine,) = torch.autograd.grad(cross_entropy(found, y[rows]).sum(), weight, allow_unused=True)
    assert (mine is None) == (gradient is None)
    assert mine is None or gradient is None or torch.equal(mine, gradient)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_our_networks_need_no_fallback(name: str) -> None:
    make, shape = OURS[name]
    torch.manual_seed(0)
    model = lively(make())
    assert same_as_full(model, torch.rand(12, *shape), chunk=4) == ""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["mnist_cnn", "resnet2b", "small_resnet"])
def test_no_fallback_where_kernels_round_by_the_size_of_the_batch(
    name: str, precision: str
) -> None:
    """Linear maps of linear maps: a batch of 256 gives other bits than one of 8."""
    make, shape = OURS[name]
    torch.manual_seed(0)
    model = lively(make())
    notes: list[str] = []
    with autocast("cpu", precision):
        suffixes = Suffixes(model, torch.rand(256, *shape), candidates(model), note=notes.append)
        for module in suffixes.order:
            suffixes.cut(module)
    assert notes == []


def test_order_is_that_of_execution() -> None:
    model = lively(preact_resnet18(width=4))
    order = Suffixes(model, torch.rand(2, 3, 8, 8), candidates(model)[::-1]).order
    # The projection of a pre-activation block is registered last and run after both maps.
    assert order[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert order[-1] == "linear"
    assert sorted(order) == sorted(candidates(model))


def test_cuts_may_be_taken_alone_and_backwards() -> None:
    model = lively(resnet18(width=4))
    x = torch.rand(6, 3, 8, 8)
    suffixes = Suffixes(model, x, candidates(model), chunk=6)
    with torch.no_grad():
        whole = model(x)
        for name in ("linear", "layer2.0.shortcut.0", "conv1", "layer4.1.conv2"):
            assert torch.equal(suffixes.cut(name)(slice(None)), whole)


def test_disabled_runs_the_full_network() -> None:
    model = lively(small_resnet())
    x = torch.rand(4, 1, 8, 8)
    notes: list[str] = []
    suffixes = Suffixes(model, x, candidates(model), enabled=False, note=notes.append)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        suffixes.cut("linear")(slice(None))
    with FlopCounterMode(display=False) as whole, torch.no_grad():
        model(x)
    assert counter.get_total_flops() == whole.get_total_flops()
    assert notes == [] and suffixes.order == candidates(model)


def test_a_late_module_is_cheap() -> None:
    model = lively(resnet18(width=16))
    x, y = torch.rand(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64)
    name = "layer4.1.conv1"
    weight = weight_of(model, name)
    logits_of = Suffixes(model, x, [name]).cut(name)

    def cost(forward: Callable[[], Tensor], weights: list[nn.Parameter]) -> int:
        with FlopCounterMode(display=False) as counter:
            torch.autograd.grad(cross_entropy(forward(), y).sum(), weights)
        return counter.get_total_flops()

    full = cost(lambda: model(x), list(model.parameters()))
    model.requires_grad_(False)
    weight.requires_grad_()
    assert 0 < cost(lambda: logits_of(slice(None)), [weight]) < 0.2 * full


# Networks that do what a cache of values must survive.


class Nasty(nn.Module):
    """Two convolutions and a head; subclasses say how they are put together."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, padding=1)
        self.two = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def tail(self, h: Tensor) -> Tensor:
        return self.head(h.mean((2, 3)))


class InPlaceModule(Nasty):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.relu(self.two(self.relu(self.one(x)))))


class InPlaceFunctions(Nasty):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(torch.relu_(self.two(F.relu_(self.one(x)))))


class UnassignedInPlace(Nasty):
    """The result of the in-place call is not used: data flow alone does not show it."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        torch.relu_(h)
        return self.tail(self.two(h))


class AddedInPlace(Nasty):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(x))
        out = self.two(x)
        out += x
        return self.tail(F.relu(out, inplace=True))


class AddedToTheShortcut(Nasty):
    """The kept value itself is changed by the dependent part."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.tail(x.add_(self.two(x * 2)))


class PreActivatedInPlace(Nasty):
    """The shortcut reads what the activation has already changed."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        active = F.relu(x, inplace=True)
        return self.tail(self.two(active) + x)


class ChangedUnderAnAlias(Nasty):
    """`kept` is another name of `h`, which is changed through it after the map."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        kept = h
        kept += 1
        out = self.two(kept * 2)
        out += h
        h.mul_(2)
        return self.tail(out + kept)


class Dropping(Nasty):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = F.dropout(self.drop(self.one(x)).relu(), 0.5, self.training)
        return self.tail(self.drop(self.two(h)))


class CalledTwice(Nasty):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.two(self.two(self.one(x)).relu()).relu())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.second = nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x.flatten(1)[:, :12]).relu()).relu())


class Functional(Nasty):
    """A weight that is computed: it has no rows, so it is computed again."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.conv2d(x, self.one.weight, self.one.bias, padding=1).relu()
        h = F.conv2d(h, self.two.weight * 0.5, padding=1).relu()
        return F.linear(h.mean((2, 3)), self.head.weight, self.head.bias)


class Branches(Nasty):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 2, 1)
        self.right = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.one(x).relu().chunk(2, dim=1)
        h = torch.cat([self.left(left), self.right(right).relu()], 1)
        return self.tail(self.two(h) + h)


class Viewed(nn.Module):
    """Views by a size that is read off a dependent value, and off the input."""

    def __init__(self, *, of_input: bool) -> None:
        super().__init__()
        self.of_input = of_input
        self.one = nn.Conv2d(3, 4, 3, stride=2)
        self.two = nn.Linear(36, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x).relu()
        h = h.view((x if self.of_input else h).size(0), -1)
        h = self.two(h).relu()
        return self.head(torch.flatten(h.view(h.shape[0], 3, 4), 1))


class Buffers(Nasty):
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 2, 6).view(-1, 1, 1))
        self.shift = nn.Parameter(torch.linspace(-1, 1, 6).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x - torch.linspace(0, 0.5, 8)) * self.scale + self.shift
        return self.tail((self.two(h) + self.shift) / self.scale)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(24, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.flatten(2).transpose(1, 2).reshape(-1, 8, 24))
        seen, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.head((tokens + self.mix(seen).relu()).mean(1))


class ChangesItsInput(Nasty):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.two(self.one(x.sub_(0.5).mul_(2)).relu()))


class ChangesItsInputUnassigned(Nasty):
    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        return self.tail(self.two(self.one(x).relu()) + x.mean(1, keepdim=True))


class DependsOnData(Nasty):
    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        if h.sum() > 0:
            h = h.relu()
        return self.tail(self.two(h))


class BatchSecond(nn.Module):
    """Tokens first, pictures second, as nn.MultiheadAttention has it by default."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(24, 10)
        self.two = nn.Linear(10, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, 8, 24).transpose(0, 1)
        h = self.two(self.one(tokens).relu())
        return self.head(h.transpose(0, 1).mean(1))


class SizedByTokens(nn.Module):
    """A class token for each picture, and a size that two values share."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(24, 8)
        self.token = nn.Parameter(torch.linspace(-1, 1, 8).view(1, 1, 8))
        self.scale = nn.Parameter(torch.linspace(0.5, 1, 8))
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.flatten(2).transpose(1, 2).reshape(len_of(x), -1, 24))
        count, length, width = tokens.shape
        tokens = torch.cat([self.token.expand(count, -1, -1), tokens], 1)
        tokens = tokens + self.mix(tokens) * self.scale.reshape(1, 1, -1)
        return self.head(tokens.reshape(count, length + 1, width)[:, 0])


def len_of(x: Tensor) -> int:
    return x.shape[0]


class Branching(nn.Module):
    """Its own code branches on values; it holds one of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x) if x.shape[-1] > 2 else x


class PartlyBranching(Nasty):
    def __init__(self) -> None:
        super().__init__()
        self.branching = Branching()

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.two(self.branching(self.one(x)).relu()))


class Unused(Nasty):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.two(self.one(x).relu()))


class MixesPictures(Nasty):
    """No function of a picture: its logits depend on the rest of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x).relu()
        return self.tail(self.two(h - h.mean(0)))


NASTY: dict[str, tuple[Net, set[str]]] = {
    # name: (network, the candidates for which the full network has to be run)
    "in-place module": (InPlaceModule, set()),
    "in-place functions": (InPlaceFunctions, set()),
    "in-place, unassigned": (UnassignedInPlace, {"two", "head"}),
    "added in place": (AddedInPlace, set()),
    "added to the shortcut": (AddedToTheShortcut, set()),
    "pre-activated in place": (PreActivatedInPlace, set()),
    "changed under an alias": (ChangedUnderAnAlias, {"one", "two", "head"}),
    "dropout": (Dropping, set()),
    "called twice": (CalledTwice, set()),
    "tied": (Tied, set()),
    "functional": (Functional, set()),
    "branches": (Branches, set()),
    "viewed by its own size": (lambda: Viewed(of_input=False), set()),
    "viewed by the input's size": (lambda: Viewed(of_input=True), set()),
    "buffers": (Buffers, set()),
    "attention": (Attention, set()),
    "changes its input": (ChangesItsInput, set()),
    "changes its input, unassigned": (ChangesItsInputUnassigned, {"one", "two", "head"}),
    "batch second": (BatchSecond, set()),
    "sized by tokens": (SizedByTokens, set()),
    "unused": (Unused, {"idle"}),
}


@pytest.mark.parametrize(("count", "chunk"), [(12, 4), (5, 5), (8, 8), (2, 2)])
@pytest.mark.parametrize("name", NASTY)
def test_nasty_networks_are_right(name: str, count: int, chunk: int) -> None:
    """Where a suffix cannot be trusted the full network is run, and it is said."""
    make, falls = NASTY[name]
    torch.manual_seed(0)
    model = make().eval()
    notes = same_as_full(model, torch.rand(count, 3, 8, 8), chunk)
    said = {part.split(":")[0].split()[-1] for part in notes.split(", so the full")[:-1]}
    assert said == falls, notes


def test_untraceable_networks_are_run_in_full_and_it_is_said_once() -> None:
    model = DependsOnData().eval()
    notes = same_as_full(model, torch.rand(12, 3, 8, 8), 4)
    assert notes.startswith("The network cannot be traced") and notes.count("run in full") == 1


def test_a_module_that_cannot_be_traced_is_run_as_a_whole() -> None:
    torch.manual_seed(0)
    model = PartlyBranching().eval()
    notes = same_as_full(model, torch.rand(12, 3, 8, 8), 4)
    assert notes.startswith("Branching cannot be traced") and notes.count(".") == 1
    x = torch.rand(4, 3, 8, 8)
    logits_of = Suffixes(model, x, ["branching.map"]).cut("branching.map")
    with FlopCounterMode(display=False) as part, torch.no_grad():
        logits_of(slice(None))
    with FlopCounterMode(display=False) as whole, torch.no_grad():
        model(x)
    first = 2 * 4 * 3 * 6 * 9 * 8 * 8  # what the convolution `one` takes
    assert part.get_total_flops() == whole.get_total_flops() - first


def test_a_network_that_mixes_pictures_is_run_in_full() -> None:
    """x - x.mean(0) of a batch of eight is not that of a batch of two hundred."""
    torch.manual_seed(0)
    model = MixesPictures().eval()
    x = torch.rand(PROBE + 4, 3, 8, 8)
    notes: list[str] = []
    suffixes = Suffixes(model, x, candidates(model), note=notes.append)
    rows = slice(0, 3)
    for name in suffixes.order:
        assert torch.equal(suffixes.cut(name)(rows), model(x[rows]))
    assert {note.split(":")[0] for note in notes} == {"two", "head"}


def test_values_with_other_rows_than_pictures_are_never_taken_for_pictures() -> None:
    """As many tokens as pictures: the shape alone does not tell them apart."""
    torch.manual_seed(0)
    model = BatchSecond().eval()
    x = torch.rand(8, 3, 8, 8)
    suffixes = Suffixes(model, x, candidates(model))
    for name in suffixes.order:
        assert torch.allclose(suffixes.cut(name)(slice(1, 3)), model(x[1:3]), atol=1e-6)


def test_one_picture_suffices() -> None:
    model = lively(small_resnet())
    x = torch.rand(1, 1, 8, 8)
    notes: list[str] = []
    suffixes = Suffixes(model, x, candidates(model), note=notes.append)
    for name in suffixes.order:
        assert torch.equal(suffixes.cut(name)(slice(None)), model(x))
    assert notes == []
