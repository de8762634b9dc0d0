"""A job's teachers at work: as the networks of its run, and measured before it and after it."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace

from torch import nn

from hardy import config
from hardy.console import say
from hardy.data.augment import augment_of
from hardy.data.splits import Split, limited
from hardy.evaluation.footprint import sizes
from hardy.evaluation.results import Finding, Measurement
from hardy.evaluation.robustness import Protocol
from hardy.evaluation.steps import Steps
from hardy.evaluation.teachers import ignorant, looked_at, natural
from hardy.methods.distillation import NATURAL
from hardy.methods.protocol import Nets
from hardy.methods.teacher import Teacher
from hardy.models.folded import folded
from hardy.verbs.asked.inputs import DATA_SEED, placed, unseen_val
from hardy.verbs.training.job import Job
from hardy.verbs.training.teachers import teacher_device

KEPT = "teachers"


def nets_of(asked: config.Train, job: Job, *, remember: bool = True) -> Nets:
    """The networks of a run. The teachers are folded, for nothing but their logits is wanted, and
    where pictures come as they are, their logits of clean ones are kept (not without
    `remember`)."""
    precision = asked.precision if asked.teacher_precision == "auto" else asked.teacher_precision
    found: dict[str, nn.Module] = {}
    for role in job.teachers:
        exact = measurable(asked, job, role)
        few = job.train.pixels(slice(0, 8)).to(exact.device)
        teacher = Teacher(folded(exact.net, few), precision)
        if remember and augment_of(job.data, asked.augment) is None:
            teacher.remember(job.train, 2 * asked.batch_size)
        found[role] = teacher
    return Nets(job.model, job.model, job.model, teachers=found)


def measurable(asked: config.Train, job: Job, role: str) -> Teacher:
    """A copy of a teacher where it is to compute, unchanged and in full precision."""
    device = teacher_device(asked, job.train.device)
    return Teacher(placed(copy.deepcopy(job.teachers[role].model), device))


def checked(asked: config.Train, job: Job, steps: Steps) -> list[Finding]:
    """What is known of the teachers before the run begins: measured on val, at the radius at
    which the student will be measured, and said; what the reader must know of them. Kept, so that
    a resumed run has it too."""
    if not job.teachers or not asked.teacher_pictures:
        return []
    kept = steps.json(KEPT)
    if kept is None:
        sample = limited(job.data.val, asked.teacher_pictures, DATA_SEED)
        found = [_checked(asked, role, job, sample) for role in job.teachers]
        kept = {
            "measurements": [asdict(m) for measured, _ in found for m in measured],
            "findings": [asdict(f) for _, many in found for f in many],
        }
        steps.keep_json(KEPT, kept)
    measurements = [Measurement.of(each) for each in kept["measurements"]]
    findings = [Finding(**each) for each in kept["findings"]]
    for m in measurements:
        say(f"{m.subject}: {m.quantity} {100 * m.value:.1f} % of {m.n} of {m.split}")
    if job.start is None:
        say("the student has learnt nothing yet: few of its examples will fool a teacher")
    for one in findings:
        say(f"{one.grade}: {one.subject}: {one.sentence}")
    return findings


def _checked(
    asked: config.Train, role: str, job: Job, sample: Split
) -> tuple[list[Measurement], list[Finding]]:
    subject, protocol, teacher = f"teacher {role}", _exactly(job), measurable(asked, job, role)
    measured, verdicts = looked_at(teacher, job.model, sample, protocol, subject)
    found = ignorant(verdicts, sample, subject)
    if found is None and role != NATURAL:
        found = natural(verdicts, protocol, subject)
    return measured, [] if found is None else [found]


def _exactly(job: Job) -> Protocol:
    """The protocol without bf16, in which a teacher of the run may compute but is not measured."""
    return replace(job.protocol, precision="fp32")


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
        teacher, subject = measurable(asked, job, role), f"teacher {role}"
        found += looked_at(teacher, student, sample, _exactly(job), subject)[0]
        found += sizes(teacher.net, picture.to(teacher.device), split, subject)
    return [*found, *own]


def notes_on(job: Job) -> list[str]:
    """What a reader must know of the teachers."""
    found = []
    for role, checkpoint in job.teachers.items():
        found += [f"Teacher {role}: {sentence}." for sentence in checkpoint.notes]
        if not unseen_val(checkpoint, job.data):
            found.append(
                f"Teacher {role} may have seen the validation pictures in its own training: its "
                "accuracies on val may be flattered."
            )
        if str(checkpoint.extra.get("chosen_on", "")).startswith("test"):
            found.append(
                f"Teacher {role} was chosen on test pictures: its figures are flattered, and it "
                "was not blind to those that the student is reported on."
            )
    return found
