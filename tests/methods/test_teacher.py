"""A teacher stays frozen and in eval mode, and is asked no more than needed."""

from __future__ import annotations

import gc

import torch
from torch import Tensor, nn

from hardy.data.loader import Batch, batches
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.methods import teacher as room
from hardy.methods.teacher import Teacher, as_teacher
from known_nets import with_batchnorm


class Counting(nn.Module):
    """Logits that are sums over the picture, (B, 2), and how many pictures it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, -1.0]))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return x.flatten(1).sum(1, keepdim=True) * self.scale


def some_batch(count: int = 4) -> Batch:
    draws = Draws(0, 0, torch.arange(count))
    return Batch(
        draws.uniform((1, 2, 2), "x"), torch.zeros(count, dtype=torch.int64), draws.index, draws
    )


def some_split(count: int) -> Split:
    images = torch.arange(count * 4, dtype=torch.uint8).view(count, 1, 2, 2)
    index = torch.arange(count).flip(0) * 7  # neither sorted nor without gaps
    return Split(images, torch.zeros(count, dtype=torch.int64), index, "train")


def test_it_cannot_be_woken() -> None:
    net, batch = with_batchnorm()
    teacher = Teacher(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    teacher.train()
    nn.ModuleList([teacher]).train()
    teacher(batch.x)
    assert not any(module.training for module in teacher.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_gradients_pass_to_the_pictures_and_to_nothing_else() -> None:
    net, batch = with_batchnorm()
    teacher, x = Teacher(net), batch.x.clone().requires_grad_()
    teacher(x).square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_in_bf16_its_logits_come_back_in_full() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    batch = some_batch()
    exact, rough = Teacher(net)(batch.x), Teacher(net, "bf16")(batch.x)
    assert rough.dtype == torch.float32 and torch.equal(rough, rough.bfloat16().float())
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.02)
    assert not torch.equal(rough, exact)


def test_a_teacher_is_taken_as_it_is() -> None:
    teacher = Teacher(Counting())
    assert as_teacher(teacher) is teacher
    assert isinstance(as_teacher(Counting()), Teacher)


def test_clean_pictures_are_asked_about_once_a_batch() -> None:
    net, batch, other = Counting(), some_batch(), some_batch()
    teacher = Teacher(net)
    first = teacher.clean(batch)
    assert teacher.clean(batch) is first and net.seen == 4 and not first.requires_grad
    teacher.clean(other)
    assert net.seen == 8, "equal pictures of another batch are another batch"
    assert torch.equal(teacher.clean(batch), net(batch.x))


def test_other_pictures_are_asked_about_once_a_tensor_and_again_when_written_over() -> None:
    net, x = Counting(), some_batch().x
    teacher = Teacher(net)
    first = teacher.fixed(x)
    assert teacher.fixed(x) is first and net.seen == 4 and not first.requires_grad
    x.add_(1)
    assert torch.equal(teacher.fixed(x), net(x)) and not torch.equal(teacher.fixed(x), first)
    assert net.seen == 12, "the first time, after the change, and the line above"


def test_a_batch_that_is_gone_is_forgotten() -> None:
    teacher = Teacher(Counting())
    for _ in range(3):
        teacher.clean(some_batch())
    gc.collect()
    assert len(teacher._known) == 0


def test_pictures_that_come_as_they_are_are_asked_about_once() -> None:
    split, net = some_split(10), Counting()
    teacher = Teacher(net)
    teacher.remember(split, 4)
    assert net.seen == 0, "a method that never asks costs nothing"
    for epoch in range(3):
        for batch in batches(split, 3, seed=1, epoch=epoch, shuffle=True):
            for part in (batch, batch.take(torch.tensor([0]))):
                expected = part.x.flatten(1).sum(1, keepdim=True) * torch.tensor([1.0, -1.0])
                torch.testing.assert_close(teacher.clean(part), expected)
    assert net.seen == 10


def test_pictures_that_share_an_index_are_asked_about_each_time() -> None:
    twice = some_split(4)
    twice = Split(twice.images, twice.labels, torch.tensor([3, 5, 3, 5]), "train")
    teacher = Teacher(Counting())
    teacher.remember(twice, 4)
    for batch in batches(twice, 2, seed=1, shuffle=True):
        torch.testing.assert_close(teacher.clean(batch), teacher(batch.x))


def test_a_table_that_is_too_large_is_not_kept(monkeypatch, capsys) -> None:
    monkeypatch.setattr(room, "MOST", 10 * 2 * 4 - 1)
    split, net = some_split(10), Counting()
    teacher = Teacher(net)
    teacher.remember(split, 4)
    batch = next(iter(batches(split, 5, seed=0)))
    torch.testing.assert_close(teacher.clean(batch), net(batch.x))
    teacher.clean(batch)
    assert net.seen == 4 + 5 + 5, "a first look, the batch, and the line above"
    assert "they are not kept" in capsys.readouterr().err
