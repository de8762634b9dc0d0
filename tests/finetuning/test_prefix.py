"""Fine-tuning from kept values is fine-tuning of the whole network, at the cost of its end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format
from torch.utils.flop_counter import FlopCounterMode

from hardy.attacks.pgd import PGD
from hardy.data.augment import Augment
from hardy.data.loader import batches
from hardy.data.splits import Split
from hardy.finetuning import prefix, tune
from hardy.finetuning.prefix import Prefixed, kept_prefix
from hardy.finetuning.suffix import weight_of
from hardy.finetuning.tune import Candidate
from hardy.methods.protocol import Nets
from hardy.methods.standard import Standard
from hardy.models.mobilenetv2 import mobilenetv2
from hardy.models.preact_resnet import preact_resnet18
from hardy.models.resnet import resnet18
from hardy.models.small import small_resnet
from hardy.models.wide_resnet import wide_resnet
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import started
from hardy.training.settings import Settings

ATTACK = PGD(Linf(8 / 255), steps=1)
SETTINGS = Settings(epochs=2, batch_size=8, lr=0.05, milestones=(1,), batchnorm="frozen")
CPU = torch.device("cpu")


def pictures(count: int = 28, channels: int = 1, size: int = 8) -> Split:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    return Split(images, torch.randint(4, (count,)), torch.arange(100, 100 + count), "train")


def lively(model: nn.Module) -> nn.Module:
    """Statistics and weights of BatchNorm that no two channels share."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return model


def network() -> nn.Module:
    torch.manual_seed(1)
    return lively(small_resnet(num_classes=4))


def tuned(
    model: nn.Module,
    candidate: Candidate,
    train: Split,
    precision: str = "fp32",
    augment: Augment | None = None,
) -> tuple[dict[str, Tensor], list[str]]:
    """What moved, and what was said."""
    said: list[str] = []
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(9)  # of dropout
    engine = Engine(CPU, precision)
    found = tune.tune(engine, model, candidate, train, augment, SETTINGS, ATTACK, said.append)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    return found, said


def both(
    model: nn.Module, candidate: Candidate, train: Split, precision: str = "fp32"
) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """What moves from kept values, what moves in the whole network, and what was said."""
    found, said = tuned(model, candidate, train, precision)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "kept_prefix", lambda *_: None)
        wanted, silent = tuned(model, candidate, train, precision)
    assert silent == [] and len(said) < 2
    return found, wanted, "".join(said)


def assert_near(
    model: nn.Module, found: dict[str, Tensor], wanted: dict[str, Tensor], share: float = 1e-3
) -> None:
    """The same entries moved, the same way but for a share of the way."""
    before = model.state_dict()
    assert found.keys() == wanted.keys() and found
    for key, value in wanted.items():
        way = (value - before[key]).norm()
        assert way > 0 and (found[key] - value).norm() <= share * way, key


OURS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "resnet18": (lambda: resnet18(num_classes=4, width=4, normalize="cifar10"), "layer3.0.conv2"),
    "preact_resnet18": (lambda: preact_resnet18(num_classes=4, width=4), "layer2.1.conv1"),
    "wide_resnet": (lambda: wide_resnet(28, 1, num_classes=4), "block2.layer.1.conv1"),
    "mobilenetv2": (lambda: mobilenetv2(num_classes=4, width=0.125), "layers.8.conv3"),
}


@pytest.mark.parametrize("name", OURS)
def test_our_networks_come_to_the_same_weights(name: str) -> None:
    make, module = OURS[name]
    torch.manual_seed(2)
    model = lively(make())
    found, wanted, said = both(model, Candidate((module,), 0.05), pictures(channels=3, size=16))
    assert "trained from kept values" in said
    assert_near(model, found, wanted)


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(("linear",), 0.05),
        Candidate(("layer3.0.conv1",), 0.05),
        Candidate(("layer3.0.shortcut.0",), 0.05),
        Candidate(("linear", "layer2.0.conv2"), 0.05),
        Candidate(("layer3",), 0.05, match="substring"),
    ],
    ids=lambda candidate: f"{candidate.label} {candidate.match}",
)
def test_all_that_moves_comes_to_the_same_weights(candidate: Candidate) -> None:
    model = network()
    found, wanted, said = both(model, candidate, pictures())
    assert "trained from kept values" in said
    assert_near(model, found, wanted)


def test_in_bfloat16_the_kept_values_are_halves() -> None:
    model, train = network(), pictures()
    candidate = Candidate(("layer3.0.conv1",), 0.05)
    full, half = (both(model, candidate, train, precision) for precision in ("fp32", "bf16"))
    each = [float(said.split("values, ")[1].split(" KiB")[0]) for *_, said in (full, half)]
    assert each[0] == 2 * each[1]
    assert_near(model, *half[:2], share=0.05)


@pytest.mark.parametrize("module", ["conv1", "all"])
def test_where_nothing_is_saved_nothing_is_kept_or_said(module: str) -> None:
    """Only the normalisation of the pictures lies before all maps."""
    match = "all" if module == "all" else "exact"
    found, wanted, said = both(network(), Candidate((module,), 0.05, match=match), pictures())
    assert said == ""
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())


@pytest.mark.parametrize(
    ("batchnorm", "augment"), [("train", None), ("frozen", Augment(1)), ("train", Augment(1))]
)
def test_never_with_augmentation_or_moving_statistics(
    batchnorm: str, augment: Augment | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "kept_prefix", lambda *_: pytest.fail("values would be kept"))
    candidate = Candidate(("linear",), 0.05, batchnorm)
    assert "linear.weight" in tuned(network(), candidate, pictures(), augment=augment)[0]


