"""Every kind of normalisation in the place of every other: by its formula, and back."""

from __future__ import annotations

import copy
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from hardy.finetuning.mrc import candidates
from hardy.finetuning.suffix import Suffixes
from hardy.losses import cross_entropy
from hardy.models.affine import Affine, settled
from hardy.models.architecture import Architecture
from hardy.models.exported import program_of
from hardy.models.folded import folded
from hardy.models.norm import NAMES, has_norm, must_keep_signal, with_norm
from hardy.models.norm_layers import BatchNorm, NormLayer, groups
from hardy.models.resnet import ResNet, slim_resnet18
from hardy.models.small import resnet2b, small_resnet
from hardy.modes import batchnorms

KINDS: tuple[NormLayer, ...] = get_args(NormLayer)


def values(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).double() * 2 + 1


def one_norm() -> nn.BatchNorm2d:
    """Four channels, every number of its own."""
    norm = nn.BatchNorm2d(4, eps=1e-3, momentum=0.2).double()
    numbers = {
        "weight": [1.5, -0.5, 2.0, 1.0],
        "bias": [0.25, 1.0, -1.0, 0.0],
        "running_mean": [0.5, -1.0, 2.0, 0.0],
        "running_var": [4.0, 0.25, 1.0, 9.0],
    }
    norm.load_state_dict({k: torch.tensor(v).double() for k, v in numbers.items()}, strict=False)
    return norm


def by_hand(x: Tensor, over: tuple[int, ...], norm: nn.BatchNorm2d) -> Tensor:
    """gamma (x - mean) / sqrt(var + eps) + beta with mean and var over some dimensions of x
    (B, groups, channels of a group, H, W)."""
    mean, var = x.mean(over, keepdim=True), x.var(over, correction=0, keepdim=True)
    flat = ((x - mean) / (var + 1e-3).sqrt()).flatten(1, 2)
    return norm.weight.view(-1, 1, 1) * flat + norm.bias.view(-1, 1, 1)


@pytest.mark.parametrize(
    ("kind", "of_group", "over"),
    [("bn", 1, (0, 3, 4)), ("gn", 2, (2, 3, 4)), ("ln", 4, (2, 3, 4)), ("in", 1, (2, 3, 4))],
)
def test_each_kind_by_its_formula(kind: NormLayer, of_group: int, over: tuple[int, ...]) -> None:
    norm, x = one_norm(), values(3, 4, 5, 5)
    found = with_norm(norm, kind)
    expected = by_hand(x.unflatten(1, (-1, of_group)), over, norm)
    torch.testing.assert_close(found(x), expected, rtol=0, atol=1e-12)
    if kind != "bn":
        torch.testing.assert_close(found.eval()(x), expected, rtol=0, atol=1e-12)


def test_none_is_gamma_x_plus_beta_with_the_statistics_folded_into_them() -> None:
    norm, x = one_norm(), values(3, 4, 5, 5)
    found = with_norm(norm, "none")
    assert isinstance(found, Affine) and norm.weight.tolist() == [1.5, -0.5, 2.0, 1.0]
    assert found.weight[1].item() == pytest.approx(-0.5 / (0.25 + 1e-3) ** 0.5)
    assert found.bias[1].item() == pytest.approx(1 - 0.5 / (0.25 + 1e-3) ** 0.5)
    for training in (True, False):
        torch.testing.assert_close(found.train(training)(x), norm.eval()(x), rtol=0, atol=1e-12)
    new = with_norm(nn.BatchNorm2d(4), "none")
    assert torch.equal(new(x[:, :, 0]), x[:, :, 0]), "no statistics yet: the identity"


