"""The mean of the weights against means taken by hand and torch's own."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from hardy.training.averaging import Average, Averaging, reestimate


class Scalar(nn.Module):
    """One weight, w."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(value, dtype=torch.float64))


def normed_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = (nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(), nn.Conv2d(4, 5, 2), nn.BatchNorm2d(5))
    return nn.Sequential(nn.Conv2d(3, 4, 3), *layers)


def some_batches() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.rand(6, 3, 5, 5) * scale for scale in (1, 2, 3, 4)]


def nothing() -> Iterable[Tensor]:
    raise AssertionError("no picture is needed")
    yield


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


# Means by hand


def test_ema_of_a_scalar_by_hand() -> None:
    """A copy until a quarter of the run is done, then decay min(tau, (1 + d) / (10 + d)):
    1/10, 2/11, 3/12 = 0.25 and from there tau = 0.26 once 4/13 is larger."""
    live, values = Scalar(7.0), [3.0, 5.0, -1.0, 2.0, 8.0, 4.0, 6.0, 1.0]
    average = Average(live, Averaging("ema", decay=0.26, start=0.25))
    found, by_hand = [], []
    mean, decays = 0.0, iter([1 / 10, 2 / 11, 3 / 12, 0.26, 0.26, 0.26])
    for i, value in enumerate(values):
        live.w.data.fill_(value)
        average.after_step(live, (i + 1) / len(values))
        decay = 0.0 if (i + 1) / len(values) <= 0.25 else next(decays)
        mean = decay * mean + (1 - decay) * value
        found.append(float(average.module.w))  # type: ignore[arg-type]
        by_hand.append(mean)
    assert found[:2] == [3.0, 5.0], "a plain copy, to the bit"
    assert found == pytest.approx(by_hand, rel=1e-14)
    average.after_epoch(live, 1.0, nothing())
    assert float(average.module.w) == found[-1], "an epoch adds nothing to it"  # type: ignore[arg-type]


def test_swa_is_the_plain_mean_of_the_ends_of_epochs() -> None:
    """Of ten epochs from 0.6 on: the last four; before that, a copy."""
    live = Scalar()
    average = Average(live, Averaging("swa", start=0.6))
    for epoch, value in enumerate([9.0, 8.0, 7.0, 9.0, 8.0, 5.0, 1.0, 2.0, 4.0, 9.0]):
        live.w.data.fill_(-100.0)
        average.after_step(live, (epoch + 0.5) / 10)  # within an epoch nothing counts
        live.w.data.fill_(value)
        average.after_epoch(live, (epoch + 1) / 10, nothing())
        if epoch < 7:
            assert float(average.module.w) == value  # type: ignore[arg-type]
    assert float(average.module.w) == pytest.approx((1 + 2 + 4 + 9) / 4, rel=1e-15)  # type: ignore[arg-type]
    assert average.count == 4


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_start_of_zero_begins_with_the_first(kind: str) -> None:
    live = Scalar()
    average = Average(live, Averaging(kind, decay=0.9, start=0.0))  # type: ignore[arg-type]
    for progress, value in ((0.5, 4.0), (1.0, 8.0)):
        live.w.data.fill_(value)
        average.after_step(live, progress)
        average.after_epoch(live, progress, nothing())
    # ema: 0.1 of the initial 0 and 0.9 of 4, then 2/11 of that and 9/11 of 8
    expected = 2 / 11 * 3.6 + 9 / 11 * 8 if kind == "ema" else 6.0
    assert float(average.module.w) == pytest.approx(expected, rel=1e-14)  # type: ignore[arg-type]


# Buffers


def test_buffers_are_copied_and_never_shared() -> None:
    live = normed_net()
    average = Average(live, Averaging("ema", start=0.0))
    live.train()
    live(torch.rand(4, 3, 5, 5))
    fresh = torch.zeros(4)
    assert torch.equal(average.module.get_buffer("1.running_mean"), fresh), "until the epoch ends"
    average.after_epoch(live, 0.5, nothing())
    copied = state_of(average.module)
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(copied[name], live.state_dict()[name])
        assert average.module.get_buffer(name).data_ptr() != live.get_buffer(name).data_ptr()
    assert copied["1.num_batches_tracked"] == 1
    live(torch.rand(4, 3, 5, 5))
    next(live.parameters()).data.fill_(9.0)
    for name, value in average.module.state_dict().items():
        assert torch.equal(value, copied[name])
    before = state_of(live)
    average.module.get_buffer("1.running_mean").fill_(5.0)
    assert torch.equal(live.state_dict()["1.running_mean"], before["1.running_mean"])


def test_reestimated_statistics_are_the_means_of_the_batches() -> None:
    """Of the first BatchNorm, by hand: the mean of each batch's mean and unbiased variance,
    where a moving average would have given 0.3 of the last batch alone."""
    model, pictures = normed_net(), some_batches()
    hidden = [model[0](x).detach() for x in pictures]
    means = torch.stack([h.mean((0, 2, 3)) for h in hidden]).mean(0)
    variances = torch.stack([h.transpose(0, 1).flatten(1).var(1) for h in hidden]).mean(0)
    reestimate(model, pictures)
    torch.testing.assert_close(model.get_buffer("1.running_mean"), means)
    torch.testing.assert_close(model.get_buffer("1.running_var"), variances)


def test_reestimated_statistics_are_those_of_torch() -> None:
    ours, theirs = normed_net(), normed_net()
    for model in (ours, theirs):
        model.train()
        model(torch.rand(4, 3, 5, 5) - 3)  # other statistics, which must not count
    reestimate(ours, some_batches())
    update_bn(some_batches(), theirs)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    assert [ours[1].momentum, ours[4].momentum] == [0.3, 0.1], "as they were"
    assert not any(module.training for module in ours.modules())
    assert all(p.grad is None and p.requires_grad for p in ours.parameters())


