"""hardy rift: more clean accuracy at the same robustness, from any robust checkpoint."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hardy import config
from hardy.console import say
from hardy.data.augment import augment_of
from hardy.data.splits import DataSet, Split, halves, limited
from hardy.evaluation.pictures import KIND, predictions, write_pictures
from hardy.evaluation.results import Results
from hardy.evaluation.robustness import Protocol, accuracies, adversarial, gains, judge
from hardy.evaluation.steps import Steps
from hardy.finetuning.interpolate import Point, allowed_fall, choose, weights_at
from hardy.finetuning.mrc import Criticality, candidates
from hardy.finetuning.rift import Tried, attempt, best_of, ranked, start_point
from hardy.finetuning.tune import BN_ONLY, Candidate, has_batchnorm
from hardy.models.load import BEST, Checkpoint, save
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.asked.inputs import (
    DATA_SEED,
    checkpoint_of,
    data_of,
    device_of,
    origin,
    protocol_of,
    unseen_val,
)
from hardy.verbs.mrc import measure
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same
from hardy.verbs.runs.seeds import repeated

SHOWN = 8
WORDS = ("search", "least", "most", "last", "all")


@repeated
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
    must_be_the_same(
        folder,
        {"the network": net.model},
        marks({"train": data.train, "val": data.val, "test": data.test}),
    )
    results = folder.results()
    results.notes += [how, *net.notes]
    if asked.mrc_split == "test" and asked.choose_on != "test":
        results.notes.append(
            "Criticality was measured on test pictures, the reported ones among them: which "
            "modules were tried is not independent of what is reported."
        )
    data = replace(data, train=data.train.to(device))
    choosing, reported = choosing.to(device), reported.to(device)

    measured = measure(asked, net, data, device, folder, results)
    start, tried = _search(asked, net, data, choosing, protocol, measured, folder)
    allowed = [one for one in tried if one.candidate.modules]
    chosen, point = best_of(start, allowed, asked.tolerance)
    _note_choice(results, asked, chosen, point, choosing)
    _note_paths(results, start, tried, chosen, point, protocol, choosing)

    before = {key: value.clone() for key, value in net.model.state_dict().items()}
    changed = chosen.changed if chosen else {}
    states = {"start": before, "result": weights_at(before, changed, point.alpha)}
    baseline = next((one for one in tried if one.candidate.label == BN_ONLY), None)
    if baseline is not None:
        alpha = choose(start, baseline.points, asked.tolerance).alpha
        states[BN_ONLY] = weights_at(before, baseline.changed, alpha)
    _report(results, net.model, states, reported, protocol, data, folder.steps())

    net.model.load_state_dict(states["result"])
    extra = {**origin(data, "rift", net), "chosen_on": choosing.name}
    save(folder.path / BEST, net.model, net.architecture, classes=data.classes, extra=extra)
    results.add_artifact(folder.path / BEST, "weights")
    results.facts |= {"model": net.architecture.title, "data": data.name}
    results.facts |= {"threat": repr(protocol.attack.threat)}
    return finish(results)


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
        on = "val" if unseen_val(net, data) else "half"
    if on == "val":
        choosing, reported = data.val, data.test
        how = "The module, learning rate and α were chosen on val; test was read once, at the end."
    elif on == "half":
        choosing, reported = halves(data.test, DATA_SEED)
        who = "This network comes from elsewhere and has"
        if net.ours:
            who = "What this network was trained from may have"
        how = (
            f"{who} seen all of train, so no validation pictures are left: one seeded half of "
            "test was used to choose, the other half is reported."
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
    engine = Engine(choosing.device, asked.precision)
    tried = []
    for candidate in _to_try(asked, net.model, measured):
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


def _report(
    results: Results,
    model: nn.Module,
    states: Mapping[str, Mapping[str, Tensor]],
    split: Split,
    protocol: Protocol,
    data: DataSet,
    steps: Steps,
) -> None:
    """Measure the networks on the reported split, once, and keep a few of its pictures."""
    few = limited(split, SHOWN, DATA_SEED)
    x_adv = None
    verdicts, said = {}, {}
    for subject, state in states.items():
        model.load_state_dict(state)
        if x_adv is None:  # the pictures are attacked for the start, which comes first
            x_adv = adversarial(model, few, replace(protocol, precision="fp32"))
        said[subject] = predictions(model, few.pixels(slice(None)), x_adv)
        same = next((s for s in verdicts if _equal(states[s], state)), None)
        label = f"{subject}, reported split"
        verdicts[subject] = (
            verdicts[same]
            if same
            else steps.verdicts(label, lambda label=label: judge(model, split, protocol, label))
        )
        results.measurements += accuracies(verdicts[subject], protocol, split.name, subject)
    results.measurements += gains(
        verdicts["start"], verdicts["result"], protocol, split.name, "result"
    )
    assert results.folder is not None and x_adv is not None, "the start is always there"
    path = results.folder / "pictures.npz"
    kept = {subject: said[subject] for subject in ("start", "result")}
    write_pictures(path, few, x_adv, data.classes, kept)
    results.add_artifact(path, KIND)


def _equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)
