"""MobileNetV2 counted by hand, and its names against the published ones."""

import pytest
import torch
from torch import nn

from hardy.draws import Draws
from hardy.finetuning.mrc import candidates
from hardy.models.load import read_checkpoint
from hardy.models.mobilenetv2 import InvertedResidual, mobilenetv2

# The published table: expansion, channels, blocks, stride of the first.
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
BATCHNORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes as public state dicts of the CIFAR version have them."""
    found: dict[str, tuple[int, ...]] = {}

    def batchnorm(name: str, channels: int) -> None:
        for entry in BATCHNORM:
            found[f"{name}.{entry}"] = () if entry == BATCHNORM[-1] else (channels,)

    def both(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        found[f"{conv}.weight"] = shape
        batchnorm(norm, shape[0])

    both("conv1", "bn1", (32, 3, 3, 3))
    block, into = 0, 32
    for expansion, channels, blocks, stride in TABLE:
        for i in range(blocks):
            name, wide = f"layers.{block}", expansion * into
            both(f"{name}.conv1", f"{name}.bn1", (wide, into, 1, 1))
            both(f"{name}.conv2", f"{name}.bn2", (wide, 1, 3, 3))
            both(f"{name}.conv3", f"{name}.bn3", (channels, wide, 1, 1))
            if (stride == 1 or i) and into != channels:
                both(f"{name}.shortcut.0", f"{name}.shortcut.1", (channels, into, 1, 1))
            block, into = block + 1, channels
    both("conv2", "bn2", (1280, 320, 1, 1))
    return found | {"linear.weight": (10, 1280), "linear.bias": (10,)}


def test_names_and_shapes_are_the_published_ones() -> None:
    state = mobilenetv2().state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == published()


def test_parameters_by_hand() -> None:
    """Per block: expansion t from c to c' channels takes tc·c + 9·tc + c'·tc weights and
    2·(2·tc + c') of BatchNorm; a projection c·c' + 2c' more."""
    total, into = 27 * 32 + 2 * 32, 32
    for expansion, channels, blocks, stride in TABLE:
        for i in range(blocks):
            wide = expansion * into
            total += wide * (into + 9 + channels) + 2 * (2 * wide + channels)
            if (stride == 1 or i) and into != channels:
                total += into * channels + 2 * channels
            into = channels
    total += 320 * 1280 + 2 * 1280 + 1280 * 10 + 10
    assert total == 2_296_922
    assert sum(p.numel() for p in mobilenetv2().parameters()) == total


def test_published_state_dicts_load_and_are_recognised(tmp_path) -> None:
    torch.manual_seed(0)
    model = mobilenetv2(num_classes=100).eval()
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt")
    assert (found.architecture.model, found.architecture.num_classes) == ("mobilenetv2", 100)
    x = Draws(0, 0, torch.arange(2)).uniform((3, 32, 32), "pictures")
    assert torch.equal(found.model(x), model(x))


@pytest.mark.parametrize(("side", "left"), [(8, 1), (32, 4), (64, 8)])
def test_three_strides_halve_the_picture(side: int, left: int) -> None:
    with torch.device("meta"):
        model = mobilenetv2(width=0.25)
        out = model.get_submodule("layers")(torch.empty(2, 8, side, side))
    assert out.shape == (2, 80, left, left)


def test_each_width_has_multiples_of_8_and_thin_ones_the_whole_head() -> None:
    thin, wide = mobilenetv2(width=0.35), mobilenetv2(width=1.4)
    # 0.35 of 32, 16, 24, 32, 64, 96, 160, 320 is 11.2, 5.6, 8.4, 11.2, 22.4, 33.6, 56, 112.
    outs = [thin.get_parameter("conv1.weight").shape[0]]
    outs += [thin.get_parameter(f"layers.{i}.conv3.weight").shape[0] for i in (0, 1, 3, 6, 10, 13)]
    assert outs == [8, 8, 8, 8, 24, 32, 56]
    assert thin.get_parameter("conv2.weight").shape[:2] == (1280, 112)
    assert wide.get_parameter("linear.weight").shape == (10, 1792)
    with pytest.raises(ValueError, match="must be positive, not -1"):
        mobilenetv2(width=-1)


@pytest.mark.parametrize(
    ("into", "out", "stride", "shortcut"),
    [(8, 8, 1, "identity"), (8, 16, 1, "projection"), (8, 8, 2, "none"), (8, 16, 2, "none")],
)
def test_what_the_shortcut_adds(into: int, out: int, stride: int, shortcut: str) -> None:
    """With the last BatchNorm at zero only the shortcut is left."""
    torch.manual_seed(0)
    block = InvertedResidual(into, out, 6, stride).eval()
    nn.init.zeros_(block.bn3.weight)
    x = Draws(0, 0, torch.arange(2)).normal((into, 4, 4), "x")
    found = block(x)
    assert found.shape == (2, out, 4 // stride, 4 // stride)
    if shortcut == "none":
        assert not found.any()
    elif shortcut == "identity":
        assert torch.equal(found, x)
    else:
        assert found.any() and torch.equal(found, block.shortcut(x))


def test_a_block_filters_each_channel_by_itself_and_ends_without_a_relu() -> None:
    """1 channel, everything set by hand: 3 x, its 3x3 sum, times −2."""
    block = InvertedResidual(1, 2, 1, 2).eval()
    for name, value in (("conv1", 3.0), ("conv2", 1.0), ("conv3", -2.0)):
        nn.init.constant_(block.get_parameter(f"{name}.weight"), value)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    # A ReLU after the first convolution drops what is negative.
    found = block(torch.tensor([[[[1.0, -1.0], [2.0, 1.0]]]]))
    assert found.flatten().tolist() == [-24.0, -24.0]
    deep = InvertedResidual(2, 2, 1, 2)
    assert deep.conv2.groups == 2


def test_all_its_convolutions_are_candidates_of_rift() -> None:
    with torch.device("meta"):
        names = candidates(mobilenetv2())
    blocks = {f"layers.{i}.conv{c}" for i in range(17) for c in (1, 2, 3)}
    assert blocks | {"conv1", "conv2", "linear"} <= set(names)
    assert {n for n in names if "shortcut" in n} == {
        f"layers.{i}.shortcut.0" for i in (0, 1, 10, 16)
    }
