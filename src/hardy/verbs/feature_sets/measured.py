"""What was measured of a set of features while it was made."""

from __future__ import annotations

from torch import Tensor

from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.robustness import accuracy
from hardy.evaluation.statistics import mean_interval
from hardy.verbs.feature_sets.job import OWN, ROBUST, Job
from hardy.verbs.feature_sets.making import Made

REACHED, LABELS, FEATURES = "targets reached", "label accuracy", "feature distance"


def measured(job: Job, found: Made) -> list[Measurement]:
    """What was measured of a set, each network by its role."""
    split, y, values = job.originals.name, job.originals.labels.cpu(), found.values
    how = _setting(job)
    stored = {"stored as": "uint8" if job.asked.format == "folder" else "float16"}
    exact: dict[str, Scalar] = {"stored as": "not rounded"}
    made: list[Measurement] = []
    if job.kind.target != "none":
        for said, as_what in ((values[f"said/{OWN}"], stored), (values["exact"], exact)):
            setting: dict[str, Scalar] = {**how, **as_what}
            made.append(accuracy(REACHED, said == found.labels, split, OWN, setting))
    for role in job.nets:
        said = values[f"said/{role}"]
        for labels, of in ((found.labels, "the set"), (y, "the originals")):
            setting = {**how, **stored, "labels": of}
            made.append(accuracy(LABELS, said == labels, split, role, setting))
    inverting = ROBUST if ROBUST in job.nets else OWN
    for at in ("before", "after"):
        if at in values:
            made.append(_mean(FEATURES, values[at], split, inverting, {**how, "at": at}))
    made.append(_mean("distance moved", values["moved"], split, "", {**how, "from": _from(job)}))
    made.append(_mean("rounding distance", values["rounding"], split, "", {**how, **stored}))
    return made


def _setting(job: Job) -> dict[str, Scalar]:
    """How the set was made."""
    asked = job.asked
    found: dict[str, Scalar] = {"set": asked.set}
    if job.kind.inverts:
        found |= {
            "inversion_steps": asked.inversion_steps,
            "inversion_step_size": asked.inversion_step_size,
        }
    if job.kind.target != "none":
        found |= {**job.attack.setting, "target": job.kind.target}
    return {**found, "seed": asked.seed, "dtype": asked.precision}


def _from(job: Job) -> str:
    if not job.kind.inverts:
        return "the original"
    return "where inversion started" if job.kind.target == "none" else "the inverted picture"


def _mean(
    quantity: str, values: Tensor, split: str, subject: str, setting: dict[str, Scalar]
) -> Measurement:
    """A mean over the pictures, with its interval."""
    n, mean = len(values), float(values.double().mean())
    if n == 1:
        why = "one picture has no spread"
        return Measurement(quantity, mean, split, n, subject, no_interval=why, setting=setting)
    interval = mean_interval(mean, float(values.double().std()), n)
    return Measurement(quantity, mean, split, n, subject, interval, setting=setting)
