"""From tallies to measurements: each network by itself, and each against the first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hardy.attacks.active_set import STANDS
from hardy.data.splits import stratified
from hardy.evaluation.confusion import KIND as CONFUSION
from hardy.evaluation.confusion import class_accuracies, confusion, write_confusion
from hardy.evaluation.corruption import accuracies_under, mean_accuracies, mean_gains
from hardy.evaluation.curve import at_radius, curve
from hardy.evaluation.pictures import BROKEN, shown, write_broken
from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.evaluation.robustness import accuracies, accuracy, gains
from hardy.evaluation.seeds import mean_of
from hardy.verbs.asked.inputs import DATA_SEED, attack_of
from hardy.verbs.asked.protocols import Judged
from hardy.verbs.evaluating.measuring import Job, attack_name
from hardy.verbs.evaluating.tallies import Tally

SHOWN = 12
AVERAGED = {"clean accuracy", "robust accuracy", "mean corruption accuracy"}


def measured(job: Job, found: Mapping[str, Tally]) -> list[Measurement]:
    """Everything that was measured, of the networks one by one and then of their differences."""
    by_network = [_of_one(job, label, tally) for label, tally in found.items()]
    measurements = [one for many in by_network for one in many]
    (first, before), *others = found.items()
    for label, after in others:
        measurements += _differences(job, f"{label} − {first}", before, after)
    of = dict(zip(found, by_network, strict=True))
    for setting, labels in job.settings.items():
        measurements += _over_seeds(setting, [of[label] for label in labels])
    return measurements


def matrices(job: Job, found: Mapping[str, Tally]) -> dict[str, dict[str, Tensor]]:
    """The confusion matrices of each network, 'clean' and 'adversarial' (the last attack)."""
    labels, classes = job.test.labels.cpu(), job.data.num_classes
    return {
        label: {
            "clean": confusion(labels, tally.clean, classes),
            "adversarial": confusion(labels, tally.attacked, classes),
        }
        for label, tally in found.items()
    }


def keep_files(job: Job, found: Mapping[str, Tally], results: Results) -> None:
    """Write the confusion matrices, and a few of the pictures that the last attack breaks, into
    the run folder."""
    assert results.folder is not None, "a run folder makes its results"
    path = results.folder / "confusion.npz"
    write_confusion(path, job.data.classes, matrices(job, found))
    results.add_artifact(path, CONFUSION)

    by = {label: _by(tally) for label, tally in found.items()}
    rows = torch.stack([one >= 0 for one in by.values()]).any(0).nonzero()[:, 0]
    if not len(rows):
        return
    labels = job.test.labels.cpu()[rows]
    rows = rows[stratified(labels, min(SHOWN, len(rows)), DATA_SEED)]
    few, protocol = job.test.take(rows.to(job.test.labels.device)), job.protocols[-1]
    path = results.folder / "broken.npz"
    of = {
        label: shown(net.model, few, protocol, by[label][rows]) for label, net in job.nets.items()
    }
    write_broken(path, few, job.data.classes, of)
    results.add_artifact(path, BROKEN)


def _of_one(job: Job, label: str, tally: Tally) -> list[Measurement]:
    split, found = job.test.name, []
    for protocol, verdicts in zip(job.protocols, tally.verdicts, strict=True):
        clean, robust = accuracies(verdicts, protocol, split, label)
        found += [robust] if found else [clean, robust]
    for protocol, verdicts in zip(job.protocols, tally.verdicts, strict=True):
        if len(protocol.stages) > 1 and verdicts.by is not None:
            found += _stages(protocol, verdicts.by, split, label)
        withstood = tally.reference.get(attack_name(protocol))
        if withstood is not None:
            setting = {**protocol.setting, "dtype": "fp32", "package": job.package}
            found.append(accuracy("robust accuracy (reference)", withstood, split, label, setting))
    settings: dict[str, dict[str, Scalar]] = {
        "clean": {"kind": "clean", "dtype": "fp32"},
        "adversarial": {"kind": "adversarial", **job.protocols[-1].setting},
    }
    for kind, matrix in matrices(job, {label: tally})[label].items():
        found += class_accuracies(matrix, job.data.classes, split, label, settings[kind])
    if tally.standing:
        found += curve(tally.standing, job.on_curve.name, label, lambda eps: _at(job, eps))
    if tally.right:
        name, about = job.under_corruption.name, job.about_corruptions
        found += accuracies_under(tally.right, name, label, about)
        found += mean_accuracies(tally.right, name, label, about)
    return found


def _stages(protocol: Judged, by: Tensor, split: str, label: str) -> list[Measurement]:
    found = []
    for number, stage in enumerate(protocol.stages):
        broken = int((by == number).sum())
        setting = {**protocol.setting, "stage": stage.name, "broken": broken}
        standing = (by == STANDS) | (by > number)
        found.append(accuracy("robust accuracy so far", standing, split, label, setting))
    return found


def _at(job: Job, eps: float) -> dict[str, Scalar]:
    usual = attack_of(job.asked)
    setting = usual.setting if eps == 0 else at_radius(usual, eps).setting
    if eps == 0:
        setting |= {"eps": 0.0, "step_size": 0.0}
    return {**setting, "restarts": 1, "seed": job.asked.seed, "dtype": job.asked.precision}


def _differences(job: Job, subject: str, before: Tally, after: Tally) -> list[Measurement]:
    found: list[Measurement] = []
    for protocol, old, new in zip(job.protocols, before.verdicts, after.verdicts, strict=True):
        clean, robust = gains(old, new, protocol, job.test.name, subject)
        found += [robust] if found else [clean, robust]
    if before.right:
        split, about = job.under_corruption.name, job.about_corruptions
        found += mean_gains(before.right, after.right, split, subject, about)
    return found


def _over_seeds(setting: str, by_network: list[list[Measurement]]) -> list[Measurement]:
    """The mean of each accuracy over the networks of a setting, whose measurements are in one
    order."""
    subject = f"mean of {len(by_network)} networks" + (f": {setting}" if setting else "")
    return [
        mean_of(same, subject)
        for same in zip(*by_network, strict=True)
        if same[0].quantity in AVERAGED
        and same[0].setting.get("of", "standard 15") == "standard 15"
    ]


def _by(tally: Tally) -> Tensor:
    by = tally.verdicts[-1].by
    assert by is not None, "judged by a cascade"
    return by
