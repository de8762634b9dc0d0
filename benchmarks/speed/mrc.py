"""MRC of every module: cached suffixes against the full network.

    python benchmarks/speed/mrc.py [--images 64] [--steps 3] [--model resnet18]

All ways take the same steps on the same pictures. The usual one runs all of a copy of the network
forward and backward in each step of each module, as a training script does it. "Frozen" is the same
with all other weights frozen, so that the backward pass stops at the module; the authors' script
does this. Ours runs the network as `hardy mrc` does, in channels_last. In bf16 the ascent is in
bfloat16, and the losses that are reported are in float32 in every way.

The race measures the --k least critical modules, and of the others that they are not among them.
What it saves hangs on the network: with --shared it is an adversarially trained one on its
adversarial examples, else one with its first weights on noise.

Peak memory is what a process of its own grows by, from before the first step on.
"""

from __future__ import annotations

import argparse
import copy
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import command
import inputs
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from turns import Subject, Way

from hardy.attacks.pgd import PGD
from hardy.evaluation.footprint import operations
from hardy.evaluation.robustness import Protocol, adversarial
from hardy.finetuning.ascents import Ascent
from hardy.finetuning.mrc import Criticality, candidates, mrc
from hardy.modes import autocast
from hardy.threat import Linf
from hardy.verbs.asked.inputs import placed

Values = dict[str, float]
Found = dict[str, Criticality]

USUAL, FROZEN, OURS = "usual: forward, backward", "frozen: backward to the module", "ours"
RACING = "ours, racing"
BF16 = ", bf16"


def script(
    net: nn.Module, x: Tensor, y: Tensor, ascent: Ascent, precision: str, freeze: bool
) -> Values:
    """Every step of every module costs a full forward pass, and a backward pass through all
    weights, or (freeze) down to the module."""
    found = {}
    for name in candidates(net):
        model = copy.deepcopy(net).eval()
        weight = model.get_parameter(f"{name}.weight")
        if freeze:
            model.requires_grad_(False)
            weight.requires_grad_(True)
        origin = weight.detach().clone()
        best, highest, losses = origin, -1.0, []
        for step in range(ascent.steps + 1):
            model.zero_grad()
            last = step == ascent.steps
            with autocast(x.device, precision), torch.set_grad_enabled(not last):
                loss = F.cross_entropy(model(x).float(), y)
            losses.append(loss.item())
            if losses[-1] > highest:
                best, highest = weight.detach().clone(), losses[-1]
            if last:
                break
            loss.backward()
            assert weight.grad is not None
            with torch.no_grad():
                weight += weight.grad * (ascent.step * origin.norm() / weight.grad.norm())
                delta = weight - origin
                back = (ascent.radius * origin.norm() / delta.norm()).clamp(max=1)
                weight.copy_(origin + delta * back)
        start = losses[0]
        if precision == "bf16":
            with torch.no_grad():
                weight.copy_(best)
                highest = F.cross_entropy(model(x), y).item()
                weight.copy_(origin)
                start = F.cross_entropy(model(x), y).item()
        found[name] = max(highest - start, 0.0)
    return found


def ours(
    net: nn.Module, x: Tensor, y: Tensor, ascent: Ascent, precision: str, k: int | None = None
) -> Found:
    """Ours. The pictures stand for their adversarial examples too."""
    every = mrc(net, x, x, y, ascent=ascent, precision=precision, racing=k)
    return {one.module: one for one in every}


def the_same(k: int, found: Mapping[str, Values | Found]) -> str:
    """Whether all ways give the same criticalities, and the race the same least critical ones."""
    whole = {way: numbers(values) for way, values in found.items() if RACING not in way}
    usual = whole[USUAL]
    scale, worst = max(usual.values()), {"fp32": 0.0, "bf16": 0.0}
    for way, values in whole.items():
        kind = "bf16" if BF16 in way else "fp32"
        apart = max(abs(values[name] - usual[name]) for name in usual) / scale
        worst[kind] = max(worst[kind], apart)
    # The gradients of a step in bf16 are other ones than in fp32.
    if worst["fp32"] > 1e-4 or worst["bf16"] > 0.03:
        raise SystemExit(f"criticalities differ by {worst} of the highest")
    for way, values in found.items():
        if RACING not in way:
            continue
        full = numbers(found[way.replace(RACING, OURS)])
        lowest = sorted(full, key=full.__getitem__)[:k]
        raced = {one.module: one.mrc for one in of(values) if one.complete}
        if any(raced.get(name) != full[name] for name in lowest):
            raise SystemExit(f"the race does not end as the full measurement: {lowest}, {raced}")
    one, race = (sum(c.steps or 0 for c in of(found[way])) for way in (OURS, RACING))
    return (
        f"Criticalities differ by at most {worst['fp32']:.0e} of the highest ({scale:.2f} nats), "
        f"in bf16 by {worst['bf16']:.0e}; "
        f"the {k} lowest of a race are the same to the bit, in {race} of {one} steps."
    )


