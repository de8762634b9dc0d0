"""The loop against steps worked out by hand, and against itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.augment import Augment
from hardy.data.loader import Batch, batches
from hardy.data.mixing import joined
from hardy.data.order import Mix
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.losses import cross_entropy
from hardy.methods.find import make, names
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import LossOf, Method, Nets
from hardy.methods.standard import Standard
from hardy.methods.trades import TRADES
from hardy.methods.twins import TWINS
from hardy.methods.wrappers.awp import AWP
from hardy.threat import Linf
from hardy.training import checkpoint
from hardy.training.averaging import Averaging
from hardy.training.engine import Engine
from hardy.training.loop import Deployed, Row, Settings, State, fit
from hardy.training.phases import Probing
from hardy.training.schedule import KINDS

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
    teachers: dict[str, nn.Module] = {role: smooth_net(9) for role in ("robust", "natural")}
    return Nets(model, model, model, teachers)


SETTINGS = Settings(epochs=3, batch_size=5, lr=0.05, schedule="cosine")
EMA, SWA = Averaging("ema", 0.9, 0.2), Averaging("swa", start=0.3, batchnorm="reestimated")


def train(model: nn.Module, *given: Any, **more: Any) -> nn.Module:
    return deployed_of(model, *given, **more)["live"]


def deployed_of(
    model: nn.Module,
    method: Method | None = None,
    settings: Settings = SETTINGS,
    split: Split | None = None,
    precision: str = "fp32",
    **more: Any,
) -> Deployed:
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

    nudge: float = 0.0
    events: list[str] = field(default_factory=list)
    seen: list[Tensor] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)

    @property
    def select_on(self) -> Literal["clean", "robust"]:
        return "clean"

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
    def around_step(self, nets: Nets, parts: Sequence[LossOf], progress: float) -> Iterator[None]:
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
    given: list[Deployed] = []
    states: list[State] = []

    def on_epoch(row: Row, deployed: Deployed, state: Callable[[], State]) -> None:
        assert not any(model.training for model in deployed.values())
        given.append(deployed)
        states.append(state())

    model = some_net()
    before = weights(model)
    found = train(model, Swapped(), on_epoch=on_epoch)
    assert found is model and not any(m.training for m in found.modules())
    assert given == [{"live": model}] * 3
    assert "1.weight" in states[-1]["model"] and "0.0.weight" in states[-1]["model"]
    assert not torch.equal(found.state_dict()["0.weight"], before["0.weight"])


@dataclass(frozen=True)
class Diverging(Standard):
    """From half of the run on one of its terms is no number; it counts its calls."""

    calls: list[float] = field(default_factory=list)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        self.calls.append(progress)
        values = super().loss(nets, batch, x_adv, progress)
        return {**values, "kl": values["loss"] * (float("nan") if progress > 0.5 else 1)}


def test_a_loss_that_is_not_finite_names_term_and_step() -> None:
    """12 steps in all: 7/12 is the first fraction above a half, the eighth step."""
    rows: list[Row] = []
    with pytest.raises(
        ValueError, match=r"^net A: 'kl' is not finite in step 8: lower the l.*0\.05"
    ) as e:
        train(linear_net(), Diverging(), on_epoch=lambda row, *_: rows.append(row), label="net A")
    assert "\n" not in str(e.value)
    assert len(rows) == 1, "the damaged epoch is not handed on to be saved"


def test_a_loss_that_is_not_finite_is_found_within_an_epoch() -> None:
    """One epoch of 44 steps, looked at every twentieth: from step 24 on there is no number."""
    method = Diverging()
    settings = replace(SETTINGS, epochs=1, batch_size=1)
    with pytest.raises(ValueError, match="'kl' is not finite in step 24: "):
        train(linear_net(), method, settings, some_split(44))
    assert len(method.calls) == 40


@dataclass(frozen=True)
class Spoiling(Standard):
    """Its last step of epoch 2 leaves an infinity behind that no loss has seen."""

    entry: str = "1.running_var"

    @contextmanager
    def around_step(self, nets: Nets, parts: Sequence[LossOf], progress: float) -> Iterator[None]:
        yield
        if progress == 7 / 12:
            nets.module.state_dict()[self.entry][0] = float("inf")


@pytest.mark.parametrize("entry", ["1.running_var", "0.weight"])
def test_weights_and_buffers_that_are_not_finite_are_named(entry: str) -> None:
    rows: list[Row] = []
    with pytest.raises(ValueError, match=rf"^training: {entry} is not finite after epoch 2: "):
        train(some_net(), Spoiling(entry), on_epoch=lambda row, *_: rows.append(row))
    assert len(rows) == 1


# Gradients added up over the parts of a batch


class InDouble(nn.Module):
    """Pixels in double precision, so that a sum's order is all that can differ."""

    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def smooth_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.Flatten(), nn.Linear(16, K))
    return nn.Sequential(InDouble(), *layers).double()


