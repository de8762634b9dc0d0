"""Kept values: the same whatever memory there is, and never more than it holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hardy.finetuning import kept
from hardy.finetuning.ascents import Ascent, OfficialAscent
from hardy.finetuning.kept import Kept, room_on
from hardy.finetuning.mrc import candidates, mrc
from hardy.finetuning.subgraphs import boundary, dependents
from hardy.finetuning.suffix import Suffixes, weight_of
from hardy.finetuning.tracing import traced
from hardy.models.resnet import resnet18

CHUNK = 4


class Three(nn.Module):
    """Values of 64 bytes a picture enter `two`, of 32 `three`."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 16), nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.three(self.two(self.one(x).relu()).relu())


def net_and_x(count: int = 14) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Three().eval(), torch.rand(count, 6)


def kept_bytes(values: Kept) -> int:
    held = [value for chunk in values._chunks if chunk for value in chunk.values()]
    return sum(value.numel() * value.element_size() for value in held)


@pytest.mark.parametrize(
    ("room", "of_two", "of_three"),
    # A chunk of 4 pictures takes 4 * 64 = 256 bytes before `two`, half of that before `three`.
    [(None, 14, 14), (255, 0, 4), (256, 4, 8), (600, 8, 14), (0, 0, 0), (127, 0, 0)],
)
def test_as_many_chunks_are_kept_as_fit(room: int | None, of_two: int, of_three: int) -> None:
    model, x = net_and_x()
    graph, _ = traced(model)
    values = Kept(graph, x, CHUNK, room)
    for name, count, width in (("two", of_two, 64), ("three", of_three, 32)):
        nodes = boundary(dependents(graph, [weight_of(model, name)]))
        assert values.advance(nodes, set(nodes), width) == count
        assert kept_bytes(values) == count * width
        assert room is None or kept_bytes(values) <= room
        if not count:
            continue
        wanted = model.get_submodule("one")(x).relu()
        if name == "three":
            wanted = model.get_submodule("two")(wanted).relu()
        for rows in (slice(0, CHUNK), slice(1, 3), torch.tensor([3, 0, count - 1, 3])):
            (found,) = values.rows(nodes, rows)
            assert torch.allclose(found, wanted[rows], atol=1e-6)


@pytest.mark.parametrize("room", [0, 300, 600])
def test_pictures_that_do_not_fit_go_through_the_full_network(room: int) -> None:
    model, x = net_and_x()
    notes: list[str] = []
    suffixes = Suffixes(model, x, ["two", "three"], chunk=CHUNK, room=room, note=notes.append)
    for name in suffixes.order:
        logits_of = suffixes.cut(name)
        with torch.no_grad():
            for rows in (slice(0, 4), slice(8, 12), slice(None), slice(2, 9), torch.randperm(14)):
                assert torch.allclose(logits_of(rows), model(x[rows]), atol=1e-6)
    (note,) = notes
    assert "Memory has no room for the values that enter two" in note


def test_what_fits_costs_only_the_suffix() -> None:
    model, x = net_and_x()
    logits_of = Suffixes(model, x, ["two"], chunk=CHUNK, room=2 * 256).cut("two")

    def cost(rows: slice) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            logits_of(rows)
        return counter.get_total_flops()

    suffix, whole = 2 * (16 * 8 + 8 * 3), 2 * (6 * 16 + 16 * 8 + 8 * 3)
    assert cost(slice(0, 4)) == 4 * suffix and cost(slice(8, 12)) == 4 * whole
    assert cost(slice(6, 10)) == 2 * (suffix + whole)


@pytest.mark.parametrize("ascent", [Ascent(steps=3), OfficialAscent(epochs=2, lr=50, minibatch=5)])
def test_criticality_is_the_same_in_little_memory(ascent: Ascent | OfficialAscent) -> None:
    torch.manual_seed(0)
    model = resnet18(width=4).eval()
    x, y = torch.rand(12, 3, 8, 8), torch.randint(10, (12,))
    # A picture's values take 1 KB before layer1, twice where a shortcut is kept as well.
    runs = [
        list(mrc(model, x, x, y, ascent=ascent, batch_size=4, room=room))
        for room in (None, 10_000, 0)
    ]
    assert len(runs[0]) == len(candidates(model))
    for other in runs[1:]:
        assert [one.mrc for one in other] == pytest.approx(
            [o.mrc for o in runs[0]], rel=1e-3, abs=1e-6
        )


def test_the_room_is_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "free_memory", lambda: 4000)
    assert room_on(torch.device("cpu")) == 1000
    assert room_on(torch.device("cpu"), copies=4) == 250
    monkeypatch.setattr(kept, "free_memory", lambda: None)
    assert room_on(torch.device("cpu")) is None
    monkeypatch.setattr(kept, "free_on", lambda device: 4000)
    assert room_on(torch.device("cpu"), copies=4) == 2000
