"""From the names of attacks to what is run: each by its settings, none left out."""

from __future__ import annotations

import typing

import pytest

from hardy import config
from hardy.attacks.apgd import APGD
from hardy.attacks.fab import FAB
from hardy.attacks.mi_fgsm import MIFGSM
from hardy.attacks.square import Square
from hardy.evaluation.robustness import Ensemble, Protocol
from hardy.verbs.asked.protocols import protocols_of, remarks

NAMES = typing.get_args(config.AttackName)


def asked(*attack: str, **more: object) -> config.Evaluate:
    return config.Evaluate(attack=attack, eps=0.1, **more)  # type: ignore[arg-type]


def test_every_name_has_a_protocol_that_says_what_it_is() -> None:
    found = protocols_of(asked(*NAMES, seed=3, precision="bf16", batch_size=32), 10)
    named = [each.setting["attack"] for each in found]
    assert named == [
        *("PGD", "FGSM", "CW-PGD", "MI-FGSM", "APGD-CE", "APGD-DLR", "APGD-T", "FAB-T"),
        "Square",
        *("AutoAttack", "AutoAttack quick", "AutoAttack rand"),
    ]
    for each in found:
        setting = each.setting
        assert (setting["norm"], setting["eps"]) == ("linf", 0.1)
        assert (setting["seed"], setting["dtype"], each.batch_size) == (3, "bf16", 64)


def test_the_field_s_shorthands() -> None:
    pgd, fgsm, cw = protocols_of(asked("pgd", "fgsm", "cw", restarts=2), 10)
    assert isinstance(pgd, Protocol) and isinstance(fgsm, Protocol) and isinstance(cw, Protocol)
    assert (pgd.restarts, fgsm.restarts, cw.restarts) == (2, 1, 2)
    assert fgsm.attack.step == 0.1 and not fgsm.attack.random_start
    assert cw.attack.loss.__name__ == "margin" and cw.attack.steps == 10
    (momentum,) = protocols_of(asked("mi-fgsm", restarts=5, steps=8), 10)
    assert isinstance(momentum, Ensemble)
    assert momentum.stages[0].runs == (MIFGSM(momentum.threat, steps=8),)
    assert (momentum.setting["step_size"], momentum.setting["momentum"]) == (0.1 / 8, 1.0)
    (square,) = protocols_of(asked("square", "square", restarts=2), 10)
    assert square.setting["runs"] == "Square × 2" and square.setting["queries"] == 5000


@pytest.mark.parametrize(("classes", "targets"), [(10, 9), (200, 9), (5, 4), (4, 3), (2, 1)])
def test_autoattack_is_the_published_one_with_as_many_targets_as_there_are(
    classes: int, targets: int
) -> None:
    (found,) = protocols_of(asked("autoattack"), classes)
    assert isinstance(found, Ensemble)
    first, second, third, fourth = found.stages
    assert [stage.name for stage in found.stages] == ["APGD-CE", "APGD-T", "FAB-T", "Square"]
    assert first.runs == (APGD(found.threat),)
    loss = "dlr-t" if classes >= 4 else "ce-t"
    assert second.runs == tuple(
        APGD(found.threat, loss=loss, target=rank) for rank in range(1, targets + 1)
    )
    assert third.runs == tuple(FAB(found.threat, target=rank) for rank in range(1, targets + 1))
    assert fourth.runs == (Square(found.threat, queries=5000, p_init=0.8),)
    assert all(run.steps == 100 for stage in found.stages[:3] for run in stage.runs)  # type: ignore[attr-defined]
    said = remarks(asked("autoattack"), classes)
    assert bool(said) == (classes < 10)
    assert not remarks(asked("pgd"), classes)
    assert not said or f"{targets} targets" in said[0]
    assert ("cross-entropy" in "".join(said)) == (classes < 4)


def test_the_random_version_averages_gradients() -> None:
    (found,) = protocols_of(asked("autoattack-rand"), 10)
    runs = [run for stage in found.stages for run in stage.runs]
    assert runs == [
        APGD(found.stages[0].runs[0].threat, loss=loss, eot=20) for loss in ("ce", "dlr")
    ]  # type: ignore[arg-type]


def test_dlr_on_two_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 3 classes"):
        protocols_of(asked("apgd-dlr"), 2)


def test_the_random_version_on_two_classes_is_said_aloud() -> None:
    (found,) = protocols_of(asked("autoattack-rand"), 2)
    (stage,) = found.stages
    assert stage.name == "APGD-CE" and len(stage.runs) == 2
    (said,) = remarks(asked("autoattack-rand"), 2)
    assert "cross-entropy twice" in said and not remarks(asked("autoattack-rand"), 3)