METHODS = {name: make(name) for name in names()}
# The others halve each part, and what is a half depends on the parts.
WHOLE = {name: method for name, method in METHODS.items() if name != "twins"}


@pytest.mark.parametrize(
    "method", [*WHOLE.values(), AWP(TRADES(), 0.01)], ids=[*WHOLE, "awp-trades"]
)
@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_a_batch_in_parts_is_the_same_step(method: Method, count: int) -> None:
    """9 pictures in parts of 5 and 4; 3 each; 3 each, for 4 cannot be equal; and 1 each.
    Without BatchNorm no picture sees another, so only the order of sums differs."""
    settings = replace(SETTINGS, batch_size=9, epochs=2)
    runs: list[tuple[list[Row], Weights]] = []
    for accumulate in (1, count):
        rows: list[Row] = []
        model = smooth_net()
        own = replace(settings, accumulate=accumulate)
        train(model, method, own, on_epoch=lambda row, *_, rows=rows: rows.append(row))
        runs.append((rows, weights(model)))
    (rows, whole), (rows_of_parts, parts) = runs
    assert not torch.equal(whole["1.weight"], smooth_net().state_dict()["1.weight"])
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-10, atol=1e-10)
    for one, other in zip(rows, rows_of_parts, strict=True):
        assert one.keys() == other.keys() and "loss" in one
        for term in one.keys() - {"seconds"}:
            assert other[term] == pytest.approx(one[term], rel=1e-10, abs=1e-12)


def test_all_parts_are_attacked_before_the_weights_are_touched() -> None:
    spy = Spy(nudge=0.1)
    train(linear_net(), spy, replace(SETTINGS, epochs=1, batch_size=11, accumulate=3))
    step = ["adversary"] * 3 + ["enter"] + ["loss"] * 3 + ["stepped"]
    assert spy.events == step * 2
    assert [len(index) for index in spy.seen] == [3, 4, 4] * 2
    expected = batches(some_split(), 11, seed=0, epoch=0, shuffle=True, drop_last=True)
    assert torch.cat(spy.seen).tolist() == torch.cat([b.index for b in expected]).tolist()


@dataclass(frozen=True)
class CountedLabels(Standard):
    """Logs the mean label of what it is given."""

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        return {**super().loss(nets, batch, x_adv, progress), "label": batch.y.double().mean()}


def test_an_uneven_last_part_counts_as_much_as_it_holds() -> None:
    """The logged mean of a quantity that no weight changes is that of the pictures."""
    rows: list[Row] = []
    settings = replace(SETTINGS, epochs=1, batch_size=22, accumulate=4)
    train(linear_net(), CountedLabels(), settings, on_epoch=lambda row, *_: rows.append(row))
    assert rows[0]["label"] == pytest.approx(float(some_split().labels.double().mean()), rel=1e-12)


# The mean of the weights, beside the run


@pytest.mark.parametrize("average", [EMA, SWA, replace(EMA, batchnorm="reestimated")], ids=repr)
@pytest.mark.parametrize("method", [PGDAT("train"), AWP(PGDAT(), 0.01)], ids=repr)
def test_averaging_changes_the_live_run_by_no_bit(average: Averaging, method: Method) -> None:
    runs: list[tuple[list[Row], Weights, list[State]]] = []
    for each in (None, average):
        rows: list[Row] = []
        states: list[State] = []

        def on_epoch(
            row: Row,
            deployed: Deployed,
            state: Callable[[], State],
            rows: list[Row] = rows,
            states: list[State] = states,
        ) -> None:
            rows.append({name: value for name, value in row.items() if name != "seconds"})
            states.append(copy.deepcopy(state()))

        model = some_net()
        settings = replace(SETTINGS, average=each)
        augment = Augment(pad=1, flip=True)
        found = deployed_of(model, method, settings, augment=augment, on_epoch=on_epoch)
        assert found["live"] is model
        assert found.keys() == ({"live", "average"} if each else {"live"})
        runs.append((rows, weights(model), states))
    assert runs[0][0] == runs[1][0]
    assert_equal(runs[0][1], runs[1][1])
    for one, other in zip(runs[0][2], runs[1][2], strict=True):
        assert torch.equal(one["torch_rng"][0], other["torch_rng"][0])


