"""MRC of every module of ResNet-18: cached suffixes against the usual script.

    python benchmarks/mrc.py --images 64 --steps 3 --rounds 3

The usual script copies the network for every module and, each step, runs all of it forward
and backward. Both take the same steps and must find the same losses. They run in turn in one
process; the ratio is of their fastest rounds.
"""

from __future__ import annotations

import argparse
import copy
import platform
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardy.finetuning.mrc import Ascent, candidates, mrc
from hardy.models.resnet import resnet18
from hardy.modes import autocast

Values = dict[str, float]


def usual(net: nn.Module, x: Tensor, y: Tensor, ascent: Ascent, precision: str) -> Values:
    """The usual script: every step of every module costs a full forward and backward."""
    found = {}
    for name in candidates(net):
        model = copy.deepcopy(net).eval()
        weight = model.get_parameter(f"{name}.weight")
        origin = weight.detach().clone()
        losses = []
        for _ in range(ascent.steps):
            model.zero_grad()
            with autocast(x.device, precision):
                loss = F.cross_entropy(model(x).float(), y)
            loss.backward()
            losses.append(loss.item())
            assert weight.grad is not None
            with torch.no_grad():
                weight += weight.grad * (ascent.step * origin.norm() / weight.grad.norm())
                delta = weight - origin
                weight.copy_(
                    origin + delta * (ascent.radius * origin.norm() / delta.norm()).clamp(max=1)
                )
        with torch.no_grad():
            losses.append(F.cross_entropy(model(x), y).item())
        found[name] = max(losses) - losses[0]
    return found


def cached(net: nn.Module, x: Tensor, y: Tensor, ascent: Ascent, precision: str) -> Values:
    """Ours."""
    return {one.module: one.mrc for one in mrc(net, x, x, y, ascent=ascent, precision=precision)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    net = resnet18(normalize="cifar10").to(options.device)
    x = torch.rand(options.images, 3, 32, 32, device=options.device)
    y = torch.randint(10, (options.images,), device=options.device)
    ascent = Ascent(steps=options.steps)

    def seconds(run: Callable[..., Values], values: dict[str, Values], precision: str) -> float:
        began = time.perf_counter()
        values[run.__name__] = run(net, x, y, ascent, precision)
        return time.perf_counter() - began

    values: dict[str, Values] = {}
    best: dict[str, float] = {}
    for _ in range(options.rounds + 1):  # the first round warms up, and is never the fastest
        for run in (usual, cached):
            took = seconds(run, values, options.precision if run is cached else "fp32")
            best[run.__name__] = min(best.get(run.__name__, took), took)

    worst = max(abs(values["cached"][n] - values["usual"][n]) for n in values["usual"])
    scale = max(values["usual"].values())
    tolerance = (1e-4 if options.precision == "fp32" else 5e-2) * scale
    if worst > tolerance:
        raise SystemExit(f"the results differ by {worst:.2e}: no comparison")

    processor = platform.processor() or platform.machine()
    print(
        f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{options.device}"
    )
    print(
        f"{len(values['usual'])} modules, {options.images} pictures, {options.steps} steps, "
        f"fastest of {options.rounds + 1}"
    )
    print(f"usual script, fp32            {best['usual']:8.2f} s")
    print(f"cached suffixes, {options.precision}         {best['cached']:8.2f} s")
    print(f"ratio                         {best['usual'] / best['cached']:8.2f}")
    print(f"largest difference of an MRC  {worst:8.1e} of at most {scale:.2f} nats")


if __name__ == "__main__":
    main()
