"""MRC of every module of ResNet-18: cached suffixes against the full network.

    python benchmarks/mrc.py --images 64 --steps 3 --rounds 3

Three runs take the same steps on the same pictures in turn in one process; the ratios are of
their fastest rounds, and the benchmark fails where their results differ.

- usual: a copy of the network for every module, all of it run forward and backward each step,
  as a training script does it.
- frozen: the same with all other weights frozen, so that the backward pass stops at the module;
  the authors' script does this.
- cached: ours.
"""

from __future__ import annotations

import argparse
import copy
import platform
import time
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardy.finetuning.mrc import Ascent, candidates, mrc
from hardy.models.resnet import resnet18
from hardy.modes import autocast

Values = dict[str, float]


def script(
    net: nn.Module, x: Tensor, y: Tensor, ascent: Ascent, precision: str, *, freeze: bool
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
                back = (ascent.radius * origin.norm() / delta.norm()).clamp(max=1)
                weight.copy_(origin + delta * back)
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
    runs = {
        "usual": partial(script, freeze=False),
        "frozen": partial(script, freeze=True),
        "cached": cached,
    }
    best = dict.fromkeys(runs, float("inf"))
    values: dict[str, Values] = {}
    for _ in range(options.rounds + 1):  # the first round warms up, and is never the fastest
        for name, run in runs.items():
            began = time.perf_counter()
            values[name] = run(net, x, y, Ascent(steps=options.steps), options.precision)
            best[name] = min(best[name], time.perf_counter() - began)

    scale = max(values["usual"].values())
    worst = max(
        abs(values[run][name] - values["usual"][name])
        for run in ("frozen", "cached")
        for name in values["usual"]
    )
    # In bf16 the kernels of the script and ours may round differently at every step.
    if worst > (1e-4 if options.precision == "fp32" else 1e-2) * scale:
        raise SystemExit(f"the results differ by {worst:.2e}: no comparison")

    processor = platform.processor() or platform.machine()
    print(
        f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{options.device}, {options.precision}"
    )
    print(
        f"{len(values['usual'])} modules, {options.images} pictures, {options.steps} steps, "
        f"fastest of {options.rounds + 1}"
    )
    for name, what in (
        ("usual", "full forward and backward"),
        ("frozen", "full forward, backward to the module"),
        ("cached", "cached suffixes"),
    ):
        print(f"{what:38}{best[name]:8.2f} s{best[name] / best['cached']:8.2f} times ours")
    print(f"largest difference of an MRC {worst:.1e}, of at most {scale:.2f} nats")


if __name__ == "__main__":
    main()