def numbers(values: Values | Found) -> Values:
    return {name: v.mrc if isinstance(v, Criticality) else v for name, v in values.items()}


def of(values: Values | Found) -> list[Criticality]:
    return [v for v in values.values() if isinstance(v, Criticality)]


def ways(options: argparse.Namespace) -> dict[str, Callable[[], Values | Found]]:
    """Every way by its name."""
    net, x, y, ascent = given(options)
    device = torch.device(options.device)
    own = placed(copy.deepcopy(net), device)
    found: dict[str, Callable[[], Values | Found]] = {}
    for precision, suffix in (("fp32", ""), ("bf16", BF16)):
        found |= {
            USUAL + suffix: partial(script, net, x, y, ascent, precision, False),
            FROZEN + suffix: partial(script, net, x, y, ascent, precision, True),
            OURS + suffix: partial(ours, own, x, y, ascent, precision),
            RACING + suffix: partial(ours, own, x, y, ascent, precision, options.k),
        }
    return found


def named(options: argparse.Namespace) -> str:
    if options.quick or options.shared is not None:
        return "thin_resnet18"
    return options.model


def given(options: argparse.Namespace) -> tuple[nn.Module, Tensor, Tensor, Ascent]:
    name = named(options)
    images = 16 if options.quick else options.images
    if options.shared is not None:
        net, split, eps, _ = inputs.half_broken(options, images)
        x = adversarial(net, split, Protocol(PGD(Linf(eps)), 1))
        return net, x, split.labels, Ascent(steps=options.steps)
    net = inputs.network(name, options.device)
    split = inputs.pictures(images, device=options.device)
    return net, split.pixels(slice(None)), split.labels, Ascent(steps=options.steps)


def peak(options: argparse.Namespace) -> str:
    """What a process of its own needs beyond the network and the pictures, of two ways."""
    grown = {}
    for way in (USUAL, OURS):
        command_line = [sys.executable, __file__, *same(options), "--memory", way]
        ran = subprocess.run(command_line, capture_output=True, text=True, check=True)
        grown[way] = int(ran.stdout)
    if not all(grown.values()):
        return "Peak memory: loading took more than a way, so it does not show."
    share = grown[OURS] / grown[USUAL]
    said = " and ".join(f"{grown[way] / 2**20:.0f} MiB ({way})" for way in grown)
    return f"Peak memory {said}: {share:.2f} times, goal ≤ 2 {'met' if share <= 2 else 'missed'}."


def same(options: argparse.Namespace) -> list[str]:
    """The flags that a process of its own needs."""
    words = [f"--{n}={getattr(options, n)}" for n in ("images", "steps", "model", "k", "threads")]
    shared = [] if options.shared is None else [f"--shared={options.shared}"]
    return [*words, f"--device={options.device}", *shared]


def print_peak(options: argparse.Namespace) -> None:
    """Run one way and print by how many bytes this process has grown."""
    run = ways(options)[options.memory]
    before = _highest()
    run()
    print(1024 * (_highest() - before))


def _highest() -> int:
    """The highest resident memory of this process so far, KiB. Linux gives a process started by a
    large one that one's peak in getrusage, but not here."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s*(\d+)", status.read_text())[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    made.add_argument("--images", type=int, default=64)
    made.add_argument("--steps", type=int, default=3)
    made.add_argument("--model", default="resnet18")
    made.add_argument("--k", type=int, default=1, help="of the race")
    made.add_argument("--memory", help=argparse.SUPPRESS)
    return made


def subjects(options: argparse.Namespace) -> list[Subject]:
    every = ways(options)
    net, _, y, ascent = given(options)
    title = f"{len(candidates(net))} modules, {len(y)} pictures, {ascent.steps} steps"
    counted = {OURS: 0.0} if options.quick else {OURS: float(operations(every[OURS]))}
    goals = {} if options.quick else {OURS: 2.7, OURS + BF16: 5.0}
    return [
        Subject(
            f"MRC of {named(options)}, {title}",
            [Way(n, run, precision="bf16" if BF16 in n else "fp32") for n, run in every.items()],
            partial(the_same, options.k),
            {name: count for name, count in counted.items() if count},
            goals,
            partial(peak, options) if options.device == "cpu" and not options.quick else None,
        )
    ]


def main() -> None:
    options = parser().parse_args()
    if options.memory:
        torch.set_num_threads(options.threads)
        print_peak(options)
        return
    command.run([lambda: subjects(options)], options)


if __name__ == "__main__":
    main()
