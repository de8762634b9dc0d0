"""What rift tries, and the search over it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from hardy import config
from hardy.console import say
from hardy.data.augment import augment_of
from hardy.data.splits import DataSet, Split
from hardy.evaluation.robustness import Protocol
from hardy.finetuning.deciding import Rule
from hardy.finetuning.interpolate import Point, choose
from hardy.finetuning.mrc import Criticality, candidates
from hardy.finetuning.rift import Tried, attempt, best_of, ranked, start_point
from hardy.finetuning.tune import Candidate, has_batchnorm
from hardy.models.load import Checkpoint
from hardy.verbs.runs.folder import RunFolder

WORDS = ("search", "least", "most", "last", "all")


def must_exist(modules: str, model: nn.Module) -> None:
    """Raises ValueError for a module name that the network does not have, with the nearest."""
    known = candidates(model)
    if modules not in WORDS and not _named(modules):
        raise ValueError(f"--modules must be one of {', '.join(WORDS)}, or names with commas")
    for name in _named(modules):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
            raise ValueError(
                f"the network has no convolution or linear map {name!r}: did you mean "
                f"{', '.join(near)}?"
            )


def search(
    asked: config.Rift,
    net: Checkpoint,
    data: DataSet,
    choosing: Split,
    protocol: Protocol,
    measured: Sequence[Criticality],
    folder: RunFolder,
) -> tuple[Point, list[Tried]]:
    """The start and everything that was tried, measured on the choosing split."""
    # The engine takes a second to import: nothing that does not train waits for it.
    from hardy.training.engine import Engine
    from hardy.training.loop import Settings

    settings = Settings(
        epochs=asked.epochs,
        batch_size=asked.batch_size,
        momentum=asked.momentum,
        weight_decay=asked.weight_decay,
        milestones=asked.milestones,
        seed=asked.seed,
    )
    once = replace(protocol, restarts=1)
    steps = folder.steps()
    start = start_point(net.model, choosing, once, steps)
    say(f"start: {line(start, len(choosing))} on {len(choosing)} pictures of {choosing.name}")
    engine = Engine(choosing.device, asked.precision)
    tried: list[Tried] = []
    for candidate in _to_try(asked, net.model, measured):
        rule = None
        if asked.path == "deciding":
            # The baseline stands beside the search: it has only the start to beat.
            rivals = [one for one in tried if one.candidate.modules] if candidate.modules else []
            best = best_of(start, rivals, asked.tolerance)[1]
            rule = Rule(start, asked.tolerance, best.clean)
        one = attempt(
            engine,
            net.model,
            candidate,
            data.train,
            augment_of(data, asked.augment),
            settings,
            asked.alphas,
            choosing,
            once,
            steps,
            rule=rule,
            say=say,
        )
        say(f"{candidate.label}: {_outcome(start, one, rule, asked.tolerance, len(choosing))}")
        tried.append(one)
    return start, tried


def _outcome(start: Point, one: Tried, rule: Rule | None, tolerance: float, n: int) -> str:
    best = choose(start, one.points, tolerance)
    if rule is None or best is not start:
        return f"best α {best.alpha:g}, {line(best, n)}"
    return f"no α holds the rule with more clean accuracy than {100 * rule.best / n:.2f} %"


def _to_try(
    asked: config.Rift, model: nn.Module, measured: Sequence[Criticality]
) -> list[Candidate]:
    """Every combination of modules, learning rate and BatchNorm's mode that was asked for."""
    order = [one.module for one in measured]
    by_mrc = ranked(measured, "mrc", len(measured))
    groups = {
        "search": [(name,) for name in ranked(measured, asked.choose, asked.k)],
        "least": [tuple(by_mrc[: asked.k])],
        "most": [tuple(by_mrc[-asked.k :])],
        "last": [(order[-1],)],
        "all": [tuple(order)],
    }.get(asked.modules, [tuple(_named(asked.modules))])
    modes = asked.batchnorm if has_batchnorm(model) else ("frozen",)
    found = [
        Candidate(group, lr, mode, asked.trainable)
        for group in groups
        for lr in asked.lr
        for mode in modes
    ]
    if asked.bn_only and has_batchnorm(model):
        found.append(Candidate((), 0.0))
    return found


def _named(modules: str) -> list[str]:
    """The names out of --modules; none where it is one of the words."""
    if modules in WORDS:
        return []
    return [name.strip() for name in modules.split(",") if name.strip()]


def line(point: Point, n: int) -> str:
    return f"clean {100 * point.clean / n:.2f} %, robust {100 * point.robust / n:.2f} %"
