"""What large runs cost on paper: operations counted on the networks themselves, divided by a rate
that is assumed.

    python benchmarks/speed/paper.py [--share 0.4] [--standing 0.5]

Nothing here has been measured on a GPU. Counted are the operations of a forward pass, of a PGD-10
training step, of a step of the ascent of every module on its cached suffix, of an evaluation and of
AutoAttack's stages on a picture that withstands them all. Assumed are

- --peak: operations a second of a GPU's matrix units in bf16, 790e12 (one H200);
- --share: how much of it a run reaches;
- --standing: the share of the pictures that withstand AutoAttack; those that fall are left out,
  for most of them fall in the first steps;
- training: --batch pictures on each GPU, so a batch that grows with the number of GPUs, about
  which arithmetic does not say whether it trains as well; gradients in fp32 exchanged by a ring
  in every step, 2 (n - 1) / n of their bytes, at --within bytes a second between the 8 GPUs of a
  machine and --between from machine to machine, none of it hidden behind other work;
- criticality: modules shared out evenly, so by no more GPUs than there are modules; evaluation:
  pictures shared out evenly.

The networks live on torch's meta device, where nothing is computed, but for what autograd keeps of
a picture, which is seen in a real forward pass of two.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hardy.attacks.autoattack import autoattack
from hardy.attacks.pgd import PGD
from hardy.attacks.square import Square
from hardy.draws import Draws
from hardy.evaluation.footprint import forward_operations, operations, parameters
from hardy.finetuning.mrc import candidates
from hardy.finetuning.subgraphs import boundary, closed, dependents, subgraph
from hardy.finetuning.suffix import weight_of
from hardy.finetuning.tracing import traced, with_rows
from hardy.models.architecture import Architecture
from hardy.modes import autocast, frozen
from hardy.threat import Linf
from hardy.training.cost import kept

GPUS = (1, 8, 64)
MACHINE = 8  # GPUs that share the faster connection
ATTACK = PGD(Linf(8 / 255), steps=10)
ASCENT_STEPS, RESTARTS, POINTS = 10, 3, 11
QUERIES = 50  # of Square that are counted


@dataclass(frozen=True)
class Case:
    """A network, its pictures, and how much is done with it."""

    title: str
    model: str
    classes: int
    size: int
    train: int
    epochs: int
    mrc_pictures: int
    test: int

    def network(self) -> nn.Module:
        return Architecture(self.model, self.classes, 3, "none").build()


CASES = (
    Case("WRN-34-10, CIFAR-10", "wrn34_10", 10, 32, 50_000, 110, 10_000, 10_000),
    Case("ResNet-50, ImageNet", "torchvision:resnet50", 1000, 224, 1_281_167, 90, 1_024, 50_000),
)


@dataclass(frozen=True)
class Counts:
    """Operations, of one picture: a forward pass, a training step, a step of the ascents of all
    modules, a restart of the evaluation. Bytes that autograd keeps of a picture by precision."""

    parameters: int
    modules: int
    forward: float
    step: float
    ascents: float
    restart: float
    bytes_kept: dict[str, float]


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--peak", type=float, default=790e12)
    made.add_argument("--share", type=float, default=0.4)
    made.add_argument("--standing", type=float, default=0.5)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--within", type=float, default=400e9)
    made.add_argument("--between", type=float, default=50e9)
    options = made.parse_args()
    counts = {case: counted(case) for case in CASES}
    print(counts_table(counts, passes := autoattack_passes(), options.batch))
    print(costs_table(counts, passes, options))


def counted(case: Case) -> Counts:
    """The counts of one case."""
    with torch.device("meta"):
        net = case.network()
        x = torch.rand(2, 3, case.size, case.size)
        y = torch.zeros(2, dtype=torch.int64)
        draws = Draws(0, 0, torch.arange(2))
        forward = forward_operations(net, x[:1])

        def attacked() -> Tensor:
            with frozen(net):
                return ATTACK(net, x, y, draws)

        def step() -> None:
            F.cross_entropy(net(attacked()), y).backward()

        restart = operations(attacked) / 2 + forward
        whole = operations(step) / 2
        per_module = ascents(net.eval(), x[:1])
    return Counts(
        parameters(net),
        len(per_module),
        forward,
        whole,
        sum(per_module.values()),
        restart,
        {precision: bytes_kept(case, precision) for precision in ("fp32", "bf16")},
    )


def ascents(net: nn.Module, x: Tensor) -> dict[str, float]:
    """Of every module, the operations of one step of its ascent on one picture: forward from the
    values that enter what depends on it, and back to its weight."""
    graph, _ = traced(net.requires_grad_(False))
    rows = with_rows(graph, x)
    values = Values(graph)
    with torch.no_grad():
        values.run(x)
    found = {}
    for name in candidates(net):
        weight = weight_of(net, name).requires_grad_(True)
        part = closed(dependents(graph, [weight]), rows)
        enters = boundary(part)
        suffix = subgraph(graph, enters, part)
        given = [values.of[node] for node in enters]
        found[name] = operations(step_of(suffix, given, weight))
        weight.requires_grad_(False)
    return found


def step_of(suffix: nn.Module, given: list[Tensor], weight: Tensor) -> Callable[[], object]:
    """One pass forward and back."""
    return lambda: torch.autograd.grad(suffix(*given).sum(), weight)


class Values(fx.Interpreter):
    """Keeps the value of every node."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.of: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Tensor:
        self.of[n] = super().run_node(n)
        return self.of[n]


