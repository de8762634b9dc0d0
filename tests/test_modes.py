"""Context managers give back exactly the state that they found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest
import torch
from torch import nn

from hardy.modes import (
    attacked_in,
    autocast,
    clean_and_attacked,
    evaluating,
    forward_in,
    freeze_batchnorm,
    frozen,
    kept_batchnorm,
    only_trainable,
    without_tf32,
)


class OutOfBlockError(Exception):
    """Ends a block early."""


def mixed_net() -> nn.Sequential:
    """In train mode, except one BatchNorm frozen on purpose; its affine pair frozen too."""
    net = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4))
    )
    net[1].eval().requires_grad_(False)
    return net


def modes_of(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def required(net: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in net.parameters()]


def leave_by_exception(context: AbstractContextManager[None]) -> None:
    with pytest.raises(OutOfBlockError), context:
        raise OutOfBlockError


def test_evaluating_leaves_a_frozen_batchnorm_asleep() -> None:
    net = mixed_net()
    before = modes_of(net)
    assert before == [True, True, False, True, True, True]
    with evaluating(net):
        assert not any(modes_of(net))
    assert modes_of(net) == before
    leave_by_exception(evaluating(net))
    assert modes_of(net) == before


def test_evaluating_several_nets_and_nested() -> None:
    a, b = mixed_net(), mixed_net().eval()
    with evaluating(a, b), evaluating(a):
        assert not any(modes_of(a) + modes_of(b))
    assert modes_of(a) == modes_of(mixed_net())
    assert not any(modes_of(b))


@pytest.mark.parametrize(
    "context", [frozen, lambda net: only_trainable(net, frozenset({"0.bias"}))]
)
def test_required_gradients_come_back(
    context: Callable[[nn.Module], AbstractContextManager[None]],
) -> None:
    net = mixed_net()
    before = required(net)
    assert before == [True, True, False, False, True, True]
    with context(net):
        assert required(net) != before
    assert required(net) == before
    leave_by_exception(context(net))
    assert required(net) == before


def test_frozen_freezes_all_and_only_trainable_exactly_the_named() -> None:
    net = mixed_net()
    with frozen(net):
        assert not any(required(net))
    names = frozenset({"0.weight", "1.bias"})
    with only_trainable(net, names):
        assert {n for n, p in net.named_parameters() if p.requires_grad} == names
    with only_trainable(net, None):
        assert required(net) == required(mixed_net())


def test_kept_batchnorm_comes_back_to_the_bit() -> None:
    net = mixed_net().train()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    x = torch.randn(8, 4)
    with kept_batchnorm(net):
        net(x)
        assert not torch.equal(net.get_buffer("1.running_mean"), before["1.running_mean"])
        assert net[1].num_batches_tracked == 1
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    with pytest.raises(OutOfBlockError), kept_batchnorm(net):
        net(x)
        raise OutOfBlockError
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def test_kept_batchnorm_spoils_no_graph_recorded_before() -> None:
    """TRADES may record f(x) before it attacks: its backward pass must still work."""
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    x = torch.randn(8, 4)
    (expected,) = torch.autograd.grad(net(x).pow(4).sum(), net.get_parameter("0.weight"))
    recorded = net(x).pow(4).sum()
    with kept_batchnorm(net):
        net(2 * x)
    (found,) = torch.autograd.grad(recorded, net.get_parameter("0.weight"))
    assert torch.equal(found, expected)


def test_attacked_in_eval_sleeps_and_in_train_stays_awake() -> None:
    net = mixed_net()
    before = modes_of(net)
    with attacked_in("eval", net):
        assert not any(modes_of(net))
    assert modes_of(net) == before
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    for leave_early in (False, True):
        with suppress(OutOfBlockError), attacked_in("train", net):
            assert modes_of(net) == before
            net(torch.randn(8, 4))
            assert net.get_buffer("2.1.num_batches_tracked") == 1
            if leave_early:
                raise OutOfBlockError
        assert all(torch.equal(buffer, buffers[name]) for name, buffer in net.named_buffers())


def test_clean_and_attacked_are_one_batch_or_two() -> None:
    """In train mode BatchNorm takes 0, 2 to -1, 1 and 6, 8 as well; together they are
    -4, -2, 2, 4 over the root of 10. Where statistics are given both are the same."""
    net = nn.BatchNorm1d(1, eps=1e-12).double()
    x, x_adv = torch.tensor([[0.0], [2.0]]).double(), torch.tensor([[6.0], [8.0]]).double()
    for logits in clean_and_attacked(net, x, x_adv, "separate"):
        torch.testing.assert_close(logits.flatten(), torch.tensor([-1.0, 1.0]).double())
    assert net.num_batches_tracked == 2
    clean, attacked = clean_and_attacked(net, x, x_adv, "joint")
    assert net.num_batches_tracked == 3
    expected = torch.tensor([-4.0, -2.0, 2.0, 4.0]).double() / 10**0.5
    torch.testing.assert_close(torch.cat([clean, attacked]).flatten(), expected)
    net.eval()
    separate, joint = (clean_and_attacked(net, x, x_adv, how) for how in ("separate", "joint"))
    torch.testing.assert_close(separate, joint)


def test_clean_and_attacked_of_a_single_picture() -> None:
    net, x = nn.Linear(4, 2), torch.randn(1, 4)
    for how in ("separate", "joint"):
        clean, attacked = clean_and_attacked(net, x, 2 * x, how)
        torch.testing.assert_close((clean, attacked), (net(x), net(2 * x)))


def test_freeze_batchnorm_leaves_dropout_awake() -> None:
    net = mixed_net()
    freeze_batchnorm(net)
    assert modes_of(net) == [True, True, False, True, True, False]


def test_autocast_off_changes_nothing() -> None:
    net, x = mixed_net().eval(), torch.randn(3, 4)
    assert torch.equal(forward_in(net, "cpu", "fp32")(x), net(x))
    assert forward_in(net.double(), "cpu", "fp32")(x.double()).dtype == torch.float64


def test_autocast_on_is_bfloat16_inside_only() -> None:
    net, x = nn.Linear(4, 2), torch.randn(3, 4)
    assert forward_in(net, torch.device("cpu"), "bf16")(x).dtype == torch.bfloat16
    with autocast("cpu", "bf16"):
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    assert net(x).dtype == torch.float32


def test_single_precision_is_one_inside_and_the_rest_as_it_was() -> None:
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    with pytest.raises(RuntimeError), without_tf32():
        assert (convolutions.allow_tf32, products.allow_tf32) == (False, False)
        raise RuntimeError
    assert (convolutions.allow_tf32, products.allow_tf32) == before
    assert True in before, "else nothing was seen to change"
