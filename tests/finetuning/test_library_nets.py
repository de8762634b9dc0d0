"""Criticality, tuning and what is measured beside them, of networks of timm and torchvision:
ResNets, ConvNeXt, and ViTs with timm's attention and with torch's MultiheadAttention."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_mrc_values import condition, plainly, same_condition
from test_suffix import lively, same_as_full
from torch import Tensor, nn

from hardy.data.splits import Split
from hardy.evaluation.footprint import forward_operations, parameters
from hardy.evaluation.preflight import preflight
from hardy.finetuning.mrc import Ascent, candidates, mrc
from hardy.finetuning.suffix import Suffixes, weight_of
from hardy.finetuning.tune import Candidate, has_batchnorm
from hardy.models.exported import program_of
from hardy.models.folded import folded
from hardy.threat import Linf
from vision_ops import timm, torchvision


def resnet() -> nn.Module:
    """Bottlenecks, as in ResNet-50, and a deep stem."""
    return timm.create_model(
        "resnet26t", num_classes=4, channels=(8, 8, 16, 16), layers=(1, 1, 1, 1)
    )


def convnext() -> nn.Module:
    return timm.create_model(
        "convnext_atto", num_classes=4, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), patch_size=2
    )


def timm_vit() -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return timm.create_model(
        "vit_tiny_patch16_224", num_classes=4, init_values=0.5, drop_path_rate=0.1, **sizes
    )


def torchvision_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        num_classes=4,
        dropout=0.1,
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    "ResNet": resnet,
    "ConvNeXt": convnext,
    "ViT of timm": timm_vit,
    "ViT of torchvision": torchvision_vit,
}


def stirred(network: nn.Module) -> nn.Module:
    """In eval mode, with no weight at zero: the libraries begin with heads and scales that are,
    and the gradients of what lies before them are zero too."""
    lively(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return stirred(NETS[name]())


def pictures(count: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(count, 3, 32, 32, generator=draw)
    return x, torch.randint(4, (count,), generator=draw)


def split_of(count: int) -> Split:
    x, y = pictures(count)
    return Split((x * 255).round().byte(), y, torch.arange(count), "test")


# criticality


@pytest.mark.parametrize("name", NETS)
def test_a_suffix_is_the_full_network(name: str) -> None:
    assert same_as_full(made(name), pictures(12)[0], chunk=4) == ""


def test_weights_of_attention_are_modules() -> None:
    layer = "encoder.layers.encoder_layer_0."
    found = candidates(torchvision_vit())
    assert found[:5] == [
        "conv_proj",
        f"{layer}self_attention.in_proj_weight",
        f"{layer}self_attention.out_proj",
        f"{layer}mlp.0",
        f"{layer}mlp.3",
    ]
    assert len(found) == 1 + 2 * 4 + 1 and found[-1] == "heads.head"
    parts = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    blocks = [f"blocks.{i}.{part}" for i in (0, 1) for part in parts]
    assert candidates(timm_vit()) == ["patch_embed.proj", *blocks, "head"]


@pytest.mark.parametrize("name", NETS)
def test_mrc_by_suffix_is_that_of_the_full_network(name: str) -> None:
    """And of the last modules, that of a plain rewriting."""
    network = made(name)
    x, y = pictures(12)
    x_adv = (x + 0.03 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).clamp(
        0, 1
    )
    before = condition(network)
    ascent = Ascent(steps=3, step=0.05)
    notes: list[str] = []
    cached = {c.module: c for c in mrc(network, x, x_adv, y, ascent=ascent, note=notes.append)}
    assert notes == [] and cached.keys() == set(candidates(network))
    full = {c.module: c for c in mrc(network, x, x_adv, y, ascent=ascent, cached=False)}
    assert same_condition(network, before)
    for module, one in cached.items():
        assert one.mrc == pytest.approx(full[module].mrc, rel=1e-3, abs=1e-6), module
        assert one.conflict == pytest.approx(full[module].conflict, abs=1e-4), module
        assert one.mrc > 0, module
    for module in list(cached)[-5:]:
        value, _ = plainly(network, module, x_adv, y, ascent)
        assert cached[module].mrc == pytest.approx(value, rel=1e-3, abs=1e-6), module


@pytest.mark.parametrize("part", ["in_proj_weight", "out_proj"])
def test_attention_without_gradients_sees_a_moved_weight(part: str) -> None:
    """torch takes another way through it then, past the forward of its output projection."""
    network = made("ViT of torchvision")
    x, _ = pictures(6)
    name = f"encoder.layers.encoder_layer_1.self_attention.{part}"
    logits_of = Suffixes(network, x, [name]).cut(name)
    before = network(x).detach()
    weight = weight_of(network, name)
    with torch.no_grad():
        weight.mul_(1.5)
        fast = network(x)
        by_suffix = logits_of(slice(None))
    assert not torch.allclose(fast, before, atol=1e-3)
    torch.testing.assert_close(fast, network(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast, by_suffix, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "module", "parameter"),
    [
        ("ViT of torchvision", "encoder.layers.encoder_layer_0.self_attention.in_proj_weight", ""),
        ("ViT of torchvision", "encoder.layers.encoder_layer_0.self_attention.out_proj", ".weight"),
        ("ViT of timm", "blocks.1.attn.qkv", ".weight"),
        ("ConvNeXt", "stages.2.blocks.1.mlp.fc1", ".weight"),
    ],
)
def test_exactly_a_module_s_weight_is_tuned(name: str, module: str, parameter: str) -> None:
    network = NETS[name]()
    assert Candidate((module,), 0.1).trainable(network) == {module + parameter}
    assert not has_batchnorm(network)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("resnet50", {}),
        ("convnext_atto", {}),
        ("vit_tiny_patch16_224", {"img_size": 32}),
        ("mobilevit_xxs", {}),
    ],
)
def test_networks_of_full_size(name: str, more: dict[str, int]) -> None:
    """No suffix falls back; a module that cannot be traced is said, and run as a whole."""
    torch.manual_seed(0)
    network = stirred(timm.create_model(name, num_classes=10, **more))
    x, y = pictures(16)
    notes: list[str] = []
    few = candidates(network)[3::9]
    setting = {"modules": few, "ascent": Ascent(steps=2), "note": notes.append}
    found = list(mrc(network, x, x.flip(-1), y, **setting))
    assert {one.module for one in found if one.conflict != 0} == set(few)
    said = ["MobileVitBlock cannot be traced"] if name == "mobilevit_xxs" else []
    assert [note[: len(said[0])] for note in notes] == said
    full = {one.module: one for one in mrc(network, x, x.flip(-1), y, **setting, cached=False)}
    for one in found:
        assert one.mrc == pytest.approx(full[one.module].mrc, rel=1e-2, abs=1e-5), one.module


# what is measured beside


@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny", "vit_b_16", "swin_t"])
def test_sizes_are_those_that_are_published(name: str) -> None:
    """torchvision gives operations as multiply-adds of one picture of 224x224."""
    about = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    with torch.device("meta"):
        network = torchvision.models.get_model(name)
        picture = torch.rand(1, 3, 224, 224)
    assert parameters(network) == about["num_params"]
    assert round(forward_operations(network, picture) / 2e9, 3) == about["_ops"]


def test_operations_of_a_vit_by_hand() -> None:
    network, width, tokens = timm_vit(), 24, 1 + 16
    block = tokens * (3 + 1 + 2 * 4) * width**2 + 2 * tokens**2 * width
    by_hand = 2 * (16 * (3 * 8 * 8) * width + 2 * block + width * 4)
    assert forward_operations(network, pictures(1)[0]) == by_hand


@pytest.mark.parametrize("name", NETS)
def test_folding_leaves_the_logits(name: str) -> None:
    network = made(name)
    x, _ = pictures(4)
    found = folded(network, x)
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x), rtol=1e-4, atol=1e-4)
    norms = [module for module in found.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms == []


@pytest.mark.parametrize("name", NETS)
def test_checks_find_nothing_odd_in_the_kind_of_network(name: str) -> None:
    found = preflight(made(name), split_of(24), Linf(2 / 255), num_classes=4, pictures=24)
    assert not {finding.check for finding in found} & {
        "depends on the batch",
        "randomised forward",
        "no gradient",
        "zero gradients",
        "misleading gradients",
    }


@pytest.mark.parametrize("name", NETS)
def test_they_can_be_exported(name: str) -> None:
    network = made(name)
    x, _ = pictures(5)
    with torch.no_grad():
        exported = program_of(network, (3, 32, 32)).module()(x)
        torch.testing.assert_close(exported, network(x), rtol=1e-4, atol=1e-5)
