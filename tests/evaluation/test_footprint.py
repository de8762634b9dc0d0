"""What networks cost in use, against counts by hand and a module whose time is known."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F_
from torch import Tensor, nn

from hardy.evaluation import footprint
from hardy.evaluation.footprint import (
    Timing,
    forward_operations,
    latencies,
    latency,
    operations,
    parameters,
    saved_bytes,
    sizes,
    timed,
)
from hardy.models.architecture import Architecture
from hardy.models.load import save
from hardy.models.mobilenetv2 import mobilenetv2

CPU = torch.device("cpu")
K = 3
# Multiply-adds times two: 2x2 places of 4 channels that see 27 pixels each; 16 features to K.
FIRST = 2 * (2 * 2) * 4 * 27
F = FIRST + 2 * 16 * K
PARAMETERS = (4 * 27 + 4) + (16 * K + K)


def some_net() -> nn.Module:
    conv = nn.Conv2d(3, 4, 3, stride=2)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(16, K))


def test_parameters_and_the_forward_pass_of_a_picture_by_hand() -> None:
    model = some_net()
    assert forward_operations(model, torch.zeros(1, 3, 6, 6)) == F
    assert parameters(model) == PARAMETERS
    assert model.training, "left as it was"


def test_grouped_convolutions_cost_three_forward_passes_like_all_others() -> None:
    """torch's own count of the weights' gradient is `groups` times too high."""
    model = nn.Conv2d(8, 8, 3, groups=8)
    x = torch.zeros(2, 8, 5, 5, requires_grad=True)
    forward = 2 * 2 * (3 * 3) * 8 * 9
    assert operations(lambda: model(x)) == forward
    assert operations(lambda: model(x).sum().backward()) == 3 * forward


def test_a_transposed_convolution_too() -> None:
    model = nn.ConvTranspose2d(4, 6, 3, stride=2)
    x = torch.zeros(2, 4, 5, 5, requires_grad=True)
    forward = 2 * 2 * (5 * 5) * 4 * 6 * 9
    assert operations(lambda: model(x)) == forward
    assert operations(lambda: model(x).sum().backward()) == 3 * forward


class Attentive(nn.Module):
    """Pixels (B, 16, 4, 4) as 16 words of 16 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        words = x.flatten(2).transpose(1, 2)
        return self.attention(words, words, words, need_weights=False)[0].mean(1)


def test_attention_counts_as_its_matrix_products() -> None:
    """torch's fused kernels for it are not counted everywhere, in training and in eval mode."""
    model, words, size = Attentive(), 16, 16
    projections = 2 * words * size * (3 * size) + 2 * words * size * size
    attention = 2 * (2 * words * words * size)
    picture = torch.zeros(1, 16, 4, 4)
    assert forward_operations(model, picture) == projections + attention
    assert operations(lambda: model(picture)) == projections + attention
    fused = torch.ones(1, 1, words, size)
    assert operations(lambda: F_.scaled_dot_product_attention(fused, fused, fused)) == attention


def test_the_operations_of_mobilenetv2_by_hand() -> None:
    def conv(side: int, into: int, out: int, kernel: int) -> int:
        return 2 * side * side * into * out * kernel * kernel

    total, side, into = conv(32, 3, 32, 3), 32, 32
    for expansion, channels, blocks, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(blocks):
            step = stride if i == 0 else 1
            wide = expansion * into
            total += conv(side, into, wide, 1)
            side //= step
            total += conv(side, 1, wide, 3) + conv(side, wide, channels, 1)
            if step == 1 and into != channels:
                total += conv(side, into, channels, 1)
            into = channels
    total += conv(side, 320, 1280, 1) + 2 * 1280 * 10
    assert side == 4
    assert forward_operations(mobilenetv2(), torch.zeros(1, 3, 32, 32)) == total


