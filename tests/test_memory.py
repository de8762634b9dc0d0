"""Memory that is too small for more than a few pictures: whoever measures goes on with fewer."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hardy import memory
from hardy.attacks.apgd import APGD
from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.data.splits import Split
from hardy.diagnosis.ligs import ligs
from hardy.diagnosis.transferability import transfer
from hardy.draws import Draws
from hardy.evaluation.checks.gradients import slopes
from hardy.evaluation.checks.masking import attacked
from hardy.evaluation.checks.outputs import logits_of
from hardy.evaluation.confusion import predicted_under
from hardy.evaluation.corruption import under_corruption
from hardy.evaluation.curve import standing_at
from hardy.evaluation.pictures import found_again
from hardy.evaluation.robustness import Ensemble, Protocol, Stage, adversarial, judge, predicted
from hardy.memory import Halving, halved, must_fit, ran_out, tried
from hardy.methods.teacher import Teacher
from hardy.threat import Linf

N, K, MOST = 23, 3, 5
PGD_2 = PGD(Linf(0.02), steps=2)
PROTOCOL = Protocol(PGD_2, restarts=2, batch_size=16)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said, from the beginning. Looking for cycles takes seconds among all that tests hold,
    and there are none here."""
    found: list[str] = []
    monkeypatch.setattr(memory.gc, "collect", lambda: None)
    monkeypatch.setattr(memory, "say", found.append)
    monkeypatch.setattr(memory, "_told", set())
    return found


def full() -> torch.OutOfMemoryError:
    """A new one each time: an error keeps the frames that it was raised in."""
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def too_large() -> Tensor:
    return torch.empty(2**60, dtype=torch.uint8)


# What it is


def test_what_the_allocator_of_the_cpu_raises_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        too_large()
    assert ran_out(raised.value)


def test_what_says_that_memory_ran_out() -> None:
    assert ran_out(full())
    assert ran_out(RuntimeError("CUDA error: out of memory"))
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out(ValueError("DefaultCPUAllocator: can't allocate memory"))
    assert not ran_out(None)


def test_an_error_that_hides_another_is_seen_through() -> None:
    try:
        try:
            raise full()
        finally:
            raise RuntimeError("the capture was invalidated")
    except RuntimeError as error:
        assert ran_out(error)


def test_what_was_tried_in_vain_holds_no_memory() -> None:
    held: list[weakref.ref[Tensor]] = []

    def deeper(x: Tensor) -> None:
        y = x + 1
        held.append(weakref.ref(y))
        raise full()

    def work() -> None:
        x = torch.zeros(3)
        held.append(weakref.ref(x))
        deeper(x)

    assert tried(work) is None
    assert [one() for one in held] == [None, None]
    assert tried(lambda: None) == (None,)
    with pytest.raises(RuntimeError, match="another"):
        tried(lambda: (_ for _ in ()).throw(RuntimeError("another")))


def test_what_must_fit() -> None:
    line = "a step does not fit into the memory of cpu: take a smaller --batch-size"
    with pytest.raises(ValueError, match=line), must_fit("a step", torch.device("cpu")):
        too_large()
    with pytest.raises(RuntimeError, match="another"), must_fit("it", torch.device("cpu")):
        raise RuntimeError("another")


# In halves


def test_a_batch_is_halved_and_gone_on_with_from_the_same_picture(told: list[str]) -> None:
    """8 pictures do not fit, nor do 4; 2 do, and no more is tried again."""
    tries: list[list[int]] = []

    def work(x: Tensor) -> Tensor:
        tries.append(x.tolist())
        if len(x) > 2:
            raise full()
        return 10 * x

    halving = Halving()
    found = list(halving(torch.arange(13).split(8), work))
    assert tries[:4] == [list(range(8)), [0, 1, 2, 3], [0, 1], [2, 3]]
    assert [part.tolist() for part, _ in found] == tries[2:]
    assert torch.equal(torch.cat([part for part, _ in found]), torch.arange(13))
    assert torch.equal(torch.cat([tens for _, tens in found]), 10 * torch.arange(13))
    assert len(tries) == 2 + 4 + 3
    tries.clear()
    assert len(list(halving(torch.arange(4).split(4), work))) == len(tries) == 2
    list(Halving()(torch.arange(8).split(8), work))
    assert len(told) == 2, "said once for each number"
    assert "8 pictures at once: 4 at once" in told[0] and "4 pictures at once: 2" in told[1]


def test_a_batch_that_fits_comes_as_it_is() -> None:
    draws = Draws(0, 0, torch.arange(4))
    batch = Batch(torch.zeros(4, 1, 2, 2), torch.zeros(4).long(), draws.index, draws)
    ((part, found),) = Halving()([batch], lambda batch: batch)
    assert part is found is batch


def test_an_odd_batch_keeps_every_picture() -> None:
    assert [halved(n) for n in (7, 3, 2)] == [4, 2, 1]