def test_reestimating_is_without_dropout_and_draws_nothing() -> None:
    model = nn.Sequential(nn.Dropout(0.5), normed_net())
    pictures, plain = some_batches(), normed_net()
    before = torch.get_rng_state()
    reestimate(model, pictures)
    assert torch.equal(torch.get_rng_state(), before)
    reestimate(plain, pictures)
    for name, value in plain.state_dict().items():
        assert torch.equal(model[1].state_dict()[name], value)


def test_a_network_without_batchnorm_is_not_run() -> None:
    for model in (nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)):
        reestimate(model, nothing())
    average = Average(nn.Linear(2, 2), Averaging("swa", batchnorm="reestimated"))
    average.after_epoch(nn.Linear(2, 2), 1.0, nothing())


def test_the_statistics_of_a_mean_are_measured_with_its_weights() -> None:
    live, pictures = normed_net(), some_batches()
    average = Average(live, Averaging("swa", start=0.0, batchnorm="reestimated"))
    average.after_epoch(live, 0.5, pictures)
    live.load_state_dict(normed_net(3).state_dict())
    average.after_epoch(live, 1.0, pictures)
    by_hand, states = normed_net(), (normed_net().state_dict(), normed_net(3).state_dict())
    by_hand.load_state_dict(
        {k: torch.lerp(v.float(), states[1][k].float(), 0.5) for k, v in states[0].items()}
    )
    update_bn(pictures, by_hand)
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, by_hand.state_dict()[name])


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_plain_copy_has_the_statistics_of_the_live_network(kind: str) -> None:
    """Until averaging starts nothing is measured: no picture is read, and it is a true copy."""
    settings = Averaging(kind, start=0.5, batchnorm="reestimated")  # type: ignore[arg-type]
    live, pictures = normed_net().train(), some_batches()
    average = Average(live, settings)
    for progress in (0.25, 0.5):
        live(torch.rand(4, 3, 5, 5))
        average.after_step(live, progress)
        average.after_epoch(live, progress, nothing())
        for name, value in average.module.state_dict().items():
            assert torch.equal(value, live.state_dict()[name])
    average.after_step(live, 0.75)
    average.after_epoch(live, 0.75, pictures)
    update_bn(pictures, live)  # the mean of the one network that is in it
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, live.state_dict()[name])


# Networks of all kinds


class Odd(nn.Module):
    """Tied weights, a frozen one, a float and an integer buffer, and a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight
        self.still = nn.Parameter(torch.rand(3) * 1e3, requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("mean", torch.rand(3))
        self.register_buffer("count", torch.tensor(2**40 + 1))


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_tied_frozen_and_integer_entries(kind: str) -> None:
    live = Odd()
    average = Average(live, Averaging(kind, decay=0.5, start=0.0))  # type: ignore[arg-type]
    mean, start = average.module, live.a.weight.detach().clone()
    assert isinstance(mean, Odd) and mean.b.weight is mean.a.weight
    frozen = live.still.detach().clone()
    for progress in (0.5, 1.0):
        with torch.no_grad():
            live.a.weight += 1
            live.get_buffer("count").add_(1)
            live.get_buffer("mean").mul_(3)
        average.after_step(live, progress)
        average.after_epoch(live, progress, nothing())
    # ema: 0.9 of the first step, then 9/11 of what is left to the second
    moved = 0.9 + 9 / 11 * 1.1 if kind == "ema" else 1.5
    torch.testing.assert_close(mean.a.weight.detach(), start + moved)
    assert torch.equal(mean.still, frozen), "to the bit, whatever the decay"
    for name in ("count", "mean"):
        assert torch.equal(mean.get_buffer(name), live.get_buffer(name))
    assert int(mean.get_buffer("count")) == 2**40 + 3
    assert not any(p.requires_grad for p in mean.parameters())
    assert live.a.weight.requires_grad and not live.still.requires_grad


def test_the_mean_is_in_eval_mode_and_the_live_network_as_it_was() -> None:
    live = normed_net().train()
    average = Average(live, Averaging("ema", start=0.0, batchnorm="reestimated"))
    before = state_of(live)
    average.after_step(live, 0.5)
    average.after_epoch(live, 0.5, some_batches())
    assert not any(module.training for module in average.module.modules())
    assert all(module.training for module in live.modules())
    assert all(torch.equal(value, before[name]) for name, value in live.state_dict().items())


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_what_is_restored_goes_on_to_the_same_bits(kind: str) -> None:
    settings = Averaging(kind, decay=0.9, start=0.3, batchnorm="reestimated")  # type: ignore[arg-type]
    steps = 6

    def advanced(average: Average, live: nn.Module, i: int) -> None:
        live.load_state_dict(normed_net(i).state_dict())
        average.after_step(live, (i + 1) / steps)
        average.after_epoch(live, (i + 1) / steps, some_batches())

    whole = Average(normed_net(), settings)
    saved = []
    for i in range(steps):
        saved.append(copy.deepcopy(whole.state()))
        advanced(whole, normed_net(), i)
    for done in range(steps):
        resumed = Average(normed_net(77), settings)
        resumed.restore(saved[done])
        for i in range(done, steps):
            advanced(resumed, normed_net(), i)
        assert resumed.count == whole.count == 5
        for name, value in whole.module.state_dict().items():
            assert torch.equal(resumed.module.state_dict()[name], value)


@pytest.mark.parametrize("name", ["decay", "start"])
@pytest.mark.parametrize("value", [1.0, 2.0, -0.1, float("nan")])
def test_fractions_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"--average-{name} must lie in \[0, 1\), not {value:g}"):
        Averaging(**{name: value})  # type: ignore[arg-type]
