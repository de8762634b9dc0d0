"""What the processes of a distributed test do: in a module of its own, for they import it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.data.order import Mix
from hardy.data.splits import Split
from hardy.methods.find import make, names
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method, Nets
from hardy.methods.standard import Standard
from hardy.methods.twins import TWINS
from hardy.methods.wrappers.awp import AWP
from hardy.methods.wrappers.ligs import LIGSRegularised
from hardy.modes import BATCHNORMS
from hardy.threat import Linf
from hardy.training.averaging import Averaging
from hardy.training.engine import Engine
from hardy.training.loop import Settings, fit, started
from hardy.training.phases import Probing

CPU = torch.device("cpu")
ATTACK = PGD(Linf(0.1), steps=2)
# Three steps of eight pictures.
SETTINGS = Settings(
    epochs=1,
    batch_size=8,
    lr=0.2,
    batchnorm="frozen",
    average=Averaging("ema", decay=0.9, start=0.0),
)
WRAPPINGS = ("bare", "awp", "ligs")
NETS = ("plain", "batchnorm")

Weights = dict[str, Tensor]


class Doubled(nn.Module):
    """A small network in double precision, so that only mistakes make a difference."""

    def __init__(self, batchnorm: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(4) if batchnorm else nn.Identity()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(64, 3)
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.3, 0.6)  # type: ignore[arg-type]
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.double()))


def net(kind: str) -> Doubled:
    torch.manual_seed(0)
    return Doubled(kind == "batchnorm")


def nets_of(module: nn.Module) -> Nets:
    """The networks of a run, with teachers for the methods that learn from one."""
    torch.manual_seed(9)
    teachers: dict[str, nn.Module] = {role: Doubled(True) for role in ("robust", "natural")}
    return Nets(module, module, module, teachers)


def pictures(n: int = 26) -> Split:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(n) % 3, torch.arange(n), "train")


def method_of(name: str, wrapping: str) -> Method:
    method = make(name)
    wrapped = {
        "bare": method,
        "awp": AWP(method, gamma=0.05),
        "ligs": LIGSRegularised(method, weight=0.5, sigma=0.1),
    }
    return wrapped[wrapping]


def takes(name: str, kind: str) -> bool:
    """Whether the method can train that network."""
    try:
        make(name).check(net(kind), fresh=False)
    except ValueError:
        return False
    return True


NAMES_AND_NETS = [(name, kind) for name in names() for kind in NETS if takes(name, kind)]


def trained(engine: Engine, kind: str, method: Method, settings: Settings) -> Weights:
    """The weights of a run and of their mean."""
    module = net(kind)
    nets = nets_of(module)
    found = fit(engine, nets, method, ATTACK, pictures(), None, settings)
    return {
        f"{of}.{name}": value.clone()
        for of, network in found.items()
        for name, value in network.state_dict().items()
    }


def cases() -> Iterator[tuple[Any, str, Method, Settings]]:
    """Every method, bare and wrapped, on the networks that it takes, with and without
    accumulation; extra data; and a run of phases."""
    for name, kind in NAMES_AND_NETS:
        for wrapping in WRAPPINGS:
            for accumulate in (1, 2, 4):
                settings = replace(SETTINGS, accumulate=accumulate)
                key = (name, wrapping, kind, accumulate)
                yield key, kind, method_of(name, wrapping), settings
    mixed = replace(SETTINGS, mix=Mix(16, 0.25))
    yield "extra data", "plain", PGDAT(), replace(mixed, epochs=2)
    phases = replace(SETTINGS, probing=Probing(1, "head", Standard()), eps_warmup=1, epochs=3)
    yield "phases", "batchnorm", PGDAT(), phases


def all_cases(engine: Engine) -> dict[Any, Weights]:
    return {key: trained(engine, kind, method, settings) for key, kind, method, settings in cases()}


# Only where there are several


class Listening(TorchDispatchMode):
    """Writes down the collective calls made inside, those of the wrapper's backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.calls.append(func.__name__)
        return func(*args, **(kwargs or {}))


def _first_step(engine: Engine, method: Method, kind: str = "batchnorm") -> tuple[Nets, Batch]:
    """The networks as the loop has them, in train mode, and this process's first batch."""
    module = net(kind)
    nets = nets_of(module)
    settings = replace(SETTINGS, batchnorm="train")
    loop = started(engine, nets, method, ATTACK, pictures(), None, settings, "")
    loop.nets.module.train()
    return loop.nets, next(loop.batches(0))


def calls_of_attacks(engine: Engine) -> dict[tuple[str, str], tuple[list[str], int, list[str]]]:
    """Of each method: the collective calls of its attack, how often that calls the wrapper,
    and the collective calls of the outer loss's backward pass."""
    found = {}
    for name in names():
        for wrapping in WRAPPINGS:
            method = method_of(name, wrapping)
            nets, batch = _first_step(engine, method)
            through: list[int] = []
            assert isinstance(nets.student, nn.Module)
            hook = nets.student.register_forward_pre_hook(lambda *_, t=through: t.append(1))
            with Listening() as attack:
                x_adv = method.adversary(nets, batch, ATTACK)
            hook.remove()
            with Listening() as backward:
                engine.backward(method.loss(nets, batch, x_adv, 0.0)["loss"])
            found[name, wrapping] = (attack.calls, len(through), backward.calls)
    return found


