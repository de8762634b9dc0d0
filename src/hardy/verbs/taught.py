"""A job's teachers at work: as the networks of its run, and measured before it and after it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from hardy import config
from hardy.console import say
from hardy.data.augment import augment_of
from hardy.data.splits import Split, limited
from hardy.evaluation.footprint import sizes
from hardy.evaluation.results import Finding, Measurement
from hardy.evaluation.steps import Steps
from hardy.evaluation.teachers import looked_at, natural
from hardy.methods.distillation import NATURAL
from hardy.methods.protocol import Nets
from hardy.methods.teacher import Teacher
from hardy.models.folded import folded
from hardy.verbs.inputs import DATA_SEED, unseen_val
from hardy.verbs.job import Job

KEPT = "teachers"


def nets_of(asked: config.Train, job: Job, *, remember: bool = True) -> Nets:
    """The networks of a run. The teachers are folded, for nothing but their logits is wanted, and
    where pictures come as they are, their logits of clean ones are kept (not without
    `remember`)."""
    precision = asked.precision if asked.teacher_precision == "auto" else asked.teacher_precision
    found: dict[str, nn.Module] = {}
    for role, checkpoint in job.teachers.items():
        few = job.train.pixels(slice(0, 8)).to(job.exact(role).device)
        teacher = Teacher(folded(checkpoint.model, few), precision)
        if remember and augment_of(job.data, asked.augment) is None:
            teacher.remember(job.train, 2 * asked.batch_size)
        found[role] = teacher
    return Nets(job.model, job.model, job.model, teachers=found)


def checked(asked: config.Train, job: Job, steps: Steps) -> list[Finding]:
    """What is known of the teachers before the run begins: measured on val, at the radius at
    which the student will be measured, and said; what the reader must know of them. Kept, so that
    a resumed run has it too."""
    if not job.teachers or not asked.teacher_pictures:
        return []
    kept = steps.json(KEPT)
    if kept is None:
        sample = limited(job.data.val, asked.teacher_pictures, DATA_SEED)
        found = [_checked(role, job, sample) for role in job.teachers]
        kept = {
            "measurements": [asdict(m) for measured, _ in found for m in measured],
            "findings": [asdict(f) for _, many in found for f in many],
        }
        steps.keep_json(KEPT, kept)
    measurements = [_measurement(each) for each in kept["measurements"]]
    findings = [Finding(**each) for each in kept["findings"]]
    for m in measurements:
        say(f"{m.subject}: {m.quantity} {100 * m.value:.1f} % of {m.n} of {m.split}")
    if job.start is None:
        say("the student has learnt nothing yet: few of its examples will fool a teacher")
    for one in findings:
        say(f"{one.grade}: {one.subject}: {one.sentence}")
    return findings


def _checked(role: str, job: Job, sample: Split) -> tuple[list[Measurement], list[Finding]]:
    subject, protocol = f"teacher {role}", job.protocol
    measured, verdicts = looked_at(job.exact(role), job.model, sample, protocol, subject)
    found = None if role == NATURAL else natural(verdicts, protocol, subject)
    return measured, [] if found is None else [found]


def afterwards(asked: config.Train, job: Job, student: nn.Module) -> list[Measurement]:
    """The teachers on test pictures, and how often the student that has learnt from them fools
    them there; the size of each and of the student."""
    if not job.teachers:
        return []
    picture, split = job.data.test.pixels(slice(0, 1)), job.data.test.name
    own = sizes(student, picture, split, job.subject)
    if not asked.teacher_pictures:
        return own
    sample = limited(job.data.test, asked.teacher_pictures, DATA_SEED)
    found = []
    for role in job.teachers:
        teacher, subject = job.exact(role), f"teacher {role}"
        found += looked_at(teacher, student, sample, job.protocol, subject)[0]
        found += sizes(teacher.net, picture.to(teacher.device), split, subject)
    return [*found, *own]


def notes_on(job: Job) -> list[str]:
    """What a reader must know of the teachers."""
    return [
        f"Teacher {role} may have seen the validation pictures in its own training: its "
        "accuracies on val may be flattered."
        for role, checkpoint in job.teachers.items()
        if not unseen_val(checkpoint, job.data)
    ]


def _measurement(kept: dict[str, Any]) -> Measurement:
    interval = kept["interval"]
    return Measurement(**{**kept, "interval": None if interval is None else tuple(interval)})
