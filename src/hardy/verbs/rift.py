"""hardy rift: more clean accuracy at the same robustness, from any robust checkpoint."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardy import config
from hardy.console import say
from hardy.data.augment import default_augment
from hardy.data.splits import DataSet, Split, halves, limited
from hardy.evaluation.results import Results
from hardy.evaluation.robustness import Protocol, accuracies, gains, judge
from hardy.files import written_whole
from hardy.finetuning.interpolate import Point, allowed_fall, choose
from hardy.finetuning.mrc import Criticality, candidates
from hardy.finetuning.rift import Tried, adversarial, attempt, best_of, ranked, start_point
from hardy.finetuning.tune import BN_ONLY, Candidate, has_batchnorm
from hardy.models.load import BEST, Checkpoint, save
from hardy.reporting.page import write_report
from hardy.verbs.folder import RunFolder
from hardy.verbs.inputs import (
    DATA_SEED,
    check,
    checkpoint_of,
    data_of,
    device_of,
    keywords,
    protocol_of,
)
from hardy.verbs.mrc import measure
from hardy.verbs.train import origin
from hardy.weights import interpolate

SHOWN = 8
WORDS = ("search", "least", "most", "last", "all")


def run(asked: config.Rift) -> Results:
    """RiFT as asked; the results, with the better network in `.folder`."""
    check(asked)
    device = device_of(asked.device)
    protocol = protocol_of(asked)
    _check(asked)
    data = data_of(asked, asked.limit)
    net = checkpoint_of(asked, data, device)
    _must_exist(asked.modules, net.model)
    choosing, reported, how = _where_to_choose(asked, net, data)
    folder = RunFolder("rift", asked)
    results = folder.results()
    results.notes += [how, *net.notes]
    data = replace(data, train=data.train.to(device))
    choosing, reported = choosing.to(device), reported.to(device)

    measured = measure(asked, net, data, device, folder, results)
    start, tried = _search(asked, net, data, choosing, protocol, measured, folder)
    allowed = [one for one in tried if one.candidate.modules]
    chosen, point = best_of(start, allowed, asked.tolerance)
    _note_choice(results, asked, chosen, point, choosing)
    _note_paths(results, start, tried, chosen, point, protocol, choosing)

    before = _weights(net.model)
    after = _at(before, chosen, point)
    baseline = next((one for one in tried if one.candidate.label == BN_ONLY), None)
    verdicts = {"start": judge(net.model, reported, protocol, "start, reported split")}
    net.model.load_state_dict(after)
    if chosen is None:
        verdicts["result"] = verdicts["start"]
    else:
        verdicts["result"] = judge(net.model, reported, protocol, "result, reported split")
    if baseline is not None:
        net.model.load_state_dict(
            _at(before, baseline, choose(start, baseline.points, asked.tolerance))
        )
        verdicts[BN_ONLY] = judge(net.model, reported, protocol, "bn only, reported split")
    for subject, found in verdicts.items():
        results.measurements += accuracies(found, protocol, reported.name, subject)
    results.measurements += gains(
        verdicts["start"], verdicts["result"], protocol, reported.name, "result"
    )

    net.model.load_state_dict(after)
    extra = {**origin(data, "rift"), **_lineage(net)}
    save(folder.path / BEST, net.model, net.architecture, classes=data.classes, extra=extra)
    results.add_artifact(folder.path / BEST, "weights")
    _keep_pictures(results, net.model, before, after, reported, protocol, data)
    results.facts |= {"model": net.architecture.model, "data": data.name}
    results.facts |= {"threat": repr(protocol.attack.threat)}
    results.write()
    write_report(folder.path)
    return results


rift = keywords(config.Rift, run)


def _check(asked: config.Rift) -> None:
    if not asked.lr or not asked.batchnorm:
        raise ValueError("--lr and --batchnorm need at least one value each")
    if not asked.alphas or not all(0 < alpha <= 1 for alpha in asked.alphas):
        raise ValueError("--alphas must lie in (0, 1]; 0, the start, is always measured")


def _must_exist(modules: str, model: nn.Module) -> None:
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


def _named(modules: str) -> list[str]:
    """The names out of --modules; none where it is one of the words."""
    if modules in WORDS:
        return []
    return [name.strip() for name in modules.split(",") if name.strip()]


def _where_to_choose(
    asked: config.Rift, net: Checkpoint, data: DataSet
) -> tuple[Split, Split, str]:
    """The split to choose on, the split to report, and a sentence that says so.

    val is clean only for a network that this project trained on the same pictures with the
    same cut; any other has seen it, and then test is halved.
    """
    on = asked.choose_on
    if on == "auto":
        own = net.ours and net.extra.get("content_hash") == data.provenance["content_hash"]
        same = own and net.extra.get("val_fraction") == data.provenance["val_fraction"]
        on = "val" if same else "half"
    if on == "val":
        choosing, reported = data.val, data.test
        how = "The module, learning rate and α were chosen on val; test was read once, at the end."
    elif on == "half":
        choosing, reported = halves(data.test, DATA_SEED)
        how = (
            "This network comes from elsewhere and has seen all of train, so no validation "
            "pictures are left: one seeded half of test was used to choose, the other half is "
            "reported."
        )
    else:
        choosing = reported = data.test
        how = (
            "The choice was made on the very test pictures that are reported, as the authors' "
            "code does: the gain is flattered."
        )
    return (
        limited(choosing, asked.choose_pictures, DATA_SEED),
        limited(reported, asked.test_limit, DATA_SEED),
        how,
    )


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


def _search(
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
    say(f"start: {_line(start, len(choosing))} on {len(choosing)} pictures of {choosing.name}")
    engine = Engine(choosing.images.device, asked.precision)
    tried = []
    for candidate in _to_try(asked, net.model, measured):
        one = attempt(
            engine,
            net.model,
            candidate,
            data.train,
            default_augment(data) if asked.augment else None,
            settings,
            asked.alphas,
            choosing,
            once,
            steps,
        )
        best = choose(start, one.points, asked.tolerance)
        say(f"{candidate.label}: best α {best.alpha:g}, {_line(best, len(choosing))}")
        tried.append(one)
    return start, tried


def _line(point: Point, n: int) -> str:
    return f"clean {100 * point.clean / n:.2f} %, robust {100 * point.robust / n:.2f} %"


def _note_choice(
    results: Results,
    asked: config.Rift,
    chosen: Tried | None,
    point: Point,
    choosing: Split,
) -> None:
    n = len(choosing)
    results.facts |= {
        "module": ", ".join(chosen.candidate.modules) if chosen else "none",
        "alpha": point.alpha,
        "tolerance": allowed_fall(n, asked.tolerance) / n,
    }
    if chosen is None:
        results.notes.append(
            "No point on any path met the rule with more clean accuracy: the start is returned "
            "unchanged. More modules (--k, --choose both) or smaller --lr may find one."
        )
        return
    results.facts |= {"learning rate": chosen.candidate.lr, "BatchNorm": chosen.candidate.batchnorm}
    say(f"chosen: {chosen.candidate.label}, α {point.alpha:g}: {_line(point, n)}")


def _note_paths(
    results: Results,
    start: Point,
    tried: Sequence[Tried],
    chosen: Tried | None,
    point: Point,
    protocol: Protocol,
    choosing: Split,
) -> None:
    """Every point of every path as measurements."""
    once = replace(protocol, restarts=1)
    for one in tried:
        for here in [start, *one.points]:
            more: dict[str, Any] = {"alpha": here.alpha}
            if one is chosen and here is point:
                more["chosen"] = True
            label = one.candidate.label
            results.measurements += accuracies(here.verdicts, once, choosing.name, label, **more)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def _at(before: dict[str, Tensor], tried: Tried | None, point: Point) -> dict[str, Tensor]:
    """The weights at a point of a path."""
    if tried is None or point.alpha == 0:
        return before
    end = before | {k: v.to(before[k].device) for k, v in tried.changed.items()}
    return interpolate(before, end, point.alpha)


def _lineage(net: Checkpoint) -> dict[str, Any]:
    """Whether val is still unseen: only where the start itself had not seen it."""
    return {} if net.ours else {"content_hash": "seen elsewhere"}


def _keep_pictures(
    results: Results,
    model: nn.Module,
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    split: Split,
    protocol: Protocol,
    data: DataSet,
) -> None:
    """A few pictures, their adversarial versions for the start, and what both nets say."""
    few = limited(split, SHOWN, DATA_SEED)
    x = few.pixels(slice(None))
    model.load_state_dict(before)
    x_adv = adversarial(
        model, few, protocol.attack, seed=protocol.seed, precision="fp32", batch_size=SHOWN
    )
    kept: dict[str, Any] = {
        "clean": few.images.cpu().numpy(),
        "adversarial": (x_adv * 255).round().byte().cpu().numpy(),
        "labels": few.labels.cpu().numpy(),
        "classes": np.array(data.classes),
    }
    for name, state in (("start", before), ("result", after)):
        model.load_state_dict(state)
        with torch.no_grad():
            kept[f"{name}/clean"] = model(x).argmax(1).cpu().numpy()
            kept[f"{name}/adversarial"] = model(x_adv).argmax(1).cpu().numpy()
    assert results.folder is not None
    path = results.folder / "pictures.npz"
    with written_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **kept)
    results.add_artifact(path, "pictures")
