"""The same evaluation through pyautoattack, the authors' AutoAttack as a package: for whoever
wants to see that ours breaks what theirs does. Slower, one process, full precision.

It is an extra (`pip install 'hardy[reference]'`) and imported only when asked for.
"""

from __future__ import annotations

import importlib.metadata
import logging
from typing import Any

import torch
from torch import Tensor, nn

from hardy.attacks.active_set import Kept
from hardy.attacks.autoattack import TARGETS, Version
from hardy.console import progress
from hardy.data.splits import Split
from hardy.evaluation.robustness import rightly
from hardy.modes import evaluating, frozen
from hardy.threat import L2, Threat

PACKAGE = "pyautoattack"
STAGES: dict[Version, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "quick": ("apgd-ce", "apgd-t"),
}


def must_be_there(version: Version, num_classes: int) -> str:
    """The installed package's name and version, such as 'pyautoattack 0.2.0'.

    Raises ValueError where it is not installed, has no such version of the ensemble, or cannot
    do so few classes.
    """
    if version not in STAGES:
        raise ValueError(f"--reference has no {version!r} version: leave it out")
    if num_classes < 4:
        raise ValueError(
            f"--reference needs four classes, the data has {num_classes}: leave it out"
        )
    try:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"--reference needs the package {PACKAGE}: pip install 'hardy[reference]'"
        ) from None


def reference(
    model: nn.Module,
    split: Split,
    threat: Threat,
    *,
    num_classes: int,
    version: Version = "standard",
    seed: int = 0,
    batch_size: int = 256,
    label: str = "",
    kept: Kept | None = None,
) -> Tensor:
    """Which examples of a split withstand pyautoattack, bool (N,) on the CPU; the network is
    run in eval mode and left as it was.

    kept: goes on where an earlier call with the same arguments was stopped; a stop loses a
    batch. Raises ValueError as `must_be_there`.
    """
    must_be_there(version, num_classes)
    stages = STAGES[version]
    with evaluating(model), frozen(model):
        state = None if kept is None else kept.load()
        if state is None:
            state = {
                "standing": rightly(model, split, batch_size),
                "done": torch.zeros(2, dtype=torch.int64),
            }
        standing = state["standing"].to(split.labels.device)
        first, done = state["done"].tolist()
        with progress(f"{label} {PACKAGE}".strip(), len(split) * len(stages)) as advance:
            for number, stage in enumerate(stages[first:], first):
                for start in range(done if number == first else 0, len(split), batch_size):
                    here = torch.zeros_like(standing)
                    here[start : start + batch_size] = standing[start : start + batch_size]
                    withstood = reference_stage(
                        model,
                        split,
                        here,
                        threat,
                        stage,
                        num_classes=num_classes,
                        seed=seed,
                        batch_size=batch_size,
                    )
                    standing = standing & ~here | withstood
                    if kept is not None:
                        at = torch.tensor([number, start + batch_size])
                        kept.save({"standing": standing, "done": at})
                    advance(min(batch_size, len(split) - start))
    return standing.cpu()


def reference_stage(
    model: nn.Module,
    split: Split,
    standing: Tensor,
    threat: Threat,
    stage: str,
    *,
    num_classes: int,
    seed: int,
    batch_size: int,
) -> Tensor:
    """Which of those that stand withstand one of its attacks ('apgd-ce', …), bool (N,). The
    network must be in eval mode. torch's own random state is left as it was."""
    device = split.device
    standing = standing.clone()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        attacks = _attacks(model, threat, seed, min(TARGETS, num_classes - 1), device)
        attacks.attacks_to_run = [stage]
        rows = standing.nonzero()[:, 0]
        for part in rows.split(batch_size) if len(rows) else ():  # it cannot do with nothing
            x, y = split.pixels(part), split.labels[part]
            x_adv, _ = attacks.run_standard_evaluation(x, y, batch_size=len(y))
            with torch.no_grad():  # what it returns is judged here, by the same rule as ours
                right = model(x_adv).argmax(1) == y
            standing[part] = right | (threat.distance(x_adv, x) > threat.eps + 1e-5)
    return standing


def _attacks(
    model: nn.Module, threat: Threat, seed: int, targets: int, device: torch.device
) -> Any:
    from pyautoattack import AutoAttack

    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    norm = "L2" if isinstance(threat, L2) else "Linf"
    attacks = AutoAttack(model, norm=norm, eps=threat.eps, seed=seed, device=device)
    attacks.apgd_targeted.n_target_classes = targets
    attacks.fab.n_target_classes = targets
    return attacks
