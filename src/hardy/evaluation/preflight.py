"""Warnings before a robust accuracy is believed: what makes a network look more robust, or less
accurate, than it is.

    >>> for finding in preflight(model, test, Linf(8 / 255), num_classes=10):
    ...     print(finding.grade, finding.check, finding.sentence)

A few hundred pictures and short attacks: 70 to 90 forward passes of them, 13 to 17 with a
gradient. Silence proves nothing; docs/preflight.md lists every check with its threshold.

Sources: Athalye, Carlini and Wagner, Obfuscated gradients give a false sense of security (ICML
2018); Carlini et al., On evaluating adversarial robustness (2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.attacks.search import must_be_finite
from hardy.data.loader import Batch
from hardy.data.splits import Split, limited
from hardy.draws import Draws
from hardy.evaluation.checks import gradients, labels, masking, outputs
from hardy.evaluation.checks.given import as_given, check_pixels, too_few
from hardy.evaluation.results import Finding
from hardy.losses import cross_entropy
from hardy.memory import Halving
from hardy.modes import Forward, evaluating, forward_in, frozen, without_tf32
from hardy.threat import Threat

__all__ = ["as_given", "check_pixels", "preflight", "too_few"]

REPEATS = 2


def preflight(
    model: nn.Module,
    split: Split,
    threat: Threat,
    *,
    num_classes: int,
    seed: int = 0,
    pictures: int = 256,
    batch_size: int = 256,
    subject: str = "",
    precision: str = "fp32",
    transfer: Mapping[str, nn.Module] | None = None,
    same_classes: bool = False,
) -> list[Finding]:
    """What the checks find of a network on a stratified, seeded sample of a split, in the order
    of docs/preflight.md; empty where they find nothing.

    The network is attacked in eval mode and left as it was. precision: of the attacks' search.
    transfer: other networks by name, whose adversarial examples are tried on this one.
    same_classes: its outputs are known to stand in the order of the labels. Raises
    ValueError where the split is empty, or the logits are not finite or do not fit the classes.
    """
    if not len(split):
        raise ValueError("no pictures to check a network on: give a split that is not empty")
    sample = limited(split, pictures, seed)
    draws = Draws(seed, 0, sample.index)
    batch = Batch(sample.pixels(slice(None)), sample.labels, sample.index, draws)
    found = [*as_given(model), *_there(check_pixels(batch.x))]
    others = {} if transfer is None else transfer
    nets = (model, *others.values())
    with evaluating(*nets), frozen(*nets), without_tf32():
        logits = outputs.logits_of(model, batch.x, batch_size)
        must_be_finite(logits)
        if logits.shape[1] < num_classes:
            raise ValueError(
                f"the network has {logits.shape[1]} outputs, the data {num_classes} classes: give "
                "the network that belongs to this data"
            )
        belongs = _of_labels(model, batch, logits, batch_size, same_classes)
        # Of a network that is fed wrongly, all else that there is to see follows from that.
        astray = belongs is not None and belongs.grade == "fatal"
        seen = list(_of_outputs(model, batch, logits, batch_size, astray))
        unstable = {finding.check for finding in seen}
        seen += _there(belongs)
        right = batch.take(logits.argmax(1) == batch.y)
        # With BatchNorm on batch statistics an attack would meet another network at each size.
        if len(right) and not astray and "depends on the batch" not in unstable:
            device = split.device
            seen += _of_attacks(
                forward_in(model, device, precision),
                right,
                threat,
                batch_size,
                judge=model if precision == "bf16" else None,
                randomised="randomised forward" in unstable,
                others={name: forward_in(net, device, precision) for name, net in others.items()},
            )
    return [replace(finding, subject=subject) for finding in found + seen]


def _of_outputs(
    model: nn.Module, batch: Batch, logits: Tensor, batch_size: int, astray: bool
) -> Iterator[Finding]:
    repeats = [outputs.logits_of(model, batch.x, batch_size) for _ in range(REPEATS)]
    randomised = outputs.randomised(logits, repeats)
    yield from _there(randomised, outputs.probabilities(logits))
    if randomised is None:  # else each of these would see the same noise
        yield from _there(outputs.depends_on_company(model, batch.x, logits, batch_size))
        if not astray:
            yield from _there(
                outputs.rounded_input(model, batch.x, logits, batch_size),
                outputs.clamped_input(model, batch.x, logits, batch_size),
            )


def _of_labels(
    model: nn.Module, batch: Batch, logits: Tensor, batch_size: int, same_classes: bool
) -> Finding | None:
    """What explains best that the network is seldom right, if anything has to be explained."""
    paired = labels.rightly_paired(logits, batch.y)
    return (
        labels.other_pixels(model, batch.x, batch.y, logits, int(paired.sum()), batch_size)
        or (None if same_classes else labels.permuted_labels(logits, batch.y, paired))
        or labels.at_chance(logits, batch.y)
    )


def _of_attacks(
    forward: Forward,
    right: Batch,
    threat: Threat,
    batch_size: int,
    *,
    judge: Forward | None,
    randomised: bool,
    others: Mapping[str, Forward],
) -> Iterator[Finding]:
    """right: the pictures that are rightly classified. Of a randomised network attacks are not
    compared: the one that asks more often would win by luck."""
    at = gradients.slopes(forward, right.x, right.y, batch_size)
    if at is None:
        yield gradients.no_gradient()
        return
    pgd = PGD(threat)
    x_adv = _last_iterates(pgd, forward, right, batch_size)
    after = outputs.logits_of(forward, x_adv, batch_size)
    broken = outputs.logits_of(judge or forward, x_adv, batch_size).argmax(1) != right.y
    blind = ~broken & (cross_entropy(after, right.y) == 0) & ~at.flat
    yield from _there(gradients.zero_gradients(at), gradients.saturated_loss(at, blind))
    if not randomised:
        fgsm = PGD(threat, steps=1, step_size=threat.eps, random_start=False)
        by_fgsm = masking.attacked(fgsm, forward, right, batch_size, judge).broken
        standing = right.take(~broken)
        yield from _there(
            gradients.misleading_gradients(
                forward, right.x, right.y, at, threat, right.draws, batch_size
            ),
            masking.single_step_wins(by_fgsm, broken),
        )
        if len(standing):
            yield from _there(masking.black_box_wins(forward, standing, threat, batch_size, judge))
            for name, other in others.items():
                if gradients.slopes(other, standing.x[:1], standing.y[:1], batch_size) is None:
                    continue  # nothing that its gradients could find
                moved = _last_iterates(pgd, other, standing, batch_size)
                said = outputs.logits_of(judge or forward, moved, batch_size).argmax(1)
                yield from _there(masking.transfer_wins(name, said != standing.y))
    yield from _there(masking.stands_at_large_radius(forward, right, threat, batch_size, judge))


def _last_iterates(pgd: PGD, forward: Forward, batch: Batch, batch_size: int) -> Tensor:
    rows = torch.arange(len(batch), device=batch.y.device).split(batch_size)
    parts = [batch.take(part) for part in rows]
    found = Halving()(parts, lambda b: pgd(forward, b.x, b.y, b.draws))
    return torch.cat([x_adv for _, x_adv in found])


def _there(*findings: Finding | None) -> Iterator[Finding]:
    return (finding for finding in findings if finding is not None)
