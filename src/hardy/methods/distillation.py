"""What the methods of robust distillation share: where the attack climbs, where the teacher is
asked, and how far the student is from it.

    x' ascends from x + noise one of    labels   CE(S(x'), y)
                                        clean    KL(T(x) || S(x')), T(x) fixed
                                        moving   KL(T(x') || S(x')), with the gradient of both nets
    the robust term is                  tau^2 KL(T(z)/tau || S(x')/tau), z = x or x'

S is the student and T the teacher; a division by tau is one of logits. Each method is a choice
of these and what its paper adds to the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hardy.attacks.pgd import PGD, Objective, beside
from hardy.data.loader import Batch
from hardy.losses import cross_entropy, full, kl_divergence, probabilities
from hardy.methods.protocol import Method, Nets
from hardy.methods.teacher import Teacher, as_teacher
from hardy.modes import attacked_in, clean_and_attacked

Ascends = Literal["labels", "clean", "moving"]
AskedAt = Literal["clean", "adversarial"]
Mode = Literal["eval", "train"]
Reduction = Literal["batchmean", "mean"]
Forwards = Literal["separate", "joint"]
ROBUST, NATURAL = "robust", "natural"


@dataclass(frozen=True)
class Distillation(Method):
    """objective: what the attack ascends. target: the pictures on which the teacher is asked in
    the robust term. start: standard deviation of the normal noise, in pixels, that the attack
    starts with; None: a point drawn uniformly from the ball. attack_mode: the student's mode
    while it is attacked. temperature: tau of the terms that hold the teacher. reduction: of
    divergences over a batch, 'batchmean' (their sum over the classes, the mean over pictures) or
    'mean' (over the classes too, so 1/K of it). forwards: whether BatchNorm sees clean and
    attacked pictures apart or together, where the loss needs both.

    Raises ValueError where start or temperature is a number that is not positive, and in
    training where a teacher is missing."""

    objective: Ascends = "labels"
    target: AskedAt = "clean"
    start: float | None = None
    attack_mode: Mode = "eval"
    temperature: float = 1.0
    reduction: Reduction = "batchmean"
    forwards: Forwards = "separate"

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.start is not None and not 0 < self.start < math.inf:
            raise ValueError(
                f"{name}'s start must be none or positive, such as 0.001, not {self.start:g}"
            )
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"{name}'s temperature must be positive, not {self.temperature:g}")

    @property
    def roles(self) -> tuple[str, ...]:
        return (ROBUST,)

    def prepare(self, nets: Nets) -> Nets:
        for role in self.roles:
            if role not in nets.teachers:
                name = type(self).__name__
                raise ValueError(f"{name} needs a {role} teacher: give --teacher {role}=FILE")
        return replace(
            nets, teachers={role: as_teacher(nets.teachers[role]) for role in self.roles}
        )

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        x = batch.x
        with attacked_in(self.attack_mode, nets.module):
            if self.start is None:
                start = attack.threat.random_start(x, batch.draws)
            else:
                start = beside(x, batch.draws, self.start)
            return attack.ascend(self._ascended(nets, batch), x, start)

    def _ascended(self, nets: Nets, batch: Batch) -> Objective:
        teacher, student = teacher_of(nets), nets.forward
        if self.objective == "labels":
            return lambda z: cross_entropy(student(z), batch.y)
        if self.objective == "moving":
            return lambda z: kl_divergence(teacher(z), student(z))
        fixed = teacher.clean(batch)
        return lambda z: kl_divergence(fixed, student(z))

    def asked(self, nets: Nets, batch: Batch, x_adv: Tensor) -> Tensor:
        """The teacher's logits at the target, (B, K), without a gradient."""
        teacher = teacher_of(nets)
        return teacher.clean(batch) if self.target == "clean" else teacher.fixed(x_adv)

    def divergence(self, teacher: Tensor, student: Tensor) -> Tensor:
        """tau^2 KL(T/tau || S/tau) of each example, (B,), from logits, as it is to be averaged."""
        tau = self.temperature
        found = kl_divergence(full(teacher) / tau, full(student) / tau)
        return self.per_class(tau**2 * found, student)

    def per_class(self, values: Tensor, logits: Tensor) -> Tensor:
        """Values of each example, (B,), as they are or by the number of classes."""
        return values / logits.shape[1] if self.reduction == "mean" else values


@dataclass(frozen=True)
class Introspection(Distillation):
    """A distillation in which the student is its own second teacher: A = p_T(y | x')^beta says
    how far the teacher is trusted, and (1 - A) KL(S(x) || S(x')) takes up the rest. beta, A's
    power. warmup: the fraction of training before it begins. weighted: whether A also weighs the
    teacher's own term.

    Raises ValueError where beta is negative or warmup no such fraction, and as every
    distillation."""

    beta: float = 0.1
    warmup: float = 0.3
    weighted: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not self.beta >= 0:
            raise ValueError(f"{name}'s beta must be at least 0, not {self.beta:g}")
        if not 0 <= self.warmup < 1:
            raise ValueError(
                f"{name}'s warmup is the fraction of training before the student is asked, in "
                f"[0, 1), such as 0.3 for 60 of 200 epochs, not {self.warmup:g}"
            )

    def terms(
        self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The student's logits on x', (B, K), and the means of the teacher's term and of the
        student's own, which is 0 until the end of the warm-up. Gradients flow into S(x) too, as
        in the authors' code."""
        if progress < self.warmup:
            logits_adv = nets.student(x_adv)
            robust = self.divergence(self.asked(nets, batch, x_adv), logits_adv).mean()
            return logits_adv, robust, torch.zeros_like(robust)
        taught = teacher_of(nets).fixed(x_adv)
        told = teacher_of(nets).clean(batch) if self.target == "clean" else taught
        logits, logits_adv = clean_and_attacked(nets.student, batch.x, x_adv, self.forwards)
        trusted = probabilities(taught).gather(1, batch.y[:, None])[:, 0] ** self.beta
        robust = self.divergence(told, logits_adv)
        own = (1 - trusted) * self.per_class(kl_divergence(logits, logits_adv), logits)
        return logits_adv, (trusted * robust if self.weighted else robust).mean(), own.mean()


def teacher_of(nets: Nets, role: str = ROBUST) -> Teacher:
    """The teacher in that role, of networks that a method has prepared."""
    found = nets.teachers[role]
    assert isinstance(found, Teacher), "prepare has made it one"
    return found


def must_be_share(method: Method, name: str) -> None:
    """Raises ValueError where that setting of a method does not lie in [0, 1]."""
    value = getattr(method, name)
    if not 0 <= value <= 1:
        raise ValueError(f"{type(method).__name__}'s {name} must lie in [0, 1], not {value:g}")