@pytest.mark.parametrize(
    ("channels", "count"),
    [(1, 1), (2, 1), (3, 1), (4, 2), (7, 1), (9, 3), (16, 8), (24, 12), (64, 32), (96, 32)],
)
def test_groups_of_at_least_two_channels_and_at_most_32(channels: int, count: int) -> None:
    assert groups(channels) == count


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_normalised_by_channel_over_the_right_dimension(kind: NormLayer) -> None:
    """A LayerNorm of (B, N, C): what replaces it sees the C of the last dimension."""
    old, x = nn.LayerNorm(6, eps=1e-3).double(), values(3, 7, 6)
    nn.init.uniform_(old.weight, 0.5, 2)
    nn.init.uniform_(old.bias, -1, 1)
    grouped = x.unflatten(2, (3, 2))
    dims = {"bn": (0, 1, 3), "gn": (1, 3), "ln": (2, 3), "in": (1,), "none": ()}[kind]
    if kind == "bn":
        mean, var = x.mean((0, 1)), x.var((0, 1), correction=0)
    elif kind == "none":
        mean, var = torch.zeros(()), torch.tensor(1 - 1e-3)
    else:
        mean = grouped.mean(dims, keepdim=True).expand_as(grouped).flatten(2)
        var = grouped.var(dims, correction=0, keepdim=True).expand_as(grouped).flatten(2)
    expected = old.weight * (x - mean) / (var + 1e-3).sqrt() + old.bias
    found = with_norm(old, kind)
    torch.testing.assert_close(found(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found(x[:, :1].expand(3, 2, 6)).shape, torch.Size((3, 2, 6)))


def test_a_channel_last_layer_of_one_position_and_of_maps() -> None:
    old = nn.LayerNorm(6)
    for shape in ((3, 6), (3, 4, 5, 6)):
        for kind in ("bn", "gn", "ln", "none"):
            x = values(*shape).float()
            assert with_norm(old, kind)(x).shape == x.shape


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("then", KINDS)
def test_what_comes_out_is_the_same_whatever_kind_was_in_between(
    first: NormLayer, then: NormLayer
) -> None:
    torch.manual_seed(0)
    net: Any = nn.ModuleList([nn.BatchNorm2d(8), nn.LayerNorm(8, eps=1e-6), nn.GroupNorm(2, 8)])
    once: Any = with_norm(net, then)
    twice: Any = with_norm(with_norm(net, first), then)
    assert list(once.state_dict()) == list(twice.state_dict())
    for i, x in enumerate((values(2, 8, 3, 3), values(2, 3, 8), values(2, 8, 3, 3))):
        ours, theirs = once[i](x.float()), twice[i](x.float())
        assert torch.equal(ours, theirs)
    again = with_norm(once, then)
    assert [type(m) for m in again.modules()] == [type(m) for m in once.modules()]
    parameters = sum(p.numel() for p in once.parameters())
    assert parameters == sum(p.numel() for p in net.parameters()) == 48


def test_a_layer_that_is_used_twice_stays_one_and_modes_stay() -> None:
    norm = nn.BatchNorm2d(4).eval()
    norm.weight.requires_grad_(False)
    net = nn.Sequential(norm, nn.ReLU(), norm).train()
    norm.eval()
    found: Any = with_norm(net, "gn")
    assert found[0] is found[2] is not norm
    assert found.training and not found[0].training
    assert [p.requires_grad for p in found.parameters()] == [False, True]
    assert net[0] is norm, "the network itself stays"


def test_a_batchnorm_without_gamma_gets_one_and_keeps_its_statistics() -> None:
    norm = nn.BatchNorm2d(4, affine=False)
    norm(values(3, 4, 5, 5).float())
    for kind in KINDS:
        state = with_norm(norm, kind).state_dict()
        assert state["weight"].shape == state["bias"].shape == (4,)
    kept = with_norm(norm, "bn")
    assert norm.running_var is not None
    assert torch.equal(kept.state_dict()["running_var"], norm.running_var)
    assert norm.eval()(x := values(3, 4, 5, 5).float()).equal(kept.eval()(x))


def test_running_statistics_of_a_resnet_fold_into_the_same_logits() -> None:
    net = after_batches(slim_resnet18())
    x = values(4, 3, 16, 16).sigmoid()
    net.eval().double()
    torch.testing.assert_close(with_norm(net, "none")(x), net(x), rtol=0, atol=1e-9)


def after_batches(net: nn.Module) -> nn.Module:
    """A BatchNorm network after a few batches, with gammas of its own."""
    generator = torch.Generator().manual_seed(1)
    for norm in batchnorms(net):
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.uniform_(-0.5, 0.5, generator=generator)
    with torch.no_grad():
        for _ in range(2):
            net(values(8, 3, 16, 16).sigmoid().float())
    return net


@pytest.mark.parametrize("kind", KINDS)
def test_nets_of_all_kinds_train_a_step(kind: NormLayer) -> None:
    torch.manual_seed(0)
    net = with_norm(small_resnet(), kind)
    x, y = values(8, 1, 8, 8).float().sigmoid(), torch.arange(8)
    cross_entropy(net(x), y).mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name
    assert candidates(net) == candidates(small_resnet())
    assert [p.shape for p in net.parameters()] == [p.shape for p in small_resnet().parameters()]
    assert bool(batchnorms(net)) == (kind == "bn")


@pytest.mark.parametrize("kind", ["bn", "gn", "none"])
def test_suffixes_folding_and_export_follow_them(kind: NormLayer) -> None:
    torch.manual_seed(0)
    net = with_norm(after_batches(ResNet((1, 1), 5, 3, "none", 8)), kind).eval()
    x = values(9, 3, 16, 16).sigmoid().float()
    said: list[str] = []
    suffixes = Suffixes(net, x, candidates(net), note=said.append)
    logits = suffixes.cut("layer2.0.conv1")(slice(0, 9))
    torch.testing.assert_close(logits, net(x), rtol=0, atol=1e-5)
    assert not said, "none of it is run in full"
    less = len(batchnorms(folded(net, x))) < len(batchnorms(net))
    assert less == (kind == "bn"), "where there is BatchNorm, it is folded"
    exported = program_of(net, (3, 16, 16)).module()
    torch.testing.assert_close(exported(x), net(x), rtol=0, atol=1e-5)


def test_the_fast_path_of_torchs_transformer_computes_the_swapped_layers_too() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    x = values(3, 5, 8).float()
    for kind in KINDS:
        net = with_norm(layer, kind).eval()
        with torch.no_grad():
            fast = net(x)
        torch.testing.assert_close(fast, net(x), rtol=0, atol=1e-5)
        assert kind == "ln" or (fast - layer.eval()(x)).abs().max() > 0.1


def test_one_position_leaves_nothing_to_normalise_it_by() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 3), nn.BatchNorm2d(4), nn.Flatten())
    norm: Any = with_norm(net, "in")
    must_keep_signal(norm, torch.rand(1, 3, 6, 6))
    with pytest.raises(ValueError, match=r"at 1 a map is of one position.*take bn, gn, ln or none"):
        must_keep_signal(norm, torch.rand(2, 3, 3, 3))
    must_keep_signal(with_norm(net, "ln"), torch.rand(1, 3, 3, 3))
    pairs = with_norm(net, "gn")  # two groups of two channels
    must_keep_signal(pairs, torch.rand(1, 3, 6, 6))
    left = with_norm(nn.BatchNorm2d(4), "gn")(torch.tensor([1.0, 3, 5, -2]).view(1, 4, 1, 1))
    torch.testing.assert_close(left.flatten(), torch.tensor([-1.0, 1, 1, -1]), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"at 1 two values are normalised by them.*bn, ln or none"):
        must_keep_signal(pairs, torch.rand(1, 3, 3, 3))
    assert not norm[1]._forward_pre_hooks, "it leaves nothing behind"


