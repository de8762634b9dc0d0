"""From the names of attacks on the command line to how robust accuracy is measured by each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hardy import config
from hardy.attacks.active_set import Stage
from hardy.attacks.apgd import APGD, FEWEST_CLASSES
from hardy.attacks.autoattack import Version, apgd_t, autoattack, fab_t, shortened
from hardy.attacks.mi_fgsm import MIFGSM, Iterative
from hardy.attacks.pgd import PGD
from hardy.attacks.square import Square
from hardy.evaluation.results import Scalar
from hardy.evaluation.robustness import Ensemble, Protocol
from hardy.losses import margin
from hardy.threat import Threat
from hardy.verbs.asked.inputs import attack_of

Judged = Protocol | Ensemble


def protocols_of(asked: config.Evaluate, num_classes: int) -> list[Judged]:
    """The protocol of each attack that was asked for, in that order.

    PGD, CW-PGD, the single APGDs and Square are run --restarts times, and a picture must
    withstand all; FGSM and MI-FGSM have no random start, and the ensembles have their published
    runs. Raises ValueError for a radius or steps out of range, and for an attack that needs more
    classes.
    """
    return [_PROTOCOLS[name](asked, num_classes) for name in dict.fromkeys(asked.attack)]


def remarks(asked: config.Evaluate, num_classes: int) -> list[str]:
    """What a reader must know of the attacks on a set of so few classes; mostly nothing."""
    found = []
    if {"autoattack", "autoattack-quick", "apgd-t", "fab-t"} & set(asked.attack):
        found.append(shortened(num_classes))
    if "autoattack-rand" in asked.attack:
        found.append(shortened(num_classes, "rand"))
    return [sentence for sentence in found if sentence]


def iterative_of(name: str, asked: config.Attacker) -> Iterative:
    """One run of an attack that follows a gradient to its last iterate.

    Raises ValueError for any other attack, and for a radius or steps out of range.
    """
    made = {"pgd": attack_of, "fgsm": fgsm_of, "cw": cw_of, "mi-fgsm": mi_fgsm_of}
    if name not in made:
        raise ValueError(f"--attack {name} cannot be carried over: take {', '.join(made)}")
    return made[name](asked)


def fgsm_of(asked: config.Attacker) -> PGD:
    """One step of eps from the picture itself."""
    threat = attack_of(asked).threat
    return PGD(threat, 1, threat.eps, random_start=False)


def cw_of(asked: config.Attacker) -> PGD:
    """PGD on the margin."""
    return replace(attack_of(asked), loss=margin)


def mi_fgsm_of(asked: config.Attacker) -> MIFGSM:
    """MI-FGSM, its step eps / steps unless --step-size says."""
    return MIFGSM(attack_of(asked).threat, asked.steps, asked.step_size)


def _pgd(asked: config.Evaluate, _: int) -> Protocol:
    return _worst_of(asked, attack_of(asked), asked.restarts)


def _fgsm(asked: config.Evaluate, _: int) -> Protocol:
    return _worst_of(asked, fgsm_of(asked), 1)


def _cw(asked: config.Evaluate, _: int) -> Protocol:
    return _worst_of(asked, cw_of(asked), asked.restarts)


def _mi_fgsm(asked: config.Evaluate, _: int) -> Ensemble:
    attack = mi_fgsm_of(asked)
    return _ensemble(asked, attack.name, (Stage(attack.name, (attack,)),))


def _worst_of(asked: config.Evaluate, attack: PGD, restarts: int) -> Protocol:
    return Protocol(attack, restarts, asked.seed, asked.precision, 2 * asked.batch_size)


def _ensemble(asked: config.Evaluate, name: str, stages: tuple[Stage, ...]) -> Ensemble:
    more: dict[str, Scalar] = {}
    if len(stages) == 1:  # of several, each has its own
        more |= stages[0].runs[0].setting
        for own in ("attack", "norm", "eps", "target"):
            more.pop(own, None)
    more["runs"] = ", ".join(f"{stage.name} × {len(stage.runs)}" for stage in stages)
    return Ensemble(name, stages, asked.seed, asked.precision, 2 * asked.batch_size, more)


def _apgd(loss: str) -> Callable[[config.Evaluate, int], Ensemble]:
    def protocol(asked: config.Evaluate, num_classes: int) -> Ensemble:
        if num_classes < FEWEST_CLASSES[loss]:
            raise ValueError(
                f"--attack apgd-{loss} needs {FEWEST_CLASSES[loss]} classes, the data has "
                f"{num_classes}: take apgd-ce"
            )
        attack = APGD(_threat(asked), loss="dlr" if loss == "dlr" else "ce")
        stage = Stage(str(attack.setting["attack"]), (attack,) * asked.restarts)
        return _ensemble(asked, stage.name, (stage,))

    return protocol


def _square(asked: config.Evaluate, _: int) -> Ensemble:
    stage = Stage("Square", (Square(_threat(asked)),) * asked.restarts)
    return _ensemble(asked, stage.name, (stage,))


def _apgd_t(asked: config.Evaluate, num_classes: int) -> Ensemble:
    return _ensemble(asked, "APGD-T", (apgd_t(_threat(asked), num_classes),))


def _fab_t(asked: config.Evaluate, num_classes: int) -> Ensemble:
    return _ensemble(asked, "FAB-T", (fab_t(_threat(asked), num_classes),))


def _autoattack(version: Version) -> Callable[[config.Evaluate, int], Ensemble]:
    name = "AutoAttack" if version == "standard" else f"AutoAttack {version}"

    def protocol(asked: config.Evaluate, num_classes: int) -> Ensemble:
        return _ensemble(asked, name, autoattack(_threat(asked), num_classes, version))

    return protocol


def _threat(asked: config.Evaluate) -> Threat:
    return attack_of(asked).threat


_PROTOCOLS: dict[str, Callable[[config.Evaluate, int], Judged]] = {
    "pgd": _pgd,
    "fgsm": _fgsm,
    "cw": _cw,
    "mi-fgsm": _mi_fgsm,
    "apgd-ce": _apgd("ce"),
    "apgd-dlr": _apgd("dlr"),
    "apgd-t": _apgd_t,
    "fab-t": _fab_t,
    "square": _square,
    "autoattack": _autoattack("standard"),
    "autoattack-quick": _autoattack("quick"),
    "autoattack-rand": _autoattack("rand"),
}
