"""What a network is, and where it stands beside its baseline, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from hardy.reporting.ranking import percent
from hardy.reporting.why.profile import (
    CORRUPTED,
    FAMILIES,
    OF_ALL,
    Profile,
    Sentence,
    amount,
    signed,
)
from hardy.reporting.wording import attack, count, plain, short


def what(p: Profile) -> Iterator[Sentence]:
    """Accuracies, LIGS, accuracy under corruptions, and their differences."""
    name = short(p.network, 40)
    scores = f"{percent(p.clean)} clean and {percent(p.robust)} robust accuracy"
    place = f"on {count(p.clean.n)} pictures of {p.clean.split}"
    against = f" ({attack(p.robust.setting)})" if attack(p.robust.setting) else ""
    yield p.said(f"{name} has {scores}{against}, {place}.", p.clean, p.robust)
    if ligs := p.of("ligs"):
        yield p.said(
            f"Its LIGS is {plain(ligs)}: how alike the gradients of the loss are at a picture and "
            "close by, one where they point the same way.",
            ligs,
        )
    mean = p.of(CORRUPTED, of=OF_ALL)
    families = {name: m for name in FAMILIES if (m := p.of(CORRUPTED, of=name))}
    if mean:
        each = ", ".join(f"{name} {percent(m)}" for name, m in families.items())
        text = f"Under the 15 common corruptions it is right on {percent(mean)}"
        yield p.said(f"{text}{f': {each}' if each else ''}.", mean, *families.values())
    yield from _beside(p)


def _beside(p: Profile) -> Iterator[Sentence]:
    """The network beside its baseline, a sentence a quantity."""
    kinds: list[tuple[str, str, dict[str, str]]] = [
        ("clean accuracy", "clean accuracy", {}),
        ("robust accuracy", "robust accuracy", {}),
        (CORRUPTED, "accuracy under corruptions", {"of": OF_ALL}),
    ]
    for quantity, name, setting in kinds:
        gain, side = p.gain(quantity, **setting), p.side(quantity, **setting)
        if gain is None or (quantity.startswith("robust") and not p.believed):
            continue
        other = short(p.baseline, 40)
        if side:
            where = "above" if side > 0 else "below"
            text = f"Its {name} is {amount(gain)} {where} that of {other}."
        else:
            text = f"Its {name} and that of {other} differ by no more than chance: {signed(gain)}."
        yield p.said(text, gain)
