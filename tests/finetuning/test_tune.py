"""Fine-tuning moves what it was told to move, and not one bit more."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.augment import Augment
from hardy.data.splits import Split
from hardy.finetuning.suffix import weight_of
from hardy.finetuning.tune import BN_ONLY, Candidate, has_batchnorm, reestimate, tune
from hardy.models.resnet import resnet18
from hardy.models.small import resnet2b, small_resnet
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Settings

ATTACK = PGD(Linf(8 / 255), steps=1)
SETTINGS = Settings(epochs=2, batch_size=8, milestones=(1,))
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def pictures(count: int = 20) -> Split:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
    return Split(images, torch.randint(4, (count,)), torch.arange(count), "train")


def network() -> nn.Module:
    torch.manual_seed(1)
    return small_resnet(num_classes=4)


def tuned(model: nn.Module, candidate: Candidate, settings: Settings = SETTINGS) -> set[str]:
    """The names of what moved; the network that was given must not have."""
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    required = [p.requires_grad for p in model.parameters()]
    changed = tune(
        Engine(torch.device("cpu")), model, candidate, pictures(), Augment(1), settings, ATTACK
    )
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert modes == [m.training for m in model.modules()]
    assert required == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    for key, value in changed.items():
        assert not torch.equal(value, before[key]), f"{key} did not change"
        assert value.shape == before[key].shape and value.dtype == before[key].dtype
        assert not value.requires_grad
    return set(changed)


def statistics(model: nn.Module) -> set[str]:
    return {key for key in model.state_dict() if key.endswith(STATISTICS)}


@pytest.mark.parametrize("module", ["conv1", "layer2.0.shortcut.0", "linear"])
def test_exactly_the_named_weight_moves(module: str) -> None:
    model = network()
    assert tuned(model, Candidate((module,), 0.05)) == {f"{module}.weight"}


def test_several_modules_move_together() -> None:
    model = network()
    modules = ("layer1.0.conv2", "linear")
    assert tuned(model, Candidate(modules, 0.05)) == {f"{m}.weight" for m in modules}


def test_statistics_move_where_they_are_reestimated() -> None:
    model = network()
    found = tuned(model, Candidate(("conv1",), 0.05, batchnorm="train"))
    assert found == {"conv1.weight"} | statistics(model)


def test_bn_only_moves_statistics_and_no_weight() -> None:
    model = network()
    candidate = Candidate((), 0.0)
    assert candidate.label == BN_ONLY
    assert tuned(model, candidate) == statistics(model)


def test_reestimated_statistics_are_those_of_one_pass_by_hand() -> None:
    """One BatchNorm on the pictures themselves: running = 0.9 running + 0.1 batch."""
    split = pictures(16)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 4))
    settings = Settings(epochs=5, batch_size=16)
    reestimate(model, split, None, settings)
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    x = split.pixels(slice(None))
    assert norm.num_batches_tracked == 1 and not model.training
    assert torch.allclose(norm.running_mean, 0.1 * x.mean().view(1), atol=1e-6)
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * x.var().view(1), atol=1e-6)


def test_a_substring_trains_what_the_authors_code_trains() -> None:
    """'conv1' is in the name of nine tensors of a ResNet-18: the first and one a block."""
    model = resnet18(width=2)
    found = Candidate(("conv1",), 0.1, match="substring").trainable(model)
    blocks = {f"layer{i}.{j}.conv1.weight" for i in (1, 2, 3, 4) for j in (0, 1)}
    assert found == {"conv1.weight"} | blocks and len(found) == 9
    assert Candidate(("conv1",), 0.1).trainable(model) == {"conv1.weight"}
    layer = Candidate(("layer1.0.conv2", "linear"), 0.1, match="substring").trainable(model)
    assert layer == {"layer1.0.conv2.weight", "linear.weight", "linear.bias"}


def test_a_substring_moves_them_all() -> None:
    model = network()
    found = tuned(model, Candidate(("conv1",), 0.05, match="substring"))
    assert found == {"conv1.weight"} | {f"layer{i}.0.conv1.weight" for i in (1, 2, 3)}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


@pytest.mark.parametrize("module", ["first", "second"])
def test_tied_weights_move_together(module: str) -> None:
    torch.manual_seed(0)
    model = Tied()
    assert tuned(model, Candidate((module,), 0.05)) == {"first.weight", "second.weight"}


def test_nothing_moved_is_nothing_returned() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    assert tuned(model, Candidate((), 0.0)) == set()


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    model = network()

    def run(seed: int) -> Tensor:
        settings = Settings(epochs=1, batch_size=8, seed=seed)
        candidate = Candidate(("linear",), 0.05)
        engine = Engine(torch.device("cpu"))
        return tune(engine, model, candidate, pictures(), Augment(1), settings, ATTACK)[
            "linear.weight"
        ]

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_one_step_is_that_of_sgd_by_hand() -> None:
    """w - lr (g + weight decay · w), g of the clean pictures under frozen statistics."""
    model = network()
    model.train()  # the statistics are used all the same
    split = pictures(16)
    settings = Settings(epochs=1, batch_size=16, weight_decay=0.1)
    found = tune(
        Engine(torch.device("cpu")),
        model,
        Candidate(("conv1",), 0.5),
        split,
        None,
        settings,
        ATTACK,
    )
    other = copy.deepcopy(model).eval()
    weight = weight_of(other, "conv1")
    loss = nn.functional.cross_entropy(other(split.pixels(slice(None))), split.labels)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert found.keys() == {"conv1.weight"}
    by_hand = weight.detach() - 0.5 * (gradient + 0.1 * weight.detach())
    assert torch.allclose(found["conv1.weight"], by_hand, atol=1e-6)


def test_has_batchnorm() -> None:
    assert has_batchnorm(small_resnet())
    assert not has_batchnorm(resnet2b())
    assert not has_batchnorm(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)))


def test_labels() -> None:
    assert Candidate(("a",), 0.01).label == "a, lr 0.01"
    assert Candidate(("a", "b"), 0.1, "train").label == "a + b, lr 0.1, BN re-estimated"
    assert Candidate(tuple("abcde"), 1e-3).label == "5 modules, lr 0.001"
