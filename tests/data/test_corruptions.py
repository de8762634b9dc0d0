from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hardy.data.corruptions import EXTRA, FAMILIES, SEVERITIES, STANDARD, corrupt, corrupted
from hardy.data.corruptions.parameters import values
from hardy.data.load import load_data
from hardy.data.splits import Split

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "corruptions.npz"
CERTAIN = [
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
]
RANDOM = sorted(set(FAMILIES) - set(CERTAIN))
SCALED = [
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "gaussian_blur",
    "spatter",
]


def scene(count: int = 3, channels: int = 3, size: int = 32) -> Tensor:
    """Smooth waves with a dark and a bright block on each."""
    line = torch.arange(size) * 32 / size
    phase = torch.arange(count * channels).view(count, channels, 1, 1)
    images = 128 + 70 * torch.sin(line[:, None] / 3 + phase) * torch.cos(line / 5 - phase)
    images[:, :, size // 4 : size // 2, size // 4 : size // 2] = 240
    images[:, :, size // 2 : size // 4 * 3, size // 2 : size // 4 * 3] = 10
    return images.to(torch.uint8)


def test_names_and_families():
    assert len(STANDARD) == 15 and len(EXTRA) == 4
    assert set(EXTRA) == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
    assert set(FAMILIES.values()) == {"noise", "blur", "weather", "digital"}
    counts = dict.fromkeys(FAMILIES.values(), 0)
    for name in STANDARD:
        counts[FAMILIES[name]] += 1
    assert counts == {"noise": 3, "blur": 4, "weather": 4, "digital": 4}


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", CERTAIN)
def test_without_randomness_the_original_is_met(name: str, severity: int):
    golden = np.load(GOLDEN)
    x = torch.from_numpy(golden["x"]).permute(0, 3, 1, 2)
    ours = corrupt(x, name, severity, seed=1, index=torch.arange(16)).permute(0, 2, 3, 1)
    away = np.abs(ours.numpy().astype(int) - golden[name][severity - 1])
    assert (away <= 1).mean() >= 0.99
    assert (away == 0).mean() >= 0.95  # measured: 0.982 to 1


def statistics(images: Tensor, before: Tensor) -> np.ndarray:
    """Mean change and mean absolute change of each picture, (2, N)."""
    change = (images.double() - before.double()).flatten(1)
    return torch.stack([change.mean(1), change.abs().mean(1)]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", FAMILIES)
def test_over_400_pictures_the_statistics_are_the_original_s(
    name: str, severity: int, real_data: Path
):
    test = load_data("cifar10", real_data / "cifar-10-python-head.tar.gz").test
    test = test.take(test.index.argsort()[:400])
    seeds = range(4 if name in RANDOM else 1)
    found = np.stack(
        [
            statistics(corrupted(test, name, severity, seed=seed).images, test.images)
            for seed in seeds
        ]
    )
    wanted = np.load(GOLDEN)[f"stats/{name}"][severity - 1][[0, 2]]
    # Theirs is one draw of 400 pictures: twice its error, from how ours differ between seeds.
    # Only fog's mean wanders by more than a tenth of a level.
    error = found.std(0, ddof=1).mean(1) / 20 if len(seeds) > 1 else np.zeros(2)
    share = 0.25 if name == "frost" else 0.1
    allowed = np.maximum(1, share * np.abs(wanted)) + 2 * error * (name == "fog")
    assert (np.abs(found.mean((0, 2)) - wanted) <= allowed).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_picture_s_corruption_is_its_own(name: str):
    images, index = scene(7), torch.tensor([3, 900, 4, 12, 2**33, 8, 1])
    whole = corrupt(images, name, 4, seed=5, index=index)
    rows = torch.tensor([4, 1, 6])
    part = corrupt(images[rows], name, 4, seed=5, index=index[rows])
    alone = corrupt(images[2:3], name, 4, seed=5, index=index[2:3])
    assert torch.equal(part, whole[rows])
    assert torch.equal(alone, whole[2:3])
    other = corrupt(images, name, 4, seed=6, index=index)
    assert torch.equal(other, whole) == (name in CERTAIN)


def test_more_pictures_than_are_worked_on_at_once():
    images = scene(3).repeat(70, 1, 1, 1)
    index = torch.arange(210)
    whole = corrupt(images, "motion_blur", 3, seed=0, index=index)
    last = corrupt(images[160:], "motion_blur", 3, seed=0, index=index[160:])
    assert torch.equal(whole[160:], last)


def test_other_severities_have_other_draws():
    images = torch.full((1, 1, 64, 64), 128, dtype=torch.uint8)
    changes = [
        corrupt(images, "gaussian_noise", severity, seed=0, index=torch.tensor([7])).double() - 128
        for severity in (1, 2)
    ]
    correlation = np.corrcoef(changes[0].flatten(), changes[1].flatten())[0, 1]
    assert abs(correlation) < 5 / 64  # five deviations of what independent ones have


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", FAMILIES)
def test_on_cuda_the_bytes_are_the_same(name: str):
    images, index = scene(), torch.arange(3)
    there = corrupt(images.cuda(), name, 5, seed=0, index=index.cuda())
    assert there.is_cuda
    assert torch.equal(there.cpu(), corrupt(images, name, 5, seed=0, index=index))


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [(name, 3, size) for name in FAMILIES for size in (24, 64, 80)]
    + [(name, 1, 28) for name in FAMILIES if name != "saturate"]
    + [(name, 1, 8) for name in FAMILIES if name not in ("saturate", *SCALED)],
)
def test_other_sizes_and_grey_pictures(name: str, channels: int, size: int):
    images = scene(10, channels, size)
    for severity in (1, 5):
        changed = corrupt(images, name, severity, seed=0, index=torch.arange(10))
        assert changed.shape == images.shape and changed.dtype == torch.uint8
        assert (changed != images).double().mean() > (0.002 if name == "impulse_noise" else 0.01)
        # It must remain the picture: noise and fog weaken it, but do not replace it.
        pair = np.stack([changed.flatten().numpy(), images.flatten().numpy()])
        assert np.corrcoef(pair)[0, 1] > 0.3


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"saturate", "jpeg_compression"}))
def test_grey_is_rgb_of_equal_channels(name: str):
    """Where no colour is added and channels share their draws, both are one corruption."""
    images = scene(2, 1)
    grey = corrupt(images, name, 2, seed=0, index=torch.arange(2)).int()
    rgb = corrupt(images.expand(-1, 3, -1, -1), name, 2, seed=0, index=torch.arange(2)).int()
    if FAMILIES[name] == "noise":
        assert (grey - rgb[:, :1]).double().abs().mean() < 40  # other draws, the same picture
    else:
        luma = (rgb * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        away = (grey - luma).abs()[rgb.amax(1, keepdim=True) < 255]
        assert away.max() <= 2  # each channel was truncated before


def test_a_split_keeps_labels_and_index():
    split = Split(scene(), torch.tensor([2, 0, 1]), torch.tensor([5, 9, 7]), "test")
    fog = corrupted(split, "fog", 2, seed=3)
    assert repr(fog) == "Split('test (fog 2)', n=3)"
    assert fog.labels is split.labels and fog.index is split.index
    assert torch.equal(fog.images, corrupt(split.images, "fog", 2, seed=3, index=split.index))
    assert torch.equal(split.images, scene())


def test_lengths_grow_with_the_picture_and_nothing_else():
    assert values("gaussian_blur", 5, 3, 32) == (1,)
    assert values("gaussian_blur", 5, 3, 64) == (1.5,)
    assert values("gaussian_blur", 5, 3, 224) == (5.25,)
    assert values("gaussian_blur", 5, 3, 64, "cifar") == (2,)
    assert values("gaussian_blur", 5, 3, 32, "tiny-imagenet") == (0.75,)
    assert values("jpeg_compression", 1, 3, 28) == (80,)
    assert values("jpeg_compression", 1, 3, 96) == (65,)
    assert values("motion_blur", 5, 1, 96) == (18, 4.5)
    assert values("snow", 4, 3, 128) == (0.25, 0.3, 4.5, 0.6, 24, 12, 0.65)
    assert values("spatter", 1, 3, 128) == (0.62, 0.2, 1.4, 0.7, 0.6, 0, 40)
    assert values("spatter", 5, 3, 128) == (0.65, 0.2, 1.0, 0.67, 1.2, 1, 40)


@pytest.mark.parametrize(
    ("shape", "name", "severity", "parameters", "message"),
    [
        ((1, 3, 32, 32), "rain", 1, "auto", "unknown corruption 'rain': expected one of gaussian"),
        ((1, 3, 32, 32), "fog", 6, "auto", "severity must be 1 to 5, not 6"),
        ((1, 3, 32, 32), "fog", 1, "imagenet", "parameters must be auto, cifar or tiny-imagenet"),
        ((1, 1, 28, 28), "saturate", 1, "auto", "saturate changes colours and grey"),
        ((1, 1, 8, 8), "glass_blur", 1, "auto", "glass_blur takes pictures from 24×24 pixels on"),
        ((1, 3, 4, 4), "fog", 1, "auto", "fog takes pictures from 8×8 pixels on, not 4×4"),
        ((1, 4, 32, 32), "fog", 1, "auto", "not of 4 channels"),
        ((1, 3, 32, 30), "fog", 1, "auto", "corruptions take square pictures, uint8"),
        ((2, 3, 32, 32), "fog", 1, "auto", "2 pictures need as many indices"),
    ],
)
def test_what_has_no_meaning_is_refused(shape, name, severity, parameters, message):
    images = torch.zeros(shape, dtype=torch.uint8)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        corrupt(images, name, severity, seed=0, index=torch.zeros(1), parameters=parameters)
    assert "\n" not in str(caught.value)


def test_floats_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \(N, C, S, S\), not torch.float32"):
        corrupt(torch.zeros(1, 3, 32, 32), "fog", 1, seed=0, index=torch.zeros(1))
