"""Every method keeps the contract of methods/protocol.py, bare and in every wrapper. A new file,
of a method or of a wrapper, is found by itself."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from every_method import bare_and_wrapped, wrappers
from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.draws import Draws
from hardy.methods.find import find, make, names
from hardy.methods.protocol import LossOf, Method, Nets
from hardy.modes import forward_in, freeze_batchnorm
from hardy.threat import L2, Linf, Threat

B, K = 6, 3


every_method = pytest.mark.parametrize("method", bare_and_wrapped(), ids=repr)
every_kind = pytest.mark.parametrize(
    "kind", [*map(find, names()), *wrappers()], ids=lambda kind: kind.__name__
)
both_norms = pytest.mark.parametrize("threat", [Linf(8 / 255), L2(0.5)], ids=repr)


def some_net(seed: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Train mode, with dropout, except one BatchNorm that was frozen on purpose."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        activation(),
        nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.BatchNorm2d(4), activation(), nn.Flatten()),
        nn.Dropout(0.2),
        nn.Linear(36, K),
    )
    net[1].eval()
    return net


def some_nets(activation: type[nn.Module] = nn.ReLU) -> Nets:
    student = some_net(0, activation)
    teachers: dict[str, nn.Module] = defaultdict(lambda: some_net(1).eval())
    for role in ("robust", "natural"):
        teachers[role]  # a defaultdict makes whatever other role a method asks for
    return Nets(student=student, module=student, forward=student, teachers=teachers)


def some_batch(count: int = B, classes: int = K) -> Batch:
    draws = Draws(seed=0, epoch=0, index=torch.arange(count))
    x = draws.uniform((3, 8, 8), "x")
    return Batch(x, draws.integers(classes, (), "y"), draws.index, draws)


def parts_of(method: Method, batch: Batch, x_adv: Tensor, cuts: Sequence[slice]) -> list[LossOf]:
    """The parts whose sum is the loss of a step."""

    def part(nets: Nets, rows: slice) -> Tensor:
        loss = method.loss(nets, batch.take(rows), x_adv[rows], 0.5)["loss"]
        return loss * (len(x_adv[rows]) / len(batch))

    return [partial(part, rows=rows) for rows in cuts]


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
def test_adversary_is_in_ball_and_box_and_leaves_no_trace(method: Method, threat: Threat) -> None:
    batch = some_batch()
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
def test_loss_is_finite_and_its_gradients_only_the_students(
    method: Method, progress: float
) -> None:
    batch = some_batch()
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
def test_the_same_batch_gives_the_same_adversary(method: Method) -> None:
    batch, attack = some_batch(), PGD(Linf(8 / 255), steps=2)
    found = []
    for _ in range(2):
        nets = method.prepare(some_nets())
        torch.manual_seed(0)  # dropout in an attack in train mode
        found.append(method.adversary(nets, batch, attack))
    assert torch.equal(*found)


@every_method
@pytest.mark.parametrize(
    "cuts", [[slice(0, 6)], [slice(0, 4), slice(4, 6)]], ids=["whole", "parts"]
)
def test_around_step_gives_everything_back_but_the_gradients(
    method: Method, cuts: list[slice]
) -> None:
    batch = some_batch()
    nets = method.prepare(some_nets())
    freeze_batchnorm(nets.module)  # nothing but around_step is to touch its buffers
    x_adv = method.adversary(nets, batch, PGD(Linf(8 / 255), steps=1))
    before = picture_of(nets)
    parts = parts_of(method, batch, x_adv, cuts)
    with method.around_step(nets, parts, 0.5):
        for part in parts:
            part(nets).backward()
    for found, expected in zip(picture_of(nets), before, strict=True):
        if isinstance(found, Tensor):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        else:
            assert found == expected
    assert all(p.grad is not None and p.grad.isfinite().all() for p in nets.module.parameters())


@every_method
def test_around_step_adds_no_gradient_of_its_own(method: Method) -> None:
    batch = some_batch()
    nets = method.prepare(some_nets())
    x_adv = method.adversary(nets, batch, PGD(Linf(8 / 255), steps=1))
    with method.around_step(nets, parts_of(method, batch, x_adv, [slice(0, B)]), 0.5):
        assert all(p.grad is None for m in all_modules(nets) for p in m.parameters())


@every_method
def test_a_step_is_the_optimizers_and_lowers_the_loss(method: Method) -> None:
    """On a smooth network: with ReLU a loss of input gradients jumps where a unit switches."""
    batch = some_batch()
    nets = method.prepare(some_nets(nn.Tanh))
    nets.module.eval()
    x_adv = method.adversary(nets, batch, PGD(Linf(8 / 255), steps=2))
    sgd = torch.optim.SGD(nets.module.parameters(), lr=0.01)
    (part,) = parts_of(method, batch, x_adv, [slice(0, B)])
    before = part(nets).item()
    with method.around_step(nets, [part], 0.5):
        part(nets).backward()
        sgd.step()
    assert part(nets).item() < before


@every_method
def test_a_batch_of_one_and_two_classes(method: Method) -> None:
    net = nn.Sequential(some_net(0), nn.Linear(K, 2))
    plain = some_nets()
    two = {role: nn.Sequential(each, nn.Linear(K, 2)) for role, each in plain.teachers.items()}
    nets = method.prepare(replace(plain, student=net, module=net, forward=net, teachers=two))
    batch = some_batch(1, 2)
    x_adv = method.adversary(nets, batch, PGD(Linf(8 / 255), steps=2))
    assert x_adv.shape == (1, 3, 8, 8)
    values = method.loss(nets, batch, x_adv, 0.5)
    assert all(value.shape == () and value.isfinite() for value in values.values())


@every_method
def test_under_autocast_pictures_and_losses_stay_float32(method: Method) -> None:
    plain = some_nets()
    forward = forward_in(plain.module, "cpu", "bf16")
    nets = method.prepare(replace(plain, student=forward, forward=forward))
    batch, threat = some_batch(), Linf(8 / 255)
    x_adv = method.adversary(nets, batch, PGD(threat, steps=2))
    assert x_adv.dtype == torch.float32
    assert (threat.distance(x_adv, batch.x) <= threat.eps + 1e-6).all()
    values = method.loss(nets, batch, x_adv, 0.5)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in values.values())


@every_method
def test_what_is_deployed_is_a_plain_network(method: Method) -> None:
    model = method.deployable(method.prepare(some_nets()))
    assert isinstance(model, nn.Module)
    assert model.eval()(some_batch().x).shape == (B, K)


@every_kind
def test_one_paper_one_short_file(kind: type[Method]) -> None:
    source = Path(inspect.getfile(kind))
    assert len(source.read_text(encoding="utf-8").splitlines()) < 120
    docstring = inspect.getdoc(inspect.getmodule(kind)) or ""
    if source.stem != "standard":  # nobody's paper
        assert re.search(r"\b(19|20)\d\d\b", docstring), "the docstring cites no paper"
        assert re.search(r"arXiv \d{4}\.\d{5}|ICLR|ICML|ICCV|CVPR|NeurIPS", docstring)
    # What a dataclass writes by itself is its signature.
    assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")


@pytest.mark.parametrize("name", names())
def test_a_method_is_named_after_its_file(name: str) -> None:
    assert Path(inspect.getfile(find(name))).stem == name


@pytest.mark.parametrize("kind", wrappers(), ids=lambda kind: kind.__name__)
def test_a_wrapper_has_a_base_and_defaults_for_the_rest(kind: Any) -> None:
    first, *others = fields(kind)
    assert first.name == "base"
    for name in names():
        method = kind(base=make(name))
        assert method.select_on == make(name).select_on
        assert method.roles == make(name).roles
        assert all(hasattr(method, f.name) for f in others)


@pytest.mark.parametrize("kind", wrappers(), ids=lambda kind: kind.__name__)
def test_a_wrapper_refuses_the_networks_that_its_base_refuses(kind: Any) -> None:
    nets = (some_net(0), nn.Sequential(nn.Flatten(), nn.Linear(192, K)))
    bases = [make(name) for name in names()]
    refused = [[refuses(method, net) for net in nets] for method in bases]
    assert refused == [[refuses(kind(base=method), net) for net in nets] for method in bases]
    assert [False, True] in refused and [False, False] in refused


def refuses(method: Method, net: nn.Module) -> bool:
    try:
        method.check(net, fresh=False)
    except ValueError:
        return True
    return False


@every_method
def test_settings_are_a_frozen_dataclass_that_prints_itself(method: Method) -> None:
    assert is_dataclass(method)
    assert repr(method).startswith(type(method).__name__)
    assert all(f"{f.name}=" in repr(method) for f in fields(method))
    assert method == replace(method) and hash(method) == hash(replace(method))
    assert method.select_on in ("clean", "robust")
    with pytest.raises(FrozenInstanceError):
        method.anything = 1  # type: ignore[attr-defined]


def test_all_of_them_are_found() -> None:
    assert {"standard", "pgd_at", "trades", "mart", "score", "fast_at", "twins"} | {
        "ard",
        "iad",
        "rslad",
        "adaad",
        "adaiad",
    } <= set(names())
    assert {"AWP", "LIGSRegularised"} <= {kind.__name__ for kind in wrappers()}
    assert "PGDAT(attack_mode='train')" in map(repr, bare_and_wrapped())
    assert not {"protocol", "find", "options", "wrappers", "teacher", "distillation"} & set(names())
