"""What rift writes down: its choice, every point on the way, and the reported split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hardy import config
from hardy.console import say
from hardy.data.splits import DataSet, Split, limited
from hardy.evaluation.pictures import KIND, predictions, write_pictures
from hardy.evaluation.results import Results, Scalar
from hardy.evaluation.robustness import (
    Protocol,
    accuracies,
    accuracy,
    adversarial,
    gains,
    judge,
)
from hardy.evaluation.steps import Steps
from hardy.finetuning.interpolate import Point, allowed_fall
from hardy.finetuning.rift import Tried
from hardy.verbs.asked.inputs import DATA_SEED
from hardy.verbs.rifting.searching import line

SHOWN = 8


def note_choice(
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
    say(f"chosen: {chosen.candidate.label}, α {point.alpha:g}: {line(point, n)}")


def note_paths(
    results: Results,
    start: Point,
    tried: Sequence[Tried],
    chosen: Tried | None,
    point: Point,
    protocol: Protocol,
    choosing: Split,
) -> None:
    """Every point of every path as measurements; of those whose robust accuracy was not measured
    the clean accuracy, and why it stands alone."""
    once = replace(protocol, restarts=1)
    for one in tried:
        label = one.candidate.label
        for here in [start, *one.points]:
            more: dict[str, Any] = {"alpha": here.alpha}
            if one is chosen and here is point:
                more["chosen"] = True
            results.measurements += accuracies(here.verdicts, once, choosing.name, label, **more)
        for there in one.unjudged:
            alone: dict[str, Scalar] = {"dtype": "fp32", "alpha": there.alpha}
            alone["robust accuracy"] = "below the rule" if there.refused else "not needed"
            results.measurements.append(
                accuracy("clean accuracy", there.right, choosing.name, label, alone)
            )
    if any(one.unjudged for one in tried):
        results.notes.append(
            "Robust accuracy on the way was measured only where the choice needs it (--path "
            "deciding), which is the choice of the whole path: the other points could not win."
        )


def report(
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