def test_what_cannot_be_swapped_is_said_in_a_line() -> None:
    with pytest.raises(ValueError, match="no normalisation that gn could take the place of"):
        with_norm(resnet2b(), "gn")
    plain = with_norm(resnet2b(), "none")
    assert not has_norm(plain) and len(plain.state_dict()) == len(resnet2b().state_dict())
    with pytest.raises(ValueError, match=r"a LayerNorm normalises over \(4, 5, 5\), more than"):
        with_norm(nn.LayerNorm([4, 5, 5]), "bn")
    with pytest.raises(ValueError, match="one of bn, gn, ln, in, none, not 'gnn'"):
        Architecture("resnet18", 10, 3, "none", norm="gnn")  # type: ignore[arg-type]
    assert tuple(NAMES) == KINDS

    class Own(nn.BatchNorm2d):
        def __init__(self) -> None:
            super().__init__(4)
            self.gate = nn.Linear(4, 4)

    with pytest.raises(ValueError, match=r"a Own does more than normalise \(gate in it\)"):
        with_norm(Own(), "gn")


def test_an_architecture_builds_its_kind_behind_the_pixels_normalisation() -> None:
    spec = Architecture("thin_resnet18", 7, 3, "cifar10", 16, "gn")
    assert spec.described()["norm"] == "gn" and spec.title == "thin_resnet18 with GroupNorm"
    torch.manual_seed(0)
    net = spec.build()
    torch.manual_seed(0)
    usual = Architecture("thin_resnet18", 7, 3, "cifar10", 16).build()
    assert not batchnorms(net) and "norm" not in Architecture("resnet18", 7, 3, "none").described()
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(net(x), with_norm(usual, "gn")(x))


