"""What to try next with a network: rules whose conditions are numbers, and say so.

A rule holds only where whole intervals do. Where a check before the attack casts doubt on the
robust accuracy, nothing that rests on it is advised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hardy.reporting.ranking import CHANCE
from hardy.reporting.why.profile import (
    CORRUPTED,
    FAMILIES,
    NOTABLE,
    OF_ALL,
    Profile,
    Sentence,
    side,
    signed,
)
from hardy.reporting.why.trials import (
    FEW_LOST,
    GAP,
    MOST_LOST,
    WORTH_KEEPING,
    keep_early,
    less_clean,
    other_norm,
    rift,
    stop_earlier,
    train_further,
)
from hardy.reporting.why.trust import SUSPICIOUS, UNLIKE, attack_harder, mend
from hardy.reporting.wording import count, number, short


@dataclass(frozen=True)
class Rule:
    """An advice, when it is given, and what it says here: nothing where the condition is not
    met or was not measured."""

    name: str
    condition: str
    sentence: Sentence | None


def advice(p: Profile) -> tuple[list[Sentence], list[Rule]]:
    """What to try next, what matters most first, and all rules."""
    rules = [Rule(name, condition, rule(p)) for name, condition, rule in RULES]
    said = [one.sentence for one in rules if one.sentence]
    return said or list(_nothing(p)), rules


def _nothing(p: Profile) -> Iterator[Sentence]:
    """What to say where no rule holds."""
    gains = [p.gain(q) for q in ("clean accuracy", "robust accuracy", "ligs")]
    gains += [p.gain(CORRUPTED, of=of) for of in (OF_ALL, *FAMILIES)]
    known = [gain for gain in gains if gain]
    if known and not any(map(side, known)):
        shown = [m for m in known if m.setting.get("of") not in FAMILIES]
        each = ", ".join(f"{m.quantity.removesuffix(' gain')} {signed(m)}" for m in shown)
        least = f" (of LIGS by {NOTABLE:g})" if p.gain("ligs") else ""
        yield p.said(
            f"Nothing differs from {short(p.baseline, 40)} beyond chance{least}: {each}. So "
            f"nothing here says what to change; more than {count(p.clean.n)} pictures might.",
            *shown,
        )
        return
    yield p.said(
        f"None of the {len(RULES)} rules for what to try next holds for the numbers of this page."
        + ("" if p.baseline else " Some need a network to compare with: --baseline."),
        p.clean,
        p.robust,
    )


RULES: list[tuple[str, str, Callable[[Profile], Sentence | None]]] = [
    (
        "Mend it first",
        "a check before the attack is serious or fatal; all else that rests on robust accuracy is "
        "then left out",
        mend,
    ),
    (
        "Attack it harder",
        "robust accuracy above and LIGS below the baseline's; without a baseline: robust accuracy "
        f"at least {number(100 * SUSPICIOUS, 0)} % of the clean one and LIGS below {UNLIKE:g}",
        attack_harder,
    ),
    (
        "RiFT",
        f"a module that costs at most {FEW_LOST} pictures, and at most "
        f"{number(100 * MOST_LOST, 0)} % of them, their robustness when its weights move "
        f"(McNemar's p of {FEW_LOST} against 0 is above 0.05); robust accuracy at least "
        f"{number(100 * WORTH_KEEPING, 0)} % of the clean one; and clean accuracy below the "
        f"baseline's, or at least {number(100 * GAP, 0)} points above the robust one",
        rift,
    ),
    (
        "Less weight on clean pictures",
        "clean accuracy above, robust accuracy and LIGS below the baseline's",
        less_clean,
    ),
    (
        "Another norm, or none",
        "BatchNorm in the network, and LIGS and accuracy under noise below the baseline's",
        other_norm,
    ),
    (
        "Train further",
        "clean and robust accuracy both below the baseline's",
        train_further,
    ),
    (
        "Stop earlier",
        "its run's last epoch has less robust accuracy on test than the epoch that was kept",
        stop_earlier,
    ),
    (
        "An earlier surrogate",
        "a kept earlier epoch (--keep-epochs) fools the baseline on more pictures than the "
        f"network, its p times the number of these epochs below {CHANCE:g}",
        keep_early,
    ),
]