class Dropping(nn.Module):
    """Dropout before the first map, after it, or both."""

    def __init__(self, before: float, after: float) -> None:
        super().__init__()
        self.below = nn.Linear(64, 16)
        self.first = nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)
        self.before, self.after = nn.Dropout(before), after

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.before(self.below(x.flatten(1)).relu()))
        return self.head(F.dropout(x.relu(), self.after, self.training))


@pytest.mark.parametrize(
    ("before", "after", "kept"), [(0.0, 0.5, True), (0.01, 0.0, False), (0.5, 0.5, False)]
)
def test_dropout_may_lie_behind_and_never_before(before: float, after: float, kept: bool) -> None:
    torch.manual_seed(0)
    model = Dropping(before, after)
    found, wanted, said = both(model, Candidate(("first",), 0.05), pictures())
    assert ("trained from kept values" if kept else "draws random numbers") in said
    assert_near(model, found, wanted)


class Counting(nn.Module):
    """A module below that remembers how often it was called in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.below, self.head = nn.Linear(64, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        return self.head(self.below(x.flatten(1)).tanh())


class Mixing(nn.Module):
    """What enters the head depends on the other pictures of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, track_running_stats=False)
        self.below, self.head = nn.Linear(64, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.below(self.norm(x).flatten(1)))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.below, self.head = nn.Linear(64, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.below(x.flatten(1))
        return self.head(x if x.sum() > 0 else -x)


class Tied(nn.Module):
    """The weight of the head is met earlier too."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.early, self.head = (nn.Linear(64, 64) for _ in range(3))
        self.head.weight = self.early.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.early(self.below(x.flatten(1)).relu()).relu_())


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Counting, "changes buffers of its own"),
        (Mixing, "depends on the other pictures of a batch"),
        (Branching, "cannot be taken apart (TraceError)"),
        (Tied, "trained from kept values"),
    ],
)
def test_nasty_networks_come_to_the_same_weights(net: Callable[[], nn.Module], words: str) -> None:
    torch.manual_seed(0)
    model = net()
    found, wanted, said = both(model, Candidate(("head",), 0.05), pictures())
    assert words in said
    assert_near(model, found, wanted)


def part_of(model: nn.Module, module: str, train: Split) -> Prefixed:
    names = Candidate((module,), 0.1).trainable(model)
    found = kept_prefix(Engine(CPU), model, names, train, 8, lambda _: None)
    assert found is not None
    return found


def test_values_lie_as_they_do_in_the_network() -> None:
    """In channels_last the whole network's values are so too, and its kernels with them."""
    train = pictures(5, 3, 16)
    model = lively(resnet18(num_classes=4, width=4))
    convert_conv2d_weight_memory_format(model, torch.channels_last)
    part = part_of(model, "layer4.1.conv2", train)
    seen: list[Tensor] = []
    model.eval().get_submodule("layer4.1.conv2").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    with torch.no_grad():
        whole = model(train.pixels(slice(None)))
        alone = part.network.eval()(part.train.pixels(slice(None)))
    assert torch.allclose(whole, alone, atol=1e-5)
    for value in seen:
        assert value.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(seen[0], seen[1], atol=1e-5)


def test_the_last_convolution_of_resnet18_keeps_64_kib_a_picture() -> None:
    """Its input and the shortcut's: 2 × 512 × 4 × 4 numbers of 4 bytes."""
    train = pictures(3, 3, 32)
    part = part_of(resnet18(num_classes=4), "layer4.1.conv2", train)
    assert part.train.images.shape == (3, 2 * 512 * 4 * 4)
    assert part.train.images.dtype == torch.float32
    assert torch.equal(part.train.index, train.index)


def test_without_room_the_whole_network_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, candidate = network(), Candidate(("linear",), 0.05)
    monkeypatch.setattr(prefix, "room_on", lambda _: 28 * 64 * 4 - 1)
    found, wanted, said = both(model, candidate, pictures())
    assert "would take 0.0 GiB, and there is room for 0.0" in said
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())
    monkeypatch.setattr(prefix, "room_on", lambda _: 28 * 64 * 4)
    assert "trained from kept values" in both(model, candidate, pictures())[2]


def counted(model: nn.Module, train: Split, trainable: frozenset[str]) -> int:
    """Operations of one step of fine-tuning; only what is trained may get a gradient."""
    settings = replace(SETTINGS, batch_size=len(train), trainable=trainable)
    loop = started(
        Engine(CPU), Nets(model, model, model), Standard(), ATTACK, train, None, settings, ""
    )
    (batch,) = batches(train, len(train), seed=0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    counter = FlopCounterMode(display=False)
    model.eval()
    with counter:
        loop.step(batch, 0, 0.1)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (name in trainable), name
        parameter.requires_grad_(True)
    return counter.get_total_flops()


def test_a_step_costs_a_forward_pass_and_the_backward_pass_down_to_the_module() -> None:
    """Of layer4.1.conv2: the gradient to its weight, and that to the input of the linear map;
    from kept values the two maps alone, twice each."""
    count, model = 2, resnet18(num_classes=10)
    train = pictures(count, 3, 32)
    forward = FlopCounterMode(display=False)
    with torch.no_grad(), forward:
        model.eval()(train.pixels(slice(None)))
    convolution, linear = 2 * count * 512 * 512 * 9 * 16, 2 * count * 512 * 10
    names = Candidate(("layer4.1.conv2",), 0.1).trainable(model)
    step = counted(model, train, names)
    assert step == forward.get_total_flops() + convolution + linear
    assert 3 * forward.get_total_flops() / step > 2.7
    part = part_of(model, "layer4.1.conv2", train)
    assert counted(part.network, part.train, part.trainable) == 2 * (convolution + linear)
    (weight,) = (p for n, p in part.network.named_parameters() if n in part.trainable)
    assert weight is weight_of(model, "layer4.1.conv2")
