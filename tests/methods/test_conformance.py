"""Every method keeps the contract of methods/protocol.py. A new file is found by itself."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.draws import Draws
from hardy.methods.find import find, make, names
from hardy.methods.protocol import Nets
from hardy.threat import L2, Linf, Threat

B, K = 6, 3
every_method = pytest.mark.parametrize("name", names())
both_norms = pytest.mark.parametrize("threat", [Linf(8 / 255), L2(0.5)], ids=repr)


def some_net(seed: int) -> nn.Sequential:
    """Train mode, with dropout, except one BatchNorm that was frozen on purpose."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        nn.Dropout(0.2),
        nn.Linear(36, K),
    )
    net[1].eval()
    return net


def some_nets() -> Nets:
    student = some_net(0)
    teachers: dict[str, nn.Module] = defaultdict(lambda: some_net(1).eval())
    for role in ("teacher", "robust", "clean"):
        teachers[role]  # a defaultdict makes whatever other role a method asks for
    return Nets(student=student, module=student, forward=student, teachers=teachers)


def some_batch() -> Batch:
    draws = Draws(seed=0, epoch=0, index=torch.arange(B))
    x = draws.uniform((3, 8, 8), "x")
    return Batch(x, draws.integers(K, (), "y"), draws.index, draws)


def all_modules(nets: Nets) -> list[nn.Module]:
    roots = [nets.module, *nets.teachers.values()]
    return [module for root in roots for module in root.modules()]


def picture_of(nets: Nets) -> list[object]:
    """Everything that a method must leave as it is, but for gradients."""
    state: list[object] = []
    for module in all_modules(nets):
        state.append(module.training)
        for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            state += [tensor.requires_grad, tensor.detach().clone()]
    return state


def assert_same(found: list[object], before: list[object]) -> None:
    for a, b in zip(found, before, strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b


@every_method
@both_norms
def test_adversary_is_in_ball_and_box_and_leaves_no_trace(name: str, threat: Threat) -> None:
    method, batch = make(name), some_batch()
    nets = method.prepare(some_nets())
    before, x, y = picture_of(nets), batch.x.clone(), batch.y.clone()
    x_adv = method.adversary(nets, batch, PGD(threat, steps=2))
    assert x_adv.shape == batch.x.shape and x_adv.dtype == batch.x.dtype
    assert not x_adv.requires_grad
    assert (threat.distance(x_adv, batch.x) <= threat.eps + 1e-6).all()
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert_same(picture_of(nets), before)  # modes, weights, BatchNorm's buffers
    assert all(p.grad is None for m in all_modules(nets) for p in m.parameters())
    assert torch.equal(batch.x, x) and torch.equal(batch.y, y)


@every_method
@pytest.mark.parametrize("progress", [0.0, 0.999])
def test_loss_is_finite_and_its_gradients_only_the_students(name: str, progress: float) -> None:
    method, batch = make(name), some_batch()
    nets = method.prepare(some_nets())
    modes = [module.training for module in all_modules(nets)]
    x_adv = method.adversary(nets, batch, PGD(Linf(8 / 255), steps=2))
    values = method.loss(nets, batch, x_adv, progress)
    assert [module.training for module in all_modules(nets)] == modes
    assert "loss" in values
    for key, value in values.items():
        assert isinstance(key, str) and value.shape == () and value.isfinite()
    values["loss"].backward()
    for parameter_name, parameter in nets.module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{parameter_name} learns nothing"
            assert parameter.grad.isfinite().all()
    for teacher in nets.teachers.values():
        assert all(p.grad is None for p in teacher.parameters())


@every_method
def test_the_same_batch_gives_the_same_adversary(name: str) -> None:
    method, batch, attack = make(name), some_batch(), PGD(Linf(8 / 255), steps=2)
    found = []
    for _ in range(2):
        nets = method.prepare(some_nets())
        torch.manual_seed(0)  # dropout in an attack in train mode
        found.append(method.adversary(nets, batch, attack))
    assert torch.equal(*found)


@every_method
def test_around_step_gives_the_weights_back(name: str) -> None:
    method, batch = make(name), some_batch()
    nets = method.prepare(some_nets())
    x_adv = method.adversary(nets, batch, PGD(Linf(8 / 255), steps=1))
    before = {key: p.detach().clone() for key, p in nets.module.named_parameters()}

    def loss_of() -> Tensor:
        return method.loss(nets, batch, x_adv, 0.5)["loss"]

    with method.around_step(nets, loss_of, 0.5):
        loss_of().backward()
    for key, parameter in nets.module.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[key], rtol=0, atol=1e-6)


@every_method
def test_what_is_deployed_is_a_plain_network(name: str) -> None:
    method = make(name)
    model = method.deployable(method.prepare(some_nets()))
    assert isinstance(model, nn.Module)
    assert model.eval()(some_batch().x).shape == (B, K)


@every_method
def test_one_paper_one_short_file(name: str) -> None:
    kind = find(name)
    source = Path(inspect.getfile(kind))
    assert source.stem == name
    assert len(source.read_text(encoding="utf-8").splitlines()) < 120
    docstring = inspect.getdoc(inspect.getmodule(kind)) or ""
    if name != "standard":  # nobody's paper
        assert re.search(r"\b(19|20)\d\d\b", docstring), "the docstring cites no paper"
    assert kind.__doc__ and kind.select_on in ("clean", "robust")


@every_method
def test_settings_are_a_frozen_dataclass_that_prints_itself(name: str) -> None:
    method = make(name)
    assert is_dataclass(method)
    assert repr(method).startswith(type(method).__name__)
    assert all(f"{f.name}=" in repr(method) for f in fields(method))
    assert method == make(name) and hash(method) == hash(make(name))
    with pytest.raises(FrozenInstanceError):
        method.anything = 1  # type: ignore[attr-defined]


def test_the_standard_methods_are_there() -> None:
    assert {"standard", "pgd_at"} <= set(names())