def accumulated(engine: Engine) -> dict[str, Any]:
    """The calls and the gradients after each of two backward passes, of which only the second
    exchanges them."""
    nets, batch = _first_step(engine, Standard(), "plain")
    found: dict[str, Any] = {}
    weight = nets.module.get_parameter("head.weight")
    for i, half in enumerate((slice(0, 2), slice(2, 4))):
        part = batch.take(half)
        with Listening() as listening, engine.accumulating(nets.student, i == 0):
            engine.backward(Standard().loss(nets, part, part.x, 0.0)["loss"] / 2)
        assert weight.grad is not None
        found[f"calls {i}"] = listening.calls
        found[f"gradients {i}"] = engine.gather(weight.grad)
    module = net("plain")
    whole = torch.cat(engine.gather(batch.x)), torch.cat(engine.gather(batch.y))
    nn.functional.cross_entropy(module(whole[0]), whole[1]).backward()
    found["whole"] = module.head.weight.grad
    return found


def _statistics(model: nn.Module) -> Tensor:
    norms = [m for m in model.modules() if isinstance(m, BATCHNORMS)]
    return torch.cat([b.double().reshape(-1) for m in norms for b in m.buffers()])


class Watched(Engine):
    """Keeps BatchNorm's statistics of every process before and after each time they are synced."""

    def sync_batchnorm(self, model: nn.Module) -> None:
        if not hasattr(self, "seen"):
            return super().sync_batchnorm(model)
        before = self.gather(_statistics(model))
        super().sync_batchnorm(model)
        return self.seen.append((before, self.gather(_statistics(model))))

    @contextmanager
    def watching(self) -> Iterator[list[tuple[list[Tensor], list[Tensor]]]]:
        self.seen: list[tuple[list[Tensor], list[Tensor]]] = []
        yield self.seen
        del self.seen


def statistics(engine: Watched) -> dict[str, Any]:
    """BatchNorm in train mode: of the live network and the mean, copied or measured anew."""
    found = {}
    for how in ("copied", "reestimated"):
        average = Averaging("swa", start=0.0, batchnorm=how)
        settings = replace(SETTINGS, epochs=2, batchnorm="train", average=average)
        module = net("batchnorm")
        with engine.watching() as seen:
            nets = nets_of(module)
            given = fit(engine, nets, PGDAT(), ATTACK, pictures(), None, settings)
            at_end = {of: engine.gather(_statistics(each)) for of, each in given.items()}
            found[how] = (seen, at_end)
    return found


def twins(engine: Engine) -> dict[str, Any]:
    """The statistics of each wing in every process before and after a run, and in the network
    that comes out."""
    nets = nets_of(net("batchnorm"))
    settings = replace(SETTINGS, epochs=2, batchnorm="train", accumulate=2)
    states: list[dict[str, Any]] = []
    found = fit(
        engine,
        nets,
        TWINS(),
        ATTACK,
        pictures(),
        None,
        settings,
        on_epoch=lambda row, deployed, state: states.append(state()),
    )
    name, model = "body.1.{}running_mean", states[-1]["model"]
    return {
        "before": nets.module.get_buffer(name.format("")),
        **{wing: engine.gather(model[name.format(f"{wing}.")]) for wing in ("frozen", "adaptive")},
        "deployed": engine.gather(found["live"].get_buffer(name.format(""))),
        "average": states[-1]["average"]["model"][name.format("frozen.")],
    }


@dataclass(frozen=True)
class Diverging(Standard):
    """Has no loss from the second step on, and only in one process."""

    rank: int = 0
    bad: int = 1
    steps: list[float] = field(default_factory=list)

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        values = super().loss(nets, batch, x_adv, progress)
        nan = progress > 0.3 and self.rank == self.bad
        return {**values, "kl": values["loss"].detach() * (float("nan") if nan else 1.0)}


def errors(engine: Engine) -> list[str | None]:
    """What each process says of a value that is lost in the last of them."""
    said = None
    try:
        trained(engine, "plain", Diverging(rank=engine.rank), SETTINGS)
    except ValueError as error:
        said = str(error)
    every: list[str | None] = [None] * engine.world
    torch.distributed.all_gather_object(every, said)
    return every


def resumed_with_another_number(engine: Engine) -> str:
    """The error of going on from a state of one process."""
    module, states = net("plain"), []
    nets = nets_of(module)
    fit(
        engine,
        nets,
        Standard(),
        ATTACK,
        pictures(),
        None,
        SETTINGS,
        on_epoch=lambda _, __, state: states.append(state()),
    )
    states[0]["torch_rng"] = states[0]["torch_rng"][:1]
    try:
        fit(engine, nets, Standard(), ATTACK, pictures(), None, SETTINGS, resume=states[0])
    except ValueError as error:
        return str(error)
    return ""


def everything(world: int) -> dict[str, Any]:
    """All of it in one of `world` processes."""
    torch.set_num_threads(1)
    engine = Watched(CPU, devices=world)
    engine.launch()
    return {
        "weights": all_cases(engine),
        "attacks": calls_of_attacks(engine),
        "accumulated": accumulated(engine),
        "statistics": statistics(engine),
        "twins": twins(engine),
        "errors": errors(engine),
        "resumed": resumed_with_another_number(engine),
        "gathered": engine.gather(torch.tensor([engine.rank])),
        "mean": engine.mean([torch.tensor([1.0 + engine.rank]), torch.ones(2, 2)]),
        "first": engine.from_first(f"rank {engine.rank}"),
        "engine": str(engine),
    }
