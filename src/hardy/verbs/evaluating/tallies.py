"""What networks make of each picture of test: all that an evaluation is computed from.

Everything here belongs to a picture and not to its neighbours, so a part of the pictures can be
tallied by itself, in another process, and what is finished is kept step by step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from hardy.attacks.autoattack import Version
from hardy.compiled import Compiled, forget
from hardy.console import progress, say
from hardy.data.splits import Split
from hardy.evaluation.confusion import predicted_under
from hardy.evaluation.corruption import under_corruption
from hardy.evaluation.curve import at_radius, radii, standing_at
from hardy.evaluation.reference import reference
from hardy.evaluation.robustness import Verdicts, judge, predicted
from hardy.evaluation.steps import Steps
from hardy.modes import evaluating, forward_in, frozen, without_tf32
from hardy.verbs.asked.inputs import attack_of
from hardy.verbs.asked.protocols import Judged
from hardy.verbs.evaluating.measuring import VERSIONS, Job, attack_name, described, of_part

UNFINISHED = "unfinished"


@dataclass
class Tally:
    """What one network made of each picture; N of test, fewer on the curve and under corruption.

    clean, attacked: the class said of the picture, and under the last of the attacks, int64
    (N,). verdicts: of each attack. reference: who withstood pyautoattack, by the attack's name.
    standing: radii and who withstood them. right: by corruption and severity. All bool (N,).
    """

    clean: Tensor
    attacked: Tensor
    verdicts: list[Verdicts]
    reference: dict[str, Tensor] = field(default_factory=dict)
    standing: list[tuple[float, Tensor]] = field(default_factory=list)
    right: dict[str, dict[int, Tensor]] = field(default_factory=dict)


def tallies(job: Job, steps: Steps, part: tuple[int, int] = (0, 1)) -> dict[str, Tally]:
    """Tally the pictures of a part (rank, world), picture i to rank i % world, or find them in
    `steps`; on the CPU."""
    found = {}
    for number, (label, net) in enumerate(job.nets.items()):
        if job.asked.compile:
            forget()
        # Not the label: two may be one when written as the name of a file.
        one = _Work(job, label, net.model, steps, str(number), part)
        with evaluating(net.model), frozen(net.model), without_tf32():
            verdicts = one.verdicts()
            clean, attacked = one.classes(verdicts[-1])
            found[label] = Tally(clean, attacked, verdicts, one.reference(), one.standing())
    for name, right in _under_corruptions(job, steps, part):
        for tally, by_severity in zip(found.values(), right, strict=True):
            tally.right[name] = dict(zip(job.severities, by_severity, strict=True))
    return found


@dataclass(frozen=True)
class _Work:
    job: Job
    label: str
    model: nn.Module
    steps: Steps
    name: str
    part: tuple[int, int]

    @property
    def test(self) -> Split:
        return of_part(self.job.test, self.part)

    def verdicts(self) -> list[Verdicts]:
        """Of every attack."""
        return [
            self.steps.verdicts(f"{self.name} {attack_name(p)}", partial(self._judged, p))
            for p in self.job.protocols
        ]

    def _judged(self, protocol: Judged) -> Verdicts:
        say(f"{self.label}: {described(protocol)}, {self.job.test!r}")
        slot = self.steps.within(UNFINISHED).slot(f"{self.name} {attack_name(protocol)}")
        compiled = self.job.asked.compile
        return judge(self.model, self.test, protocol, self.label, slot, compiled=compiled)

    def classes(self, verdicts: Verdicts) -> tuple[Tensor, Tensor]:
        """Said of the pictures, and under the last attack."""
        protocol, test = self.job.protocols[-1], self.test

        def said() -> Tensor:
            clean = predicted(self.model, test, protocol.batch_size)
            under = predicted_under(self.model, test, protocol, verdicts, clean)
            return torch.stack([clean, under])

        clean, attacked = self.steps.tensor(f"{self.name} classes", said)
        return clean, attacked

    def reference(self) -> dict[str, Tensor]:
        """Of the attacks that pyautoattack has too."""
        asked = self.job.asked
        return {
            attack_name(protocol): self.steps.tensor(
                f"{self.name} {attack_name(protocol)} by reference",
                partial(self._by_reference, VERSIONS[name]),
            )
            for name, protocol in zip(dict.fromkeys(asked.attack), self.job.protocols, strict=True)
            if asked.reference and name in VERSIONS
        }

    def _by_reference(self, version: Version) -> Tensor:
        say(f"{self.label}: pyautoattack, {version}, {self.job.test!r}")
        return reference(
            self.model,
            self.test,
            attack_of(self.job.asked).threat,
            num_classes=self.job.data.num_classes,
            version=version,
            seed=self.job.asked.seed,
            batch_size=self.job.batch_size,
            label=self.label,
            kept=self.steps.within(UNFINISHED).slot(f"{self.name} {version} by reference"),
        )

    def standing(self) -> list[tuple[float, Tensor]]:
        """At every radius of the curve."""
        asked = self.job.asked
        if not asked.curve_pictures:
            return []
        split = of_part(self.job.on_curve, self.part)
        usual = attack_of(asked)
        right = partial(predicted, self.model, split, self.job.batch_size)
        name = f"{self.name} radius"
        standing = self.steps.tensor(f"{name} 0", lambda: right() == split.labels)
        found = [(0.0, standing)]
        network = Compiled(self.model) if asked.compile else self.model
        search = forward_in(network, split.device, asked.precision)
        several = radii(usual.threat.eps, asked.curve_points)[1:]
        with progress(f"{self.label}, over radii", len(split) * len(several)) as advance:
            for number, eps in enumerate(several, 1):
                standing = self.steps.tensor(
                    f"{name} {number}",
                    partial(
                        standing_at,
                        search,
                        at_radius(usual, eps),
                        split,
                        standing.to(split.labels.device),
                        seed=asked.seed,
                        batch_size=self.job.batch_size,
                        judge=self.model,
                    ),
                )
                advance(len(split))
                found.append((eps, standing))
        return found


def _under_corruptions(
    job: Job, steps: Steps, part: tuple[int, int]
) -> Iterator[tuple[str, list[Tensor]]]:
    """For each corruption, of each network who is right, bool (severities, n); each set of
    pictures is made once, for all networks."""
    names = job.corruptions
    if not names:
        return
    split, models = of_part(job.under_corruption, part), [net.model for net in job.nets.values()]

    def make(name: str, severity: int) -> Split:
        return job.corrupt(name, severity, part)

    count = len(names) * len(job.severities) * len(models) * len(split)
    with progress("corruptions", count) as advance, evaluating(*models):
        for name in names:
            kept = steps.tensors(f"corrupted {name}")
            if kept is None:
                right = under_corruption(
                    models, make, name, job.severities, job.batch_size, advance
                )
                kept = {"right": right.cpu()}
                steps.keep_tensors(f"corrupted {name}", kept)
            else:
                advance(count // len(names))
            yield name, list(kept["right"])
