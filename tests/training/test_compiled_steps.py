"""Compiled steps are the steps of the network as it is written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compiled_cases import in_one_of_two, loop_of, net, stepped
from torch import Tensor, nn

from hardy.compiled import forget, must_compile
from hardy.data.loader import Batch
from hardy.methods.find import make
from hardy.methods.protocol import Method, Nets
from hardy.methods.wrappers.awp import AWP
from hardy.methods.wrappers.ligs import LIGSRegularised
from hardy.training.engine import Engine
from hardy.training.processes import in_processes, packed

CPU = torch.device("cpu")
METHODS = [
    make("pgd_at", ("attack_mode=train",)),
    make("trades"),
    make("adaad"),
    make("twins"),
    AWP(make("pgd_at")),
    LIGSRegularised(make("pgd_at")),
]


@pytest.fixture
def by_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs with backward passes of their own, as compiled ones have, but no generated code."""
    usual = torch.compile

    def compile_(network: Any, *, fullgraph: bool) -> Any:
        return usual(network, fullgraph=fullgraph, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", compile_)


@pytest.mark.parametrize(
    ("method", "precision"),
    [*((method, "fp32") for method in METHODS), (METHODS[1], "bf16")],
    ids=lambda value: value if isinstance(value, str) else repr(value),
)
def test_the_graphs_are_the_network(method: Method, precision: str, by_autograd: None) -> None:
    plain = stepped(loop_of(Engine(CPU, precision), method))
    graphs = stepped(loop_of(Engine(CPU, precision, compiled=True), method))
    assert plain.keys() == graphs.keys(), "names of the state are the network's own"
    within = {"fp32": 1e-5, "bf16": 0.02}[precision]
    for name, value in plain.items():
        torch.testing.assert_close(graphs[name], value, rtol=0, atol=within)


def test_an_attack_asks_for_no_gradient_of_weights(by_autograd: None) -> None:
    """A compiled backward pass would compute them, asked or not."""
    seen: list[bool] = []

    class Seeing(type(make("pgd_at"))):
        def adversary(self, nets: Nets, batch: Batch, attack: Any) -> Tensor:
            seen.extend(p.requires_grad for p in nets.module.parameters())
            return super().adversary(nets, batch, attack)

    loop = loop_of(Engine(CPU, compiled=True), Seeing())
    stepped(loop)
    assert seen and not any(seen)
    assert all(p.requires_grad and p.grad is not None for p in loop.nets.module.parameters())


def test_what_is_deployed_is_not_compiled(by_autograd: None) -> None:
    student = net()
    loop = loop_of(Engine(CPU, compiled=True), make("pgd_at"), student)
    assert loop.deployed()["live"] is student


def test_a_network_that_cannot_be_compiled_is_refused_in_a_step(by_autograd: None) -> None:
    class Breaking(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 2 if x.sum() > 0 else x)

    loop = loop_of(Engine(CPU, compiled=True), make("pgd_at"), Breaking(net()))
    with pytest.raises(ValueError, match="cannot be compiled as a whole"):
        stepped(loop)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_for_real_the_weights_are_the_same(precision: str) -> None:
    if_there_is_a_compiler()
    plain = stepped(loop_of(Engine(CPU, precision), make("trades"), accumulate=4))
    real = stepped(loop_of(Engine(CPU, precision, compiled=True), make("trades"), accumulate=4))
    within = {"fp32": 1e-5, "bf16": 0.02}[precision]
    for name, value in plain.items():
        torch.testing.assert_close(real[name], value, rtol=0, atol=within)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_compile(accumulate: int) -> None:
    """Each its own, inside the wrapper that exchanges gradients."""
    if_there_is_a_compiler()
    plain, real = in_processes(packed(in_one_of_two, accumulate), 2)
    for name, value in plain.items():
        torch.testing.assert_close(real[name], value, rtol=0, atol=1e-5)


def if_there_is_a_compiler() -> None:
    try:
        must_compile(CPU, [], torch.zeros(1))
    except ValueError as error:
        pytest.skip(f"nothing can be compiled here: {error}")
    forget()
