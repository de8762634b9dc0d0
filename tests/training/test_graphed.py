"""Attacks that are made again from the tensors that they were captured on. There is no GPU here:
what captures runs the same work once more on those tensors, so a value that is not copied into
them, or that is kept from the first time, shows in the last bit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hardy.attacks.pgd import PGD
from hardy.data.augment import Augment
from hardy.data.loader import Batch
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.methods.find import make, names
from hardy.methods.iad import IAD
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method, Nets
from hardy.methods.standard import Standard
from hardy.methods.teacher import Teacher
from hardy.methods.wrappers.awp import AWP
from hardy.threat import L2, Linf, Threat
from hardy.training import graphed
from hardy.training.engine import Engine
from hardy.training.graphed import WARM_UP, CudaGraphs, Graphed
from hardy.training.loop import Loop, Settings, started
from hardy.training.phases import Probing

CPU = torch.device("cpu")
K, N = 3, 22
State = dict[str, Tensor]


class Again:
    """Captures by remembering the work. Its replays are counted."""

    def __init__(self) -> None:
        self.captured, self.replayed, self.warm_ups = 0, 0, []

    def capture(self, work: Callable[[], Tensor], warm_up: int) -> Callable[[], Tensor]:
        self.captured += 1
        self.warm_ups.append(warm_up)
        with torch.random.fork_rng([]):
            for _ in range(warm_up):
                work()
            found = work().clone()
        found.fill_(float("nan"))  # a graph has computed nothing when it was captured

        def replay() -> Tensor:
            self.replayed += 1
            return found.copy_(work())

        return replay


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, K),
    )


def split() -> Split:
    draws = Draws(0, 0, torch.arange(N))
    images = draws.integers(256, (3, 6, 6), "images").to(torch.uint8)
    return Split(images, draws.integers(K, (), "labels"), torch.arange(N), "train")


def loop_of(method: Method, threat: Threat | None = None, **more: Any) -> Loop:
    student, engine = net(), Engine(CPU, more.pop("precision", "fp32"))
    teachers: dict[str, nn.Module] = {"robust": net(1), "natural": net(2)}
    nets = Nets(student, student, student, teachers)
    settings = Settings(**{"epochs": 3, "batch_size": 5, "accumulate": 2, **more})
    attack = PGD(threat or Linf(0.05), steps=2)
    return started(engine, nets, method, attack, split(), Augment(1), settings, "a run")


def run(loop: Loop) -> tuple[list[Tensor], State]:
    """The adversarial pictures of all steps, and the weights after them."""
    usual, seen = loop.attacked, []

    def attacked(*given: Any) -> Tensor:
        seen.append(usual(*given))
        return seen[-1]

    loop.attacked = attacked  # type: ignore[method-assign]
    torch.manual_seed(5)
    for epoch in range(loop.settings.epochs):
        loop.epoch(epoch)
    return seen, {**loop.nets.module.state_dict(), "generator": torch.get_rng_state()}


def both(method: Method, **more: Any) -> Again:
    """Runs it eagerly and captured, and compares every bit."""
    eager, captured, again = loop_of(method, **more), loop_of(method, **more), Again()
    captured.graphs = Graphed(again)
    (x_adv, state), (x_again, state_again) = run(eager), run(captured)
    assert len(x_adv) == len(x_again)
    for one, other in zip(x_adv, x_again, strict=True):
        assert torch.equal(one, other) and one.stride() == other.stride()
    assert all(torch.equal(value, state_again[name]) for name, value in state.items())
    return again


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", names())
def test_every_method_ends_at_the_same_bits(name: str, precision: str) -> None:
    """Three epochs of four steps, each of parts of two and of three pictures: the first of each
    size runs as it is, the others are captured once an epoch."""
    again = both(make(name), precision=precision)
    if name == "standard":
        assert again.captured == again.replayed == 0, "nothing is attacked"
        return
    assert again.captured == 2 * 3 and again.replayed == 2 * 4 * 3 - 2
    assert sorted(again.warm_ups) == [0] * 4 + [WARM_UP] * 2, "once for each size"


@pytest.mark.parametrize(
    ("method", "more"),
    [
        (AWP(PGDAT(), gamma=0.05), {}),
        (PGDAT(attack_mode="train"), {"threat": L2(0.5)}),
        (IAD(), {"accumulate": 1}),
        (PGDAT(), {"batchnorm": "frozen", "accumulate": 3}),
        (PGDAT(), {"probing": Probing(1, "5", Standard())}),
        (PGDAT(), {"probing": Probing(1, "5", PGDAT(attack_mode="train"))}),
    ],
    ids=repr,
)
def test_whatever_else_a_run_is(method: Method, more: dict[str, Any]) -> None:
    assert both(method, **more).replayed > 0


def test_while_the_radius_grows_each_attack_is_another() -> None:
    again = both(PGDAT(), eps_warmup=2, accumulate=1)
    assert again.captured == 1, (
        "the last step of the warm-up has the whole radius, and runs as it is"
    )
    assert again.replayed == 4


def test_a_teacher_who_remembers_is_asked_by_the_table() -> None:
    def method_of(loop: Loop) -> Loop:
        teacher = loop.nets.teachers["robust"]
        assert isinstance(teacher, Teacher)
        teacher.remember(split(), 8)
        loop.augment = None
        return loop

    eager, captured = (method_of(loop_of(make("rslad"))) for _ in range(2))
    captured.graphs = Graphed(Again())
    (_, state), (_, state_again) = run(eager), run(captured)
    assert all(torch.equal(value, state_again[name]) for name, value in state.items())


def some_batch(seed: int = 0) -> Batch:
    index = torch.arange(4) + 10 * seed
    draws = Draws(0, 0, index)
    return Batch(draws.uniform((1, 2, 2), "x"), index % K, index, draws)


def attack(batch: Batch) -> Tensor:
    noise = batch.draws.uniform((1, 2, 2), "noise")
    return batch.x + batch.y.view(-1, 1, 1, 1) + 100 * noise


def test_what_comes_out_is_not_written_over_by_the_next() -> None:
    graphs, batches = Graphed(Again()), [some_batch(seed) for seed in range(4)]
    found = [graphs(attack, batch, "it") for batch in batches]
    for one, batch in zip(found, batches, strict=True):
        assert torch.equal(one, attack(batch))


@pytest.mark.parametrize("left_out", ["x", "y", "index"])
def test_a_tensor_that_is_not_copied_would_show(
    left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(graphed._Graph):
        def __call__(self, batch: Batch) -> Tensor:
            return super().__call__(replace(batch, **{left_out: getattr(self, left_out)}))

    monkeypatch.setattr(graphed, "_Graph", Forgetful)
    graphs = Graphed(Again())
    found = [graphs(attack, some_batch(seed), "it") for seed in range(3)]
    assert not torch.equal(found[2], attack(some_batch(2)))


def test_another_dependence_is_another_graph() -> None:
    """So is another seed: a run that was taken back draws other numbers."""
    graphs, again = Graphed(capturing := Again()), some_batch()
    for about in ("eval", "eval", "train", "train", "eval"):
        graphs(attack, again, "it", about)
    assert capturing.captured == 2 and capturing.replayed == 3
    other = replace(again, draws=replace(again.draws, seed=1))
    assert torch.equal(graphs(attack, other, "it", "eval"), attack(other))
    assert capturing.captured == 3


@dataclass
class Failing:
    error: Exception

    def capture(self, work: Callable[[], Tensor], warm_up: int) -> Callable[[], Tensor]:
        del work, warm_up
        raise self.error


def test_what_cannot_be_captured_is_named() -> None:
    error = RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")
    graphs = Graphed(Failing(error))
    graphs(attack, some_batch(), "Mine(beta=3)")
    line = (
        r"the attack of Mine\(beta=3\) cannot be captured as a CUDA graph \(CUDA error: operation "
        r"not permitted when stream is capturing\): leave --cuda-graphs out"
    )
    with pytest.raises(ValueError, match=line):
        graphs(attack, some_batch(), "Mine(beta=3)")


def test_memory_that_runs_out_in_it_is_no_such_mistake() -> None:
    graphs = Graphed(Failing(torch.OutOfMemoryError("CUDA out of memory")))
    graphs(attack, some_batch(), "it")
    with pytest.raises(torch.OutOfMemoryError):
        graphs(attack, some_batch(), "it")


def test_without_a_gpu_there_is_no_graph() -> None:
    with pytest.raises(ValueError, match="--cuda-graphs needs a GPU, and this run is on cpu"):
        loop_of(PGDAT(), cuda_graphs=True)


# What a graph cannot hold: values that Python reads, and copies from the host


class OnOneDevice(TorchDispatchMode):
    """Refuses what takes part of its numbers from the host's memory. Meta tensors have no values,
    so that torch itself refuses to read one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, found)) if isinstance(one, Tensor)]
        host = [one for one in tensors if one.device.type == "cpu"]
        assert not host or len(host) == len(tensors), f"{func} copies from the host"
        return found


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.5)], ids=repr)
@pytest.mark.parametrize("name", names())
def test_the_attack_of_every_method_stays_on_its_device(
    name: str, threat: Threat, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is none for meta tensors, and here it is off.
    monkeypatch.setattr("hardy.methods.teacher.autocast", lambda *_: nullcontext())
    loop = loop_of(make(name), threat)
    batch = next(loop.batches(0))
    module = loop.nets.module.to("meta").train()
    teachers = {role: each.to("meta") for role, each in loop.nets.teachers.items()}
    nets = replace(loop.nets, teachers=teachers, module=module, student=module, forward=module)
    index = batch.index.to("meta")
    given = Batch(batch.x.to("meta"), batch.y.to("meta"), index, replace(batch.draws, index=index))
    with OnOneDevice():
        x_adv = loop.method.adversary(nets, given, loop.attack)
    assert x_adv.shape == batch.x.shape and x_adv.device.type == "meta"


def test_the_device_test_sees_a_copy() -> None:
    x = torch.zeros(2, device="meta")
    with pytest.raises(AssertionError, match="copies from the host"), OnOneDevice():
        x.add(torch.tensor([1.0, 2.0]).to("meta"))
    with pytest.raises(RuntimeError), OnOneDevice():
        x.sum().item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", names())
def test_a_gpu_gives_what_it_gives_without_graphs(name: str) -> None:
    """To rounding: some of its kernels add up in another order each time."""
    device = torch.device("cuda", 0)
    found = []
    for cuda_graphs in (False, True):
        torch.manual_seed(0)
        student = net().to(device)
        teachers: dict[str, nn.Module] = {
            role: net(seed).to(device) for seed, role in enumerate(("robust", "natural"), 1)
        }
        settings = Settings(epochs=2, batch_size=5, accumulate=2, cuda_graphs=cuda_graphs)
        loop = started(
            Engine(device),
            Nets(student, student, student, teachers),
            make(name),
            PGD(Linf(0.05), steps=2),
            split().to(device),
            None,
            settings,
            "a run",
        )
        found.append(run(loop)[1])
    for one, value in found[0].items():
        torch.testing.assert_close(value, found[1][one], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_captures_and_replays() -> None:
    device = torch.device("cuda", 0)

    def placed(batch: Batch) -> Batch:
        index = batch.index.to(device)
        draws = replace(batch.draws, index=index)
        return Batch(batch.x.to(device), batch.y.to(device), index, draws)

    graphs = Graphed(CudaGraphs(device))
    for seed in range(4):
        batch = placed(some_batch(seed))
        torch.testing.assert_close(graphs(attack, batch, "it"), attack(batch))
