"""AutoAttack: an ensemble of attacks without settings to tune, each on what the others left.

    standard   APGD-CE, APGD-T (9 targets), FAB-T (9 targets), Square (5000 queries)
    quick      APGD-CE, APGD-T: within about 0.1 points of standard on networks that do not mask
               their gradients, for a fifth of the passes
    rand       APGD-CE, APGD-DLR, gradients averaged over 20 passes: for networks that draw
               random numbers

    >>> stages = autoattack(Linf(8 / 255), num_classes=10)
    >>> robust = cascade(model, stages, split, right) == STANDS

Source: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of
diverse parameter-free attacks (ICML 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from hardy.attacks.active_set import Stage
from hardy.attacks.apgd import APGD, FEWEST_CLASSES
from hardy.attacks.fab import FAB
from hardy.attacks.square import Square
from hardy.threat import Threat

Version = Literal["standard", "quick", "rand"]
TARGETS = 9
EOT = 20


def autoattack(
    threat: Threat, num_classes: int, version: Version = "standard"
) -> tuple[Stage, ...]:
    """The stages of a version, in their order; `shortened` says what few classes change."""
    if version == "rand":
        first = APGD(threat, eot=EOT)
        if num_classes < FEWEST_CLASSES["dlr"]:
            return (Stage("APGD-CE", (first, first)),)
        second = APGD(threat, loss="dlr", eot=EOT)
        return Stage("APGD-CE", (first,)), Stage("APGD-DLR", (second,))
    stages = (Stage("APGD-CE", (APGD(threat),)), apgd_t(threat, num_classes))
    if version == "standard":
        stages += (fab_t(threat, num_classes), Stage("Square", (Square(threat),)))
    return stages


def apgd_t(threat: Threat, num_classes: int) -> Stage:
    """APGD on the targeted difference of logits ratio, towards the nine likeliest wrong
    classes or as many as there are; with fewer than four classes on cross-entropy."""
    loss = "dlr-t" if num_classes >= FEWEST_CLASSES["dlr-t"] else "ce-t"
    return _towards_each(
        "APGD-T", lambda target: APGD(threat, loss=loss, target=target), num_classes
    )


def fab_t(threat: Threat, num_classes: int) -> Stage:
    """FAB towards the nine likeliest wrong classes or as many as there are."""
    return _towards_each("FAB-T", lambda target: FAB(threat, target=target), num_classes)


def shortened(num_classes: int, version: Version = "standard") -> str:
    """What a set of few classes changes in a version, a sentence; empty where it is nothing."""
    if version == "rand":
        if num_classes >= FEWEST_CLASSES["dlr"]:
            return ""
        return (
            f"With {num_classes} classes the random version of AutoAttack ascends cross-entropy "
            "twice, for the difference of logits ratio needs three classes."
        )
    if num_classes > TARGETS:
        return ""
    kept = f"the targeted attacks have {num_classes - 1} targets instead of {TARGETS}"
    if num_classes >= FEWEST_CLASSES["dlr-t"]:
        return f"With {num_classes} classes {kept}."
    return (
        f"With {num_classes} classes {kept}, and APGD-T ascends cross-entropy, for the targeted "
        "difference of logits ratio needs four classes."
    )


def _towards_each(name: str, attack: Callable[[int], APGD | FAB], num_classes: int) -> Stage:
    targets = range(1, min(TARGETS, num_classes - 1) + 1)
    return Stage(name, tuple(attack(target) for target in targets))