def test_bytes_are_those_of_the_file_less_its_header(tmp_path: Path) -> None:
    architecture = Architecture.of("small_resnet")
    model = architecture.build()
    path = tmp_path / "a.safetensors"
    save(path, model, architecture, classes=[], extra={})
    # The format: eight bytes that say how long the header is, the header, the numbers.
    content = path.read_bytes()
    assert saved_bytes(model) == len(content) - 8 - int.from_bytes(content[:8], "little")
    # Statistics stand in it and are no parameters; each BatchNorm also counts its steps.
    buffers = [value for name, value in model.named_buffers() if "running" in name]
    counters = sum("num_batches" in name for name, _ in model.named_buffers())
    numbers = parameters(model) + sum(value.numel() for value in buffers)
    assert saved_bytes(model) == 4 * numbers + 8 * counters


def test_tied_weights_are_one_parameter_and_saved_twice(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False))
    model[1].weight = model[0].weight
    assert (parameters(model), saved_bytes(model)) == (25, 200)
    path = tmp_path / "a.safetensors"
    save(path, model, Architecture("mine:make", 5, 5, "none"), classes=[], extra={})
    content = path.read_bytes()
    assert len(content) - 8 - int.from_bytes(content[:8], "little") == 200


def test_the_time_of_some_work_is_the_median_after_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def clock(*durations: float) -> None:
        """Each piece of work takes as long as is said here; the clock is read around it."""
        now = itertools.accumulate(each for d in durations for each in (0.0, d))
        monkeypatch.setattr(footprint, "_now", lambda device: next(now))

    clock(9, 5, 1, 3, 2, 4, 100)
    assert timed(lambda: None, CPU, runs=5, patience=100) == Timing(3, 5)
    clock(9, 5, 1, 3)
    assert timed(lambda: None, CPU, runs=5, patience=14) == Timing(5, 1)
    clock(9, 5)
    assert timed(lambda: None, CPU, runs=5, patience=9) == Timing(9, 1)


class Sleepy(nn.Module):
    """Takes 5 ms for any number of pictures, and notes how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((len(x), self.training, torch.is_grad_enabled()))
        time.sleep(0.005)
        return x.flatten(1)[:, :2]


def test_the_latency_of_a_network_that_sleeps() -> None:
    model, pictures = Sleepy(), torch.zeros(4, 1, 3, 2)
    found = latency(model, pictures, runs=9)
    assert found.runs == 9
    assert 0.005 <= found.seconds < 0.1
    assert model.seen == [(4, False, False)] * 10, "the first warms up"
    assert model.training and torch.is_grad_enabled()


def test_measurements_say_what_they_are_of() -> None:
    model, pictures = Sleepy(), torch.zeros(4, 1, 3, 2)
    one, all_of_them = latencies(model, pictures, "test", "mine")
    for m, batch in ((one, 1), (all_of_them, 4)):
        assert (m.quantity, m.split, m.subject, m.n) == ("latency", "test", "mine", batch)
        assert m.setting == {
            "image_size": "1×3×2",
            "batch": batch,
            "dtype": "fp32",
            "device": "cpu",
            "threads": torch.get_num_threads(),
        }
        assert 0.005 <= m.value < 0.1
        assert m.no_interval.startswith("median of ")
    alone = latencies(model, pictures[:1], "test", "mine")
    assert [m.setting["batch"] for m in alone] == [1], "not the same twice"

    found = {m.quantity: m for m in sizes(some_net(), torch.zeros(1, 3, 6, 6), "test", "mine")}
    values = {name: m.value for name, m in found.items()}
    assert values == {"parameters": PARAMETERS, "weights": 4 * PARAMETERS, "operations": F}
    assert found["operations"].setting == {"image_size": "3×6×6"}


def test_random_numbers_that_a_network_draws_are_found_again_after() -> None:
    """Else counting would change what a network that draws them says later."""
    model, picture = nn.Sequential(nn.Flatten(), Noisy()), torch.zeros(1, 3, 2, 2)
    torch.manual_seed(0)
    forward_operations(model, picture)
    latency(model, picture, runs=1)
    found = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(found, torch.rand(3))


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)