def bytes_kept(case: Case, precision: str) -> float:
    """What autograd keeps of a picture for the backward pass of a training step, in bytes."""
    net = case.network()
    x, y = torch.rand(2, 3, case.size, case.size), torch.zeros(2, dtype=torch.int64)
    aside = [*net.parameters(), *net.buffers()]

    def of(count: int) -> int:
        def work() -> None:
            with autocast("cpu", precision):
                F.cross_entropy(net(x[:count]).float(), y[:count])

        return kept(work, aside)

    return of(2) - of(1)  # what does not grow with the pictures falls out: copies of weights


def autoattack_passes() -> dict[str, float]:
    """Operations of the stages of AutoAttack on a picture that withstands all, in units of F:
    counted on a small network and a radius that breaks nothing."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))
    net.requires_grad_(False)
    x = torch.rand(1, 3, 16, 16)
    y, draws = net(x).argmax(1), Draws(0, 0, torch.arange(1))
    forward = operations(lambda: net(x))
    found = {}
    for stage in autoattack(Linf(1e-5), 10):
        run, times = stage.runs[0], len(stage.runs)  # the others only have other targets
        if isinstance(run, Square):  # as many passes as queries
            run, times = replace(run, queries=QUERIES), times * run.queries // QUERIES
        count = operations(lambda run=run: run.search(net, x, y, draws))
        found[stage.name] = times * count / forward
    return found


def counts_table(counts: dict[Case, Counts], passes: dict[str, float], batch: int) -> str:
    """What was counted, in Markdown."""
    lines = [f"| counted | {' | '.join(case.title for case in counts)} |"]
    lines.append("|---|" + "---:|" * len(counts))

    def row(name: str, shown: Callable[[Case, Counts], str]) -> None:
        lines.append(f"| {name} | {' | '.join(shown(*each) for each in counts.items())} |")

    row("parameters, millions", lambda _, c: f"{c.parameters / 1e6:.1f}")
    row("F, GFLOP", lambda _, c: f"{c.forward / 1e9:.2f}")
    row("PGD-10 training step of a picture, F", lambda _, c: f"{c.step / c.forward:.2f}")
    row(
        "a step of the ascents of all modules, F (modules)",
        lambda _, c: f"{c.ascents / c.forward:.1f} ({c.modules})",
    )
    row("a restart of PGD-10, F", lambda _, c: f"{c.restart / c.forward:.2f}")
    for precision in ("fp32", "bf16"):
        row(
            f"kept by autograd, {batch} pictures, {precision}, GB",
            lambda _, c, p=precision: f"{batch * c.bytes_kept[p] / 1e9:.1f}",
        )
    stages = ", ".join(f"{name} {count:,.0f}" for name, count in passes.items())
    return "\n".join([*lines, "", f"AutoAttack, a picture that withstands all, F: {stages}.\n"])


def costs_table(
    counts: dict[Case, Counts], passes: dict[str, float], options: argparse.Namespace
) -> str:
    """What that takes, in Markdown."""
    head = " | ".join(f"{n} GPU{'s' if n > 1 else ''}" for n in GPUS)
    lines = [f"| on paper | PFLOP | {head} |", "|---|---:|" + "---:|" * len(GPUS)]
    rate = options.peak * options.share
    for case, c in counts.items():

        def row(name: str, work: float, of: Callable[[int], float]) -> None:
            times = " | ".join(duration(of(n)) for n in GPUS)
            lines.append(f"| {name} | {work / 1e15:,.1f} | {times} |")

        pictures = case.epochs * case.train
        work = pictures * c.step
        row(
            f"{case.title}: PGD-10 training, {case.epochs} epochs",
            work,
            lambda n, w=work, p=pictures, c=c: (
                w / rate / n + p / (options.batch * n) * exchange(4 * c.parameters, n, options)
            ),
        )
        # The first loss and gradient of all modules is one pass forward and back.
        work = case.mrc_pictures * (ASCENT_STEPS * c.ascents + 3 * c.forward)
        row(
            f"MRC of all modules, {case.mrc_pictures:,} pictures, {ASCENT_STEPS} steps",
            work,
            lambda n, w=work, c=c: w / rate / min(n, c.modules),
        )
        work = case.test * POINTS * (RESTARTS * c.restart + c.forward)
        row(
            f"interpolation, {POINTS} points on {case.test:,} pictures, at most",
            work,
            lambda n, w=work: w / rate / n,
        )
        work = case.test * options.standing * sum(passes.values()) * c.forward
        row(
            f"AutoAttack on {case.test:,} pictures, {100 * options.standing:.0f} % stand",
            work,
            lambda n, w=work: w / rate / n,
        )
    return "\n".join(lines)


def exchange(size: float, gpus: int, options: argparse.Namespace) -> float:
    """Seconds of a ring all-reduce of so many bytes; its slowest connection decides."""
    speed = options.within if gpus <= MACHINE else options.between
    return 2 * (gpus - 1) / gpus * size / speed


def duration(seconds: float) -> str:
    """As a reader would say it."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"


if __name__ == "__main__":
    main()