def test_the_average_of_a_run_is_that_of_its_weights_after_each_epoch() -> None:
    """SWA from a third on: with three epochs the mean of the last two."""
    ends: list[Weights] = []
    means: list[Weights] = []

    def on_epoch(row: Row, deployed: Deployed, state: object) -> None:
        assert not deployed["average"].training
        ends.append(weights(deployed["live"]))
        means.append(weights(deployed["average"]))

    average = Averaging("swa", start=0.34, batchnorm="copied")
    deployed_of(some_net(), None, replace(SETTINGS, average=average), on_epoch=on_epoch)
    assert_equal(means[0], ends[0])
    for name, value in means[2].items():
        moved = name in dict(some_net().named_parameters())
        expected = (ends[1][name] + ends[2][name]) / 2 if moved else ends[2][name]
        torch.testing.assert_close(value, expected)


def test_the_average_is_deployed_as_the_live_network_is() -> None:
    found = deployed_of(some_net(), Swapped(), replace(SETTINGS, average=EMA))
    assert (
        weights(found["average"]).keys()
        == weights(found["live"]).keys()
        == weights(some_net()).keys()
    )
    assert not torch.equal(
        weights(found["average"])["0.weight"], weights(found["live"])["0.weight"]
    )


# Another way on


def test_a_state_from_after_an_epoch_takes_the_place_of_the_present_one() -> None:
    """Back before the second epoch, at half the learning rate and with other draws."""
    spy, rows = Spy(), list[Row]()
    starts: list[Weights] = []
    first: list[State] = []
    model = linear_net()

    def on_epoch(row: Row, deployed: Deployed, state: Callable[[], State]) -> State | None:
        rows.append(row)
        starts.append(weights(model))
        first.append(copy.deepcopy(state()))
        return {**first[0], "retries": 1} if len(rows) == 2 else None

    settings = replace(SETTINGS, schedule="constant", momentum=0.0)
    train(model, spy, settings, on_epoch=on_epoch)
    assert [row["epoch"] for row in rows] == [0, 1, 1, 2]
    assert [row["lr"] for row in rows] == [0.05, 0.05, 0.025, 0.025]
    orders = [torch.cat(spy.seen[i : i + 4]).tolist() for i in range(0, 16, 4)]
    assert orders[0] == torch.cat([b.index for b in in_order(0)]).tolist()
    assert orders[1] == torch.cat([b.index for b in in_order(1)]).tolist()
    assert sorted(map(tuple, orders)) == sorted(set(map(tuple, orders))), "all four differ"
    assert [state["retries"] for state in first] == [0, 0, 1, 1]
    # By hand: the first step of the second try, from the weights after epoch 1.
    by_hand = linear_net()
    by_hand.load_state_dict(starts[0])
    tried = SpyOfOne()
    with pytest.raises(StopIteration):
        train(by_hand, tried, settings, resume={**first[0], "retries": 1})
    assert tried.seen[0].tolist() == spy.seen[8].tolist()


@dataclass(frozen=True)
class SpyOfOne(Spy):
    """Ends after its first batch."""

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        super().adversary(nets, batch, attack)
        raise StopIteration


def test_a_state_that_says_so_ends_the_run() -> None:
    rows: list[Row] = []
    states: list[State] = []

    def on_epoch(row: Row, deployed: Deployed, state: Callable[[], State]) -> State | None:
        rows.append(row)
        if len(rows) < 2:
            return None
        states.append(copy.deepcopy({**state(), "stopped": True}))
        return states[0]

    model = some_net()
    train(model, on_epoch=on_epoch)
    assert [row["epoch"] for row in rows] == [0, 1]
    again = some_net(4)
    found = train(again, resume=states[0], on_epoch=on_epoch)
    assert len(rows) == 2, "nothing is trained"
    assert found is again and not again.training
    assert_equal(weights(again), weights(model))


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


@dataclass(frozen=True)
class Way:
    """A way to train."""

    method: Method
    changes: dict[str, Any] = field(default_factory=dict)


