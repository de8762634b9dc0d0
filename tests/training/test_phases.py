"""Probing against a run of the head alone; the radius that grows, in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method, Nets
from hardy.methods.standard import Standard
from hardy.methods.trades import TRADES
from hardy.methods.twins import TWINS
from hardy.methods.wrappers.awp import AWP
from hardy.threat import L2, Linf
from hardy.training.averaging import Averaging
from hardy.training.engine import Engine
from hardy.training.loop import Deployed, Row, Settings, State, fit
from hardy.training.phases import Probing, grown

HEAD = "4"
ATTACK = PGD(Linf(0.08), steps=2)
SETTINGS = Settings(epochs=3, batch_size=5, lr=0.1, weight_decay=0.1, schedule="cosine")
METHODS = {"clean": Standard(), "adversarial": PGDAT()}


def some_split() -> Split:
    index = torch.arange(20)
    images = Draws(0, 0, index).integers(256, (3, 6, 6), "images").to(torch.uint8)
    return Split(images, index % 3, index, "train")


def some_net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(64, 3))


def states_of(method: Method, settings: Settings, net: nn.Module | None = None) -> list[State]:
    """The state after each epoch, with the row of its log."""
    found: list[State] = []

    def on_epoch(row: Row, _: Deployed, state: Callable[[], State]) -> None:
        whole = state()
        model = {name: value.clone() for name, value in whole["model"].items()}
        found.append({**whole, "model": model, "row": row})

    net = some_net() if net is None else net
    torch.manual_seed(5)
    nets = Nets(net, net, net)
    engine = Engine(torch.device("cpu"))
    fit(engine, nets, method, ATTACK, some_split(), None, settings, on_epoch=on_epoch)
    return found


def changed(state: State, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in state["model"].items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("pictures", METHODS)
@pytest.mark.parametrize("method", [TRADES(), AWP(PGDAT(), 0.01)], ids=repr)
def test_probing_is_a_run_of_the_head_alone(pictures: str, method: Method) -> None:
    """With BatchNorm frozen and that method, to the bit: no momentum and no weight decay reach
    the others, and the schedule is that of the whole run."""
    settings = replace(SETTINGS, average=Averaging("ema", 0.8, 0.0))
    probing = Probing(2, HEAD, METHODS[pictures])
    found = states_of(method, replace(settings, probing=probing))
    head = frozenset({f"{HEAD}.weight", f"{HEAD}.bias"})
    alone = replace(settings, trainable=head, batchnorm="frozen")
    expected = states_of(METHODS[pictures], alone)
    start = some_net().state_dict()
    for epoch in (0, 1):
        ours, theirs = found[epoch], expected[epoch]
        assert all(torch.equal(v, theirs["model"][k]) for k, v in ours["model"].items())
        assert changed(ours, start) == head
        assert ours["row"].keys() == {"epoch", "lr", "seconds", "loss"}
        for key in ("lr", "loss"):
            assert ours["row"][key] == theirs["row"][key]
    assert len(found[0]["optimizer"]["state"]) == 2, "momentum of the head alone"
    assert changed(found[2], found[1]["model"]) == found[2]["model"].keys(), "all move after it"
    assert changed(found[2], expected[2]["model"]) >= head


def test_a_whole_run_may_be_probing() -> None:
    probing = Probing(3, HEAD, Standard())
    found = states_of(PGDAT(), replace(SETTINGS, probing=probing))
    assert changed(found[2], some_net().state_dict()) == {f"{HEAD}.weight", f"{HEAD}.bias"}


def test_both_wings_stay_one_network_while_the_head_is_probed() -> None:
    probing = Probing(1, HEAD, Standard())
    first, second, _ = states_of(TWINS(), replace(SETTINGS, probing=probing))
    for name in ("weight", "bias", "running_mean", "running_var"):
        wings = [
            [s["model"][f"1.{w}.{name}"] for w in ("frozen", "adaptive")] for s in (first, second)
        ]
        assert torch.equal(*wings[0]) and not torch.equal(*wings[1])


@dataclass(frozen=True)
class Radii(Standard):
    """Writes down the attack of each step."""

    seen: list[PGD] = field(default_factory=list)

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        self.seen.append(attack)
        return batch.x


@pytest.mark.parametrize(
    ("probed", "expected"),
    [
        # Four steps an epoch: eighths in the first two epochs, then the whole radius.
        (0, [0.01 * k for k in range(1, 9)] + [0.08] * 4),
        # While probing all of it, and eighths in the two epochs after that.
        (1, [0.08] * 4 + [0.01 * k for k in range(1, 9)]),
        (2, [0.08] * 8 + [0.01 * k for k in range(1, 5)]),
    ],
)
def test_the_radius_grows_with_each_step(probed: int, expected: list[float]) -> None:
    spy = Radii()
    probing = Probing(probed, HEAD, spy) if probed else None
    states_of(spy, replace(SETTINGS, eps_warmup=2, probing=probing))
    assert [attack.threat.eps for attack in spy.seen] == pytest.approx(expected)
    assert [attack.step for attack in spy.seen] == pytest.approx([1.25 * eps for eps in expected])
    assert spy.seen[-1] is ATTACK or probed == 2, "no other attack once it is grown"


def test_an_attack_of_half_the_radius() -> None:
    half = grown(PGD(L2(0.5), 10, 0.1), 0.5)
    assert half == PGD(L2(0.25), 10, 0.05)
    assert grown(PGD(L2(0.5), 10), 0.5) == PGD(L2(0.25), 10)
    assert grown(half, 1.0) is half


def test_without_phases_nothing_changes() -> None:
    settings: Any = replace(SETTINGS, probing=None, eps_warmup=0)
    assert all(settings.radius_share(step, 4) == 1.0 for step in range(12))
    assert not any(settings.keeps_batchnorm(epoch) for epoch in range(3))
