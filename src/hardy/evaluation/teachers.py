"""What a student can expect of a teacher: its accuracies, and how often the student's own
adversarial examples fool it too.

A naturally trained teacher is certain of the wrong thing exactly where the student needs it:
ARD, RSLAD and AdaAD then end below plain adversarial training. One that the student's examples
fool is no authority on them (Zhu et al., ICLR 2022, figure 1: more and more of them as it learns).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardy.data.splits import Split
from hardy.evaluation.results import Finding, Measurement
from hardy.evaluation.robustness import (
    Protocol,
    Verdicts,
    accuracies,
    accuracy,
    adversarial,
    judge,
)
from hardy.evaluation.statistics import above, wilson
from hardy.memory import Halving
from hardy.modes import evaluating, without_tf32

FOOLED = "teacher fooled"
KEPT = 0.25  # of its clean accuracy; naturally trained networks keep none at usual radii


def looked_at(
    teacher: nn.Module, student: nn.Module, split: Split, protocol: Protocol, subject: str
) -> tuple[list[Measurement], Verdicts]:
    """Clean and robust accuracy of a teacher, and the share of the pictures that it classifies
    rightly on which the student's adversarial examples (`protocol`'s attack, one start) fool it.

    Both networks are run in eval mode and left as they were.
    """
    verdicts = judge(teacher, split, protocol, subject)
    found = accuracies(verdicts, protocol, split.name, subject, teacher=True)
    fooled = _fooled(teacher, student, split, protocol, verdicts.clean)
    if len(fooled):
        setting = {**protocol.setting, "restarts": 1, "teacher": True}
        found.append(accuracy(FOOLED, fooled, split.name, subject, setting))
    return found, verdicts


@torch.no_grad()
@without_tf32()
def _fooled(
    teacher: nn.Module, student: nn.Module, split: Split, protocol: Protocol, right: Tensor
) -> Tensor:
    """bool, a value for each picture that the teacher classifies rightly."""
    rows = right.nonzero()[:, 0].to(split.labels.device)
    sample = split.take(rows)
    if not len(sample):
        return torch.zeros(0, dtype=torch.bool)
    with torch.enable_grad():
        x_adv = adversarial(student, sample, protocol)
    with evaluating(teacher):
        found = Halving()(x_adv.split(protocol.batch_size), lambda x: teacher(x).argmax(1))
        said = torch.cat([classes for _, classes in found])
    return (said != sample.labels).cpu()


def ignorant(verdicts: Verdicts, split: Split, subject: str) -> Finding | None:
    """Serious where a teacher is not right more often than whoever always says the commonest
    class, beyond chance: its file, its normalisation or its classes are not what they should be."""
    n, right = len(verdicts.clean), int(verdicts.clean.sum())
    if not n or above(right, n, int(split.labels.bincount().max()) / n):
        return None
    return Finding(
        "ignorant teacher",
        "serious",
        f"The teacher is right on {100 * right / n:.1f} % of {n} pictures, no more than by always "
        "saying one class: it knows nothing that it could teach. Check its file, its "
        "normalisation (--teacher-normalize) and the order of its classes.",
        subject,
        {"clean": right / n, "n": n},
    )


def natural(verdicts: Verdicts, protocol: Protocol, subject: str) -> Finding | None:
    """Serious where a teacher keeps less than a quarter of its clean accuracy under the attack,
    by more than chance: it was not trained to be robust, or not at this radius."""
    n, robust, clean = len(verdicts.clean), int(verdicts.robust.sum()), int(verdicts.clean.sum())
    if not n or wilson(robust, n)[1] >= KEPT * clean / n:
        return None
    threat = protocol.attack.threat
    return Finding(
        "natural teacher",
        "serious",
        f"The teacher is right on {100 * clean / n:.1f} % of {n} pictures and on "
        f"{100 * robust / n:.1f} % under {protocol.attack.name} in {threat!r}: it looks naturally "
        "trained, and students of such teachers end below plain adversarial training. Give a "
        "robust one.",
        subject,
        {"clean": clean / n, "robust": robust / n, "n": n},
    )
