"""The loop against steps worked out by hand, and against itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.augment import Augment
from hardy.data.loader import Batch, batches
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.losses import cross_entropy
from hardy.methods.find import make, names
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method, Nets
from hardy.methods.standard import Standard
from hardy.threat import Linf
from hardy.training import checkpoint
from hardy.training.engine import Engine
from hardy.training.loop import Row, Settings, State, fit

CPU = torch.device("cpu")
ATTACK = PGD(Linf(0.05), steps=2)
N, K = 22, 3
Weights = dict[str, Tensor]


def some_split(n: int = N) -> Split:
    draws = Draws(0, 0, torch.arange(n))
    images = draws.integers(256, (3, 6, 6), "images").to(torch.uint8)
    return Split(images, draws.integers(K, (), "labels"), torch.arange(n), "train")


def some_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(16, K),
    )


def linear_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(108, K))


def nets_of(model: nn.Module) -> Nets:
    teachers: dict[str, nn.Module] = {role: some_net(9) for role in ("teacher", "robust", "clean")}
    return Nets(model, model, model, teachers)


SETTINGS = Settings(epochs=3, batch_size=5, lr=0.05, schedule="cosine")


def train(
    model: nn.Module,
    method: Method | None = None,
    settings: Settings = SETTINGS,
    split: Split | None = None,
    precision: str = "fp32",
    **more: Any,
) -> nn.Module:
    return fit(
        Engine(CPU, precision),
        nets_of(model),
        method or PGDAT(),
        ATTACK,
        split or some_split(),
        more.pop("augment", None),
        settings,
        **more,
    )


def weights(model: nn.Module) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(a: Weights, b: Weights) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


# One step and two by hand


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """d/dW and d/db of the mean cross-entropy of softmax(Wx + b): (p - onehot) x / B."""
    linear = model[1]
    flat = x.flatten(1).double()
    p = (flat @ linear.weight.detach().double().T + linear.bias.detach().double()).softmax(1)
    error = (p - torch.nn.functional.one_hot(y, K)) / len(y)
    return [error.T @ flat, error.sum(0)]


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum_and_weight_decay_by_hand(nesterov: bool) -> None:
    """v = mu v + g, theta -= lr (v, or g + mu v), where g counts the weight decay; one
    batch an epoch, three epochs, a tenth of the learning rate in the last."""
    split, mu, decay, lr = some_split(6), 0.9, 0.1, 0.5
    model, by_hand = linear_net(), linear_net()
    settings = Settings(
        epochs=3,
        batch_size=6,
        lr=lr,
        momentum=mu,
        nesterov=nesterov,
        weight_decay=decay,
        milestones=(2,),
    )
    train(model, Standard(), settings, split)
    velocity = [torch.zeros(K, 108), torch.zeros(K)]
    for rate in (lr, lr, lr / 10):
        grads = gradients(by_hand, split.pixels(slice(None)), split.labels)
        for i, parameter in enumerate(by_hand.parameters()):
            g = grads[i] + decay * parameter.detach()
            velocity[i] = mu * velocity[i] + g
            with torch.no_grad():
                parameter -= rate * (g + mu * velocity[i] if nesterov else velocity[i])
    for found, expected in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_every_epoch_is_a_pass_in_its_own_order_over_whole_batches() -> None:
    """22 examples in batches of 5: four steps, two examples left out, others each time."""
    spy = Spy()
    train(linear_net(), spy)
    for epoch in range(3):
        expected = [b.index.tolist() for b in in_order(epoch)]
        assert [index.tolist() for index in spy.seen[4 * epoch : 4 * epoch + 4]] == expected
    assert len(spy.seen) == 12
    assert not torch.equal(spy.seen[0], spy.seen[4])


def in_order(epoch: int) -> Iterator[Batch]:
    return batches(some_split(), 5, seed=0, epoch=epoch, shuffle=True, drop_last=True)


# Methods of one's own


@dataclass(frozen=True)
class Spy(Method):
    """Standard training that writes down what the loop does; `nudge` is added to every
    weight around the step, as AWP does."""

    select_on: ClassVar[Literal["clean", "robust"]] = "clean"
    nudge: float = 0.0
    events: list[str] = field(default_factory=list)
    seen: list[Tensor] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        self.events.append("adversary")
        self.seen.append(batch.index)
        return batch.x

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        self.events.append("loss")
        self.progress.append(progress)
        value = cross_entropy(nets.student(x_adv), batch.y).mean()
        return {"loss": value, "twice": 2 * value, "progress": torch.tensor(progress)}

    @contextmanager
    def around_step(
        self, nets: Nets, loss_of: Callable[[], Tensor], progress: float
    ) -> Iterator[None]:
        assert all(p.grad is None for p in nets.module.parameters()), "old gradients are gone"
        before = weights(nets.module)
        with torch.no_grad():
            for parameter in nets.module.parameters():
                parameter += self.nudge
        self.events.append("enter")
        yield
        assert all(p.grad is not None for p in nets.module.parameters()), "backward was inside"
        with torch.no_grad():
            for parameter in nets.module.parameters():
                parameter -= self.nudge
        moved = any(not torch.equal(v, before[k]) for k, v in nets.module.state_dict().items())
        self.events.append("stepped" if moved else "left")


def test_around_step_is_around_backward_and_step() -> None:
    spy = Spy()
    train(linear_net(), spy, replace(SETTINGS, epochs=1, batch_size=11))
    assert spy.events == ["adversary", "enter", "loss", "stepped"] * 2


def test_a_perturbation_around_the_step_by_hand() -> None:
    """theta - lr * gradient at theta + 0.1 (Wu et al. 2020, equation 11)."""
    split, model, by_hand = some_split(6), linear_net(), linear_net()
    start = weights(by_hand)
    settings = Settings(epochs=1, batch_size=6, lr=0.5, momentum=0, weight_decay=0)
    train(model, Spy(nudge=0.1), replace(settings, schedule="constant"), split)
    with torch.no_grad():
        for parameter in by_hand.parameters():
            parameter += 0.1
    grads = gradients(by_hand, split.pixels(slice(None)), split.labels)
    for (name, found), grad in zip(model.named_parameters(), grads, strict=True):
        expected = start[name] - 0.5 * grad.float()
        torch.testing.assert_close(found.detach(), expected, rtol=1e-5, atol=1e-6)


def test_rows_hold_the_means_of_all_that_the_method_returns() -> None:
    rows: list[Row] = []
    spy = Spy()
    train(linear_net(), spy, on_epoch=lambda row, *_: rows.append(row))
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert row.keys() == {"epoch", "lr", "seconds", "loss", "twice", "progress"}
        assert row["twice"] == pytest.approx(2 * row["loss"], rel=1e-6)
    # 12 steps in all: the means of 0..3, 4..7 and 8..11 twelfths
    assert [row["progress"] for row in rows] == pytest.approx([1.5 / 12, 5.5 / 12, 9.5 / 12])
    assert spy.progress == pytest.approx([step / 12 for step in range(12)])
    assert rows[0]["lr"] == pytest.approx(0.05 * 0.5 * (1 + 2**-0.5)), "of its last step"
    assert rows[0]["loss"] > rows[2]["loss"]


@dataclass(frozen=True)
class Swapped(Standard):
    """Trains a network of its own and deploys a part of it."""

    def prepare(self, nets: Nets) -> Nets:
        inner = nn.Sequential(nets.module, nn.Linear(K, K))
        return replace(nets, student=inner, module=inner, forward=inner)

    def deployable(self, nets: Nets) -> nn.Module:
        return nets.module[0]


def test_prepare_chooses_what_trains_and_deployable_what_comes_back() -> None:
    given: list[nn.Module] = []
    states: list[State] = []

    def on_epoch(row: Row, model: nn.Module, state: Callable[[], State]) -> None:
        assert not model.training
        given.append(model)
        states.append(state())

    model = some_net()
    before = weights(model)
    found = train(model, Swapped(), on_epoch=on_epoch)
    assert found is model and not any(m.training for m in found.modules())
    assert given == [model] * 3
    assert "1.weight" in states[-1]["model"] and "0.0.weight" in states[-1]["model"]
    assert not torch.equal(found.state_dict()["0.weight"], before["0.weight"])


@dataclass(frozen=True)
class Diverging(Standard):
    """Its second epoch has no loss."""

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        values = super().loss(nets, batch, x_adv, progress)
        return {**values, "kl": values["loss"] * (float("nan") if progress > 0.5 else 1)}


def test_a_loss_that_is_not_finite_names_term_and_epoch() -> None:
    rows: list[Row] = []
    with pytest.raises(
        ValueError, match=r"^net A: 'kl' is nan in epoch 2: lower the l.*0\.05"
    ) as e:
        train(linear_net(), Diverging(), on_epoch=lambda row, *_: rows.append(row), label="net A")
    assert "\n" not in str(e.value)
    assert len(rows) == 1, "the damaged epoch is not handed on to be saved"


# What moves


def test_frozen_batchnorm_keeps_its_statistics_to_the_bit() -> None:
    model = some_net()
    before = weights(model)
    train(model, settings=replace(SETTINGS, batchnorm="frozen"))
    after = weights(model)
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(after[name], before[name])
    for name in ("0.weight", "1.weight", "1.bias", "5.weight"):
        assert not torch.equal(after[name], before[name])
    free = some_net()
    train(free)
    assert free[1].num_batches_tracked == 12, "one forward in train mode a step, none in attacks"
    assert not torch.equal(free[1].running_mean, before["1.running_mean"])


@pytest.mark.parametrize("name", ["0.weight", "1.bias"])
def test_trainable_moves_exactly_the_named(name: str) -> None:
    """Weight decay would move the others if they were in the optimizer."""
    model = some_net()
    before = weights(model)
    model[5].bias.requires_grad_(False)
    settings = replace(SETTINGS, batchnorm="frozen", weight_decay=0.1, trainable=frozenset({name}))
    train(model, settings=settings)
    changed = {key for key, value in weights(model).items() if not torch.equal(value, before[key])}
    assert changed == {name}
    required = {key for key, p in model.named_parameters() if p.requires_grad}
    assert required == {key for key, _ in model.named_parameters()} - {"5.bias"}, "as before"


# The same again


def run_of(name: str, seed: int = 0, **more: Any) -> tuple[Weights, list[State]]:
    """The final weights of a run with dropout and augmentation, and its state at each end
    of an epoch."""
    states: list[State] = []

    def on_epoch(row: Row, model: nn.Module, state: Callable[[], State]) -> None:
        states.append(copy.deepcopy(state()))

    model = some_net(more.pop("init", 0))
    torch.manual_seed(more.pop("torch_seed", 3))
    settings = replace(SETTINGS, seed=seed)
    train(model, make(name), settings, on_epoch=on_epoch, augment=Augment(pad=1, flip=True), **more)
    return weights(model), states


@pytest.mark.parametrize("name", names())
def test_two_runs_are_equal_to_the_bit_and_seeds_matter(name: str) -> None:
    first, _ = run_of(name)
    assert_equal(first, run_of(name)[0])
    assert not torch.equal(first["0.weight"], run_of(name, seed=1)[0]["0.weight"])


@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize("name", names())
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    name: str, done: int, tmp_path: Path
) -> None:
    """Weights, BatchNorm, momentum and dropout's generator, through the file."""
    whole, states = run_of(name)
    assert [state["epoch"] for state in states] == [1, 2, 3]
    checkpoint.save(tmp_path, states[done - 1])
    state = checkpoint.load(tmp_path, CPU)
    resumed, later = run_of(name, init=8, torch_seed=77, resume=state)
    assert_equal(resumed, whole)
    assert len(later) == 3 - done
    if later:
        ours, theirs = later[-1]["optimizer"]["state"], states[-1]["optimizer"]["state"]
        assert ours.keys() == theirs.keys() and len(ours) == 6
        for key in ours:
            assert torch.equal(ours[key]["momentum_buffer"], theirs[key]["momentum_buffer"])
        assert torch.equal(later[-1]["torch_rng"], states[-1]["torch_rng"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_resumed_on_a_gpu_goes_on_with_its_dropout() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    states: list[State] = []

    def fit_there(resume: State | None) -> Weights:
        model = some_net().to(device)
        nets = replace(nets_of(model), teachers={})
        fit(
            Engine(device),
            nets,
            Standard(),
            ATTACK,
            some_split().to(device),
            None,
            SETTINGS,
            resume=resume,
            on_epoch=lambda row, _, state: states.append(copy.deepcopy(state())),
        )
        return weights(model)

    whole = fit_there(None)
    resumed = fit_there(states[0])
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-4, atol=1e-6)


def test_bf16_trains_and_keeps_weights_and_losses_in_fp32() -> None:
    rows: list[Row] = []
    model = train(some_net(), precision="bf16", on_epoch=lambda row, *_: rows.append(row))
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
    full = train(some_net())
    assert rows[-1]["loss"] == pytest.approx(1.0, abs=0.5)
    for a, b in zip(model.parameters(), full.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.1)
        assert not torch.equal(a, b)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16, not 'fp8'"):
        Engine(CPU, "fp8")
