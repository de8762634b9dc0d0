"""bf16 where it is fast, fp32 where it counts: weights, gradients and losses stay full, and the
weights are cast once an attack, to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from every_method import bare_and_wrapped, usual
from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.methods.find import make
from hardy.methods.protocol import Method, Nets
from hardy.threat import Linf
from hardy.training.engine import Engine
from hardy.training.loop import Loop, Settings, started

K, B, STEPS = 3, 6, 3
aten = torch.ops.aten
every_method = pytest.mark.parametrize("method", list(filter(usual, bare_and_wrapped())), ids=repr)


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    body = (nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(36, K))


def loop_of(method: Method, precision: str = "bf16") -> Loop:
    draws = Draws(0, 0, torch.arange(B))
    images = draws.integers(256, (3, 8, 8), "images").to(torch.uint8)
    train = Split(images, draws.integers(K, (), "labels"), draws.index, "train")
    student = net()
    teachers: dict[str, nn.Module] = {"robust": net(1), "natural": net(2)}
    nets = Nets(student, student, student, teachers)
    settings = Settings(epochs=2, batch_size=B)
    engine = Engine(torch.device("cpu"), precision)
    found = started(engine, nets, method, PGD(Linf(0.05), STEPS), train, None, settings, "")
    found.nets.module.train()
    return found


class Watching(TorchDispatchMode):
    """Tells of every operator that runs inside, and what goes into it."""

    def __init__(self, tell: Callable[[Any, tuple[Any, ...], dict[str, Any]], None]) -> None:
        super().__init__()
        self.tell = tell

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.tell(func.overloadpacket, args, kwargs or {})
        return func(*args, **(kwargs or {}))


# What makes a loss of logits; the networks of this file have none of them.
LOSSES = {
    aten._log_softmax,
    aten._log_softmax_backward_data,
    aten._softmax,
    aten._softmax_backward_data,
    aten.nll_loss_forward,
    aten.nll_loss_backward,
    aten.logsumexp,
    aten.exp,
    aten.log,
    aten.mean,
    aten.pow,
}


@every_method
def test_losses_weights_and_gradients_are_full(method: Method) -> None:
    loop = loop_of(method)
    into_losses: list[torch.dtype] = []
    into_convolutions: list[torch.dtype] = []

    def tell(packet: Any, args: tuple[Any, ...], _: Any) -> None:
        kinds = [each.dtype for each in args if isinstance(each, Tensor)]
        if packet in LOSSES:
            into_losses.extend(kind for kind in kinds if kind.is_floating_point)
        if packet is aten.convolution:
            into_convolutions.extend(kinds)

    with Watching(tell):
        for epoch in range(2):
            values = loop.step(next(loop.batches(epoch)), epoch * loop.steps, 0.1)
            assert {value.dtype for value in values.values()} == {torch.float32}
    assert set(into_losses) == {torch.float32}
    assert torch.bfloat16 in into_convolutions, "and the network is not"
    for parameter in loop.nets.module.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32
    for state in loop.optimizer.state.values():
        assert state["momentum_buffer"].dtype == torch.float32


def casts(loop: Loop, work: Callable[[], object]) -> list[int]:
    """How often each weight of the student is cast meanwhile."""
    found = {p.data_ptr(): 0 for p in loop.nets.module.parameters() if p.ndim > 1}

    def tell(packet: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        half = packet is aten._to_copy and kwargs["dtype"] is torch.bfloat16
        if half and args[0].data_ptr() in found:
            found[args[0].data_ptr()] += 1

    with Watching(tell):
        work()
    return list(found.values())


@every_method
def test_weights_are_cast_once_an_attack_to_the_same_bits(method: Method) -> None:
    loop = loop_of(method)
    batch, attacks = next(loop.batches(0)), []

    def plainly() -> None:
        attacks.append(loop.method.adversary(loop.nets, batch, loop.attack))

    def as_the_loop_does() -> None:
        attacks.append(loop.attacked(loop.method, batch, loop.attack))

    each, once = casts(loop, plainly), casts(loop, as_the_loop_does)
    assert torch.equal(*attacks)
    if method.adversary(loop.nets, batch, loop.attack) is batch.x:
        assert not any(once), "nothing is attacked"
        return
    assert set(once) == {1} and len(set(each)) == 1
    assert each[0] >= 1 + ("FastAT" not in repr(method)) * (STEPS - 1)


@every_method
def test_a_step_is_the_same_to_the_bit(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outer loss, too, whose gradients the casts of the attack must not cut off."""
    weights = []
    for plainly in (False, True):
        loop = loop_of(method)
        if plainly:
            monkeypatch.setattr(Engine, "attacking", lambda *_: nullcontext())
        before = [p.detach().clone() for p in loop.nets.module.parameters()]
        loop.step(next(loop.batches(0)), 0, 0.1)
        after = [p.detach().clone() for p in loop.nets.module.parameters()]
        assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        weights.append(torch.cat([p.flatten() for p in after]))
    assert torch.equal(*weights)


def test_what_is_not_the_network_keeps_its_precision_in_an_attack() -> None:
    loop = loop_of(make("pgd_at"))
    x = torch.full((2, 2), 1 + 2**-12)
    with loop.engine.attacking(loop.nets.module):
        assert (x @ x).dtype == torch.float32
        with loop.engine.autocast():
            assert (x @ x).dtype == torch.bfloat16
    assert loop_of(make("pgd_at"), "fp32").engine.autocast() is not None
