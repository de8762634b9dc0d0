"""Compiled or refused in one line: nothing in between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardy import compiled as room
from hardy.compiled import Compiled, forget, must_compile
from hardy.modes import frozen

CPU = torch.device("cpu")
X = torch.linspace(0, 1, 4 * 2 * 3 * 3).view(4, 2, 3, 3)


class Plain(nn.Module):
    """With a BatchNorm, which learns, and dropout, which draws."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Tanh())
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Breaking(Plain):
    """Looks at a value on its way, or only in train mode."""

    def __init__(self, only_in_training: bool = False) -> None:
        super().__init__()
        self.only = only_in_training

    def forward(self, x: Tensor) -> Tensor:
        looks = self.training or not self.only
        return super().forward(x + 1 if looks and x.sum() > 0 else x)


class Counting(Plain):
    """Another number in each pass, so another graph."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


@pytest.fixture(autouse=True)
def clean() -> None:
    forget()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No code is generated: graphs are made, and run as torch would without compiling."""
    usual = torch.compile

    def compile_(network: Any, *, fullgraph: bool, backend: Any = "eager") -> Any:
        assert fullgraph
        return usual(network, fullgraph=True, backend=backend)

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda _: lambda graph, _: graph.forward)


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        work()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_can_be_compiled_passes_and_is_left_as_it_was(traced: None) -> None:
    network = Plain().eval()
    before = copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    must_compile(CPU, [network], X)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("only_in_training", [False, True])
def test_a_graph_break_is_an_error(only_in_training: bool, traced: None) -> None:
    network = Breaking(only_in_training).eval()
    expected = (
        r"--compile: the network cannot be compiled as a whole \(.*branching.*\): leave --comp"
    )
    with pytest.raises(ValueError, match=expected):
        must_compile(CPU, [Plain(), network], X)
    if only_in_training:
        must_compile(CPU, [network], X, modes=(False,))
    with pytest.raises(ValueError, match=expected):
        Compiled(network.train())(X)


def test_too_many_graphs_are_an_error(traced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIMIT", 3)
    network = Compiled(Counting().eval())
    for _ in range(3):
        network(X)
    assert "needs more than 3 graphs: leave --compile out" in refused(lambda: network(X))


def test_modes_gradients_and_sizes_are_not_too_many(traced: None) -> None:
    plain = Plain()
    network = Compiled(plain)

    def passes(x: Tensor) -> None:
        network(x.requires_grad_())
        with frozen(plain):
            network(x)
        with torch.no_grad():
            network(x)

    for training in (False, True):
        plain.train(training)
        for count in (4, 3, 1, 2):
            passes(X[:count].clone())


def test_a_missing_compiler_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any) -> None:
        raise RuntimeError("No working C++ compiler found\nin a list of them")

    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda _: no_compiler)
    said = refused(lambda: must_compile(CPU, [Plain()], X))
    assert "No working C++ compiler found)" in said
    assert "install a C++ compiler such as g++" in said and said.endswith("leave --compile out")


def test_a_compiler_that_is_switched_off_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    said = refused(lambda: must_compile(CPU, [Plain()], X))
    assert "switched off here: unset TORCH_COMPILE_DISABLE and TORCHDYNAMO_DISABLE" in said


def test_the_network_stays_what_it_was(traced: None) -> None:
    plain = Plain()
    network = Compiled(plain)
    assert list(network.children()) == [plain]
    assert [id(p) for p in network.parameters()] == [id(p) for p in plain.parameters()]
    network.eval()
    assert torch.equal(network(X), plain(X)) and not plain.training
    assert not any("_orig_mod" in name for name in network.state_dict())


@pytest.mark.slow
def test_compiled_for_real_it_says_the_same() -> None:
    if_there_is_a_compiler()
    plain = Plain().eval()
    network = Compiled(plain)
    for count in (4, 3, 1):
        found = []
        for forward in (plain, network):
            x = X[:count].clone().requires_grad_()
            with frozen(plain):
                logits = forward(x)
            assert logits.requires_grad
            found.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), x)))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def if_there_is_a_compiler() -> None:
    try:
        must_compile(CPU, [], X)
    except ValueError as error:
        pytest.skip(f"nothing can be compiled here: {error}")