MIXED = joined(some_split(), some_split(12))
WAYS = {
    **{name: Way(method) for name, method in METHODS.items()},
    "awp": Way(AWP(PGDAT(), 0.01, warmup=0.3)),
    "ema": Way(PGDAT(), {"average": EMA}),
    "swa": Way(PGDAT("train"), {"average": SWA}),
    "ema, re-estimated": Way(Standard(), {"average": replace(EMA, batchnorm="reestimated")}),
    "accumulated": Way(PGDAT(), {"accumulate": 2}),
    "extra": Way(PGDAT(), {"mix": Mix(N, 0.4)}),
    "frozen": Way(Standard(), {"batchnorm": "frozen"}),
    "nesterov": Way(Standard(), {"nesterov": True}),
    "probed": Way(TRADES(), {"probing": Probing(2, "5", PGDAT()), "average": EMA}),
    "warmed up": Way(PGDAT(), {"eps_warmup": 2}),
    "twins, all": Way(
        AWP(TWINS("trades"), 0.01),
        {"probing": Probing(1, "5", Standard()), "eps_warmup": 1, "average": SWA, "accumulate": 2},
    ),
    **{kind: Way(Standard(), {"schedule": kind}) for kind in KINDS},
    "all": Way(
        AWP(TRADES(), 0.01), {"average": SWA, "accumulate": 2, "mix": Mix(N, 0.4), "seed": 5}
    ),
}


def run_of(way: str, **more: Any) -> tuple[dict[str, Weights], list[State]]:
    """The final weights of a run with dropout and augmentation, and its state at each end
    of an epoch."""
    states: list[State] = []

    def on_epoch(row: Row, deployed: Deployed, state: Callable[[], State]) -> None:
        states.append(copy.deepcopy(state()))

    model = some_net(more.pop("init", 0))
    torch.manual_seed(more.pop("torch_seed", 3))
    settings = replace(SETTINGS, **{**WAYS[way].changes, **more.pop("changes", {})})
    split = MIXED if settings.mix else None
    augment = Augment(pad=1, flip=True)
    found = deployed_of(
        model, WAYS[way].method, settings, split, on_epoch=on_epoch, augment=augment, **more
    )
    return {kind: weights(each) for kind, each in found.items()}, states


@pytest.mark.parametrize("way", WAYS)
def test_two_runs_are_equal_to_the_bit_and_seeds_matter(way: str) -> None:
    first, _ = run_of(way)
    second, _ = run_of(way)
    other, _ = run_of(way, changes={"seed": 1})
    for kind in first:
        assert_equal(first[kind], second[kind])
        assert not torch.equal(first[kind]["0.weight"], other[kind]["0.weight"])


@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    way: str, done: int, tmp_path: Path
) -> None:
    """Weights, their mean, BatchNorm, momentum and dropout's generator, through the file."""
    whole, states = run_of(way)
    assert [state["epoch"] for state in states] == [1, 2, 3]
    checkpoint.save(tmp_path, states[done - 1])
    state = checkpoint.load(tmp_path, CPU)
    resumed, later = run_of(way, init=8, torch_seed=77, resume=state)
    assert resumed.keys() == whole.keys()
    for kind, found in resumed.items():
        assert_equal(found, whole[kind])
    assert len(later) == 3 - done
    if later:
        ours, theirs = later[-1]["optimizer"]["state"], states[-1]["optimizer"]["state"]
        moved = [name for name in later[-1]["model"] if name.endswith(("weight", "bias"))]
        assert ours.keys() == theirs.keys() and len(ours) == len(moved) >= 6
        for key in ours:
            assert torch.equal(ours[key]["momentum_buffer"], theirs[key]["momentum_buffer"])
        assert torch.equal(later[-1]["torch_rng"][0], states[-1]["torch_rng"][0])
        if later[-1]["average"]:
            assert later[-1]["average"]["count"] == states[-1]["average"]["count"] > 0


def test_extra_pictures_have_their_share_of_every_batch() -> None:
    """0.4 of 5 is 2; an epoch has as many steps as the set's own pictures make, 4."""
    spy = Spy()
    train(linear_net(), spy, replace(SETTINGS, epochs=1, mix=Mix(N, 0.4)), MIXED)
    assert [int((index >= 2**40).sum()) for index in spy.seen] == [2] * 4
    assert [len(index) for index in spy.seen] == [5] * 4


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