def test_one_picture_that_does_not_fit_ends_it() -> None:
    def never(_: Tensor) -> Tensor:
        raise full()

    with pytest.raises(ValueError, match="one picture at a time does not fit into memory: take"):
        list(Halving()([torch.arange(4)], never))


def test_another_error_is_no_want_of_memory() -> None:
    def wrong(_: Tensor) -> Tensor:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Halving()([torch.arange(4)], wrong))


# Whoever measures


class Narrow(nn.Module):
    """A small network on a device that has room for so many pictures; in double precision, so
    that the size of a batch makes no difference. where: what needs it, each forward pass, or
    only a backward pass."""

    def __init__(self, most: int | None, where: str = "forward") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(
            torch.randn(K, 3 * 6 * 6, generator=generator, dtype=torch.float64)
        )
        self.most, self.where, self.refused = most, where, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.where == "forward":
            self.take(x)
        elif x.requires_grad:
            x = x.clone()
            x.register_hook(self.take)
        return ((x.double().flatten(1) - 0.5).tanh() @ self.weight.T).float()

    def take(self, x: Tensor) -> None:
        if self.most is not None and len(x) > self.most:
            self.refused += 1
            raise full()


def split(n: int = N) -> Split:
    draws = Draws(0, 0, torch.arange(n))
    images = draws.integers(256, (3, 6, 6), "images").to(torch.uint8)
    x = images.float() / 255
    labels = Narrow(None)(x).argmax(1)
    labels[:4] = (labels[:4] + 1) % K  # some are wrong without an attack
    return Split(images, labels, torch.arange(n), "test")


def batch() -> Batch:
    here = split()
    return Batch(here.pixels(slice(None)), here.labels, here.index, Draws(0, 0, here.index))


ENSEMBLE = Ensemble(
    "two", (Stage("APGD", (APGD(Linf(0.02), steps=4),)), Stage("PGD", (PGD_2,))), batch_size=16
)
STANDING = torch.arange(N) >= 4

Measured = Callable[[Narrow], Tensor]


def remembered(net: Narrow) -> Tensor:
    teacher = Teacher(net)
    teacher.remember(split(), 16)
    return teacher.clean(batch())


def again(net: Narrow) -> Tensor:
    whole = split()
    by = judge(Narrow(None), whole, PROTOCOL).by
    assert by is not None and (by >= 0).sum() > MOST
    found = sorted(
        (int(row), one)
        for rows, x in found_again(net, whole, PROTOCOL, by)
        for row, one in zip(rows, x, strict=True)
    )
    return torch.stack([one for _, one in found])


def under(net: Narrow) -> Tensor:
    whole, plain = split(), Narrow(None)
    verdicts = judge(plain, whole, PROTOCOL)
    return predicted_under(net, whole, PROTOCOL, verdicts, predicted(plain, whole))


def sloped(net: Narrow) -> Tensor:
    found = slopes(net, batch().x, batch().y, 16)
    assert found is not None
    return found.grad_margin


def transferred(net: Narrow) -> Tensor:
    other = Narrow(None)
    found = transfer(
        {"a": net}, {"b": other, "a": net}, split(), PGD_2, targeted=True, batch_size=16
    )
    return torch.stack(list(found.attacked.values()))


USERS: dict[str, Measured] = {
    "predicted": lambda net: predicted(net, split(), 16),
    "adversarial": lambda net: adversarial(net, split(), PROTOCOL),
    "PGD": lambda net: judge(net, split(), PROTOCOL).robust,
    "an ensemble": lambda net: judge(net, split(), ENSEMBLE).by,  # type: ignore[return-value]
    "the curve": lambda net: standing_at(net, PGD_2, split(), STANDING, batch_size=16),
    "the attack again": again,
    "classes under attack": under,
    "corruptions": lambda net: under_corruption([net], lambda *_: split(), "fog", [1], 16),
    "logits": lambda net: logits_of(net, batch().x, 16),
    "slopes": sloped,
    "an attack before all": lambda net: attacked(PGD_2, net, batch(), 16, None).x_adv,
    "LIGS": lambda net: ligs(net, split(), batch_size=16).cosines,
    "transfer": transferred,
    "a teacher's table": remembered,
}
WITHOUT_GRADIENT = {"predicted", "corruptions", "logits", "a teacher's table"}


CASES = [(name, "forward") for name in USERS]
CASES += [(name, "backward") for name in USERS if name not in WITHOUT_GRADIENT]


@pytest.mark.parametrize(("name", "where"), CASES)
def test_what_is_measured_is_the_same(name: str, where: str, told: list[str]) -> None:
    """With room for 5 pictures in batches of 16."""
    expected = USERS[name](Narrow(None))
    assert told == []
    net = Narrow(MOST, where)
    found = USERS[name](net)
    assert net.refused >= len(told) > 0
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert expected.double().std() > 0, "it could tell"
