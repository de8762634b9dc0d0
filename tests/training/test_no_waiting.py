"""No step waits for the device: what makes it wait is refused while real steps are made.

On a GPU a step is a list of work that Python has written down before the first of it is done.
Reading a value, or asking for a shape that depends on values, stops Python until all of it is
computed, and then the GPU has nothing to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from every_method import bare_and_wrapped, usual
from hardy.attacks.pgd import PGD
from hardy.data.augment import Augment
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.methods.find import make
from hardy.methods.protocol import Method, Nets
from hardy.methods.standard import Standard
from hardy.threat import L2, Linf, Threat
from hardy.training.averaging import Averaging
from hardy.training.engine import Engine
from hardy.training.loop import Loop, Settings, started
from hardy.training.phases import Probing
from hardy.training.watch import NotFinite

CPU = torch.device("cpu")
K, B = 3, 8
aten = torch.ops.aten
# Each gives a value to Python, or a result whose shape hangs on values.
WAITING = {
    aten._local_scalar_dense,
    aten.equal,
    aten.is_nonzero,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.unique_dim_consecutive,
    aten.bincount,
    aten.repeat_interleave,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index}
# On a CPU these copy nothing, so no operator is to be seen.
READING = ("tolist", "numpy", "cpu")


class WaitsError(AssertionError):
    """A step would have waited for the device."""


class NeverWaits(TorchDispatchMode):
    """Refuses every operator for which a device must be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if packet in WAITING:
            raise WaitsError(str(func))
        if packet in INDEXING and any(map(is_mask, args[1])):
            raise WaitsError(f"{func} with a mask")
        return func(*args, **(kwargs or {}))


def is_mask(index: object) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


@contextmanager
def never_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refused(name: str) -> Callable[..., Any]:
        def refuse(*_: Any, **__: Any) -> None:
            raise WaitsError(name)

        return refuse

    with monkeypatch.context() as patch, NeverWaits():
        for name in READING:
            patch.setattr(Tensor, name, refused(name))
        yield


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(36, K),
    )


def loop_of(
    method: Method, precision: str = "fp32", threat: Threat | None = None, **more: Any
) -> Loop:
    draws = Draws(0, 0, torch.arange(3 * B))
    images = draws.integers(256, (3, 8, 8), "images").to(torch.uint8)
    train = Split(images, draws.integers(K, (), "labels"), draws.index, "train")
    student = net()
    teachers: dict[str, nn.Module] = {"robust": net(1), "natural": net(2)}
    settings = Settings(epochs=2, batch_size=B, **more)
    engine, nets = Engine(CPU, precision), Nets(student, student, student, teachers)
    attack = PGD(threat or Linf(0.05), 2)
    return started(engine, nets, method, attack, train, Augment(1), settings, "")


def steps_without_waiting(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """One step in each epoch, and the batch of each."""
    loop.nets.module.train()
    watch, values = NotFinite(), {}
    for epoch in range(loop.settings.epochs):
        feed = loop.batches(epoch)
        with never_waiting(monkeypatch):
            values = loop.step(next(feed), epoch * loop.steps, 0.1)
            watch.note(epoch * loop.steps, values)
    return values


METHODS = [
    pytest.param(method, marks=() if usual(method) else pytest.mark.slow, id=repr(method))
    for method in bare_and_wrapped()
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_of_any_method_waits(
    method: Method, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loop_of(method, precision, accumulate=2)
    values = steps_without_waiting(loop, monkeypatch)
    assert values["loss"].isfinite()


@pytest.mark.parametrize(
    "more",
    [
        {"average": Averaging("ema", start=0.0)},
        {"eps_warmup": 1},
        {"probing": Probing(1, "5", Standard())},
        {"batchnorm": "frozen", "nesterov": True},
    ],
    ids=lambda more: next(iter(more)),
)
def test_no_setting_makes_a_step_wait(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steps_without_waiting(loop_of(make("pgd_at"), **more), monkeypatch)


def test_nor_does_the_other_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_without_waiting(loop_of(make("trades"), threat=L2(0.5)), monkeypatch)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: float(x[0, 0]),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: torch.equal(x, x),
        lambda x: x.index_put_((x > 0,), torch.zeros(())),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: torch.where(x > 0),
    ],
)
def test_the_refusal_sees_what_waits(
    wait: Callable[[Tensor], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.ones(2, 2)
    with pytest.raises(WaitsError), never_waiting(monkeypatch):
        wait(x)


def test_it_lets_pass_what_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    x, rows = torch.ones(2, 2), torch.tensor([1, 0])
    with never_waiting(monkeypatch):
        assert x[rows].shape == x[:, 0:1].expand(2, 2).shape
        x[rows] = torch.where(x > 0, x, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_says_the_same(method: Method) -> None:
    """Torch's own watch over it, which sees copies to the host too."""
    device = torch.device("cuda", 0)
    on_cpu = loop_of(method, "bf16")
    nets = replace(on_cpu.nets, module=net().to(device))
    nets = replace(nets, teachers={role: net(1).to(device) for role in ("robust", "natural")})
    train = on_cpu.train.to(device)
    loop = started(
        Engine(device, "bf16"), nets, method, on_cpu.attack, train, None, on_cpu.settings, ""
    )
    loop.nets.module.train()
    feed = loop.batches(0)
    for step in range(2):  # the first makes what lasts, such as the momentum
        batch = next(feed)
        torch.cuda.synchronize()
        if step:
            torch.cuda.set_sync_debug_mode("error")
        with contextlib.ExitStack() as stack:
            stack.callback(torch.cuda.set_sync_debug_mode, "default")
            loop.step(batch, step, 0.1)