def test_timms_layers_keep_their_activation_and_their_layout() -> None:
    vision_ops = pytest.importorskip("vision_ops")
    from timm.layers.norm import LayerNorm2d
    from timm.layers.norm_act import BatchNormAct2d, GroupNormAct

    del vision_ops
    x = values(3, 4, 5, 5)
    for make in (BatchNormAct2d, lambda c: GroupNormAct(c, group_size=2)):
        old: Any = make(4).double()
        out = with_norm(old, "gn")(x)
        plain = with_norm(nn.BatchNorm2d(4, eps=old.eps).double(), "gn")(x)
        assert torch.equal(out, plain.relu()) and (out == 0).any()
        back = with_norm(with_norm(old, "none"), "bn")
        expected = nn.BatchNorm2d(4, eps=old.eps).double()(x).relu()
        torch.testing.assert_close(back(x), expected, rtol=0, atol=1e-12)
    pixels = with_norm(LayerNorm2d(4, eps=1e-5).double(), "ln")
    expected = nn.GroupNorm(1, 4).double()(x)
    torch.testing.assert_close(pixels(x), expected, rtol=0, atol=1e-12)
    assert isinstance(with_norm(LayerNorm2d(4), "bn"), BatchNorm)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        "timm:efficientnet_b0",
        "timm:convnext_atto",
        "timm:vit_tiny_patch16_224",
        "timm:resnetv2_50x1_bit",
        "torchvision:convnext_tiny",
        "torchvision:swin_t",
        "torchvision:vit_b_16",
    ],
)
def test_networks_of_the_libraries(model: str) -> None:
    pytest.importorskip("vision_ops")
    size = 224 if "vit" in model else 64
    torch.manual_seed(0)
    usual = Architecture(model, 3, 3, "none").build()
    x = values(2, 3, size, size).sigmoid().float()
    count = sum(p.numel() for p in usual.parameters())
    for kind in ("bn", "gn", "none"):
        net = with_norm(usual, kind).train()
        net = settled(net, x) if kind == "none" else net
        assert net(x).isfinite().all() and sum(p.numel() for p in net.parameters()) == count
        assert bool(batchnorms(net)) == (kind == "bn")
        assert not any(isinstance(m, nn.LayerNorm) for m in net.modules())
    if "resnetv2" not in model and "efficientnet" not in model:
        same = with_norm(copy.deepcopy(usual), "ln").eval()
        assert list(same.state_dict()) == list(usual.state_dict())
