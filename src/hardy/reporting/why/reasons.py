"""What speaks for and against robust features behind a network's accuracies, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from hardy.evaluation.results import Measurement
from hardy.reporting.ranking import percent
from hardy.reporting.why.profile import (
    CORRUPTED,
    FAMILIES,
    NOTABLE,
    TRANSFER,
    Profile,
    Sentence,
    above,
    amount,
    signed,
)
from hardy.reporting.wording import number, plain, short


def reasons(p: Profile) -> Iterator[Sentence]:
    """Gradients, corruptions, transfer and modules, as far as they were measured."""
    yield from _of_gradients(p)
    yield from _of_corruptions(p)
    yield from _of_transfer(p)
    yield from _of_modules(p)


def _of_gradients(p: Profile) -> Iterator[Sentence]:
    ligs, robust = p.gain("ligs"), p.gain("robust accuracy")
    if ligs is None or robust is None or not p.believed:
        return
    alike, stands, other = p.side("ligs"), p.side("robust accuracy"), short(p.baseline, 40)
    if not alike:
        text = (
            f"Its LIGS is not shown to differ from that of {other} by more than {NOTABLE:g} "
            f"({signed(ligs)}), so it explains no difference in robust accuracy ({signed(robust)})."
        )
        yield p.said(text, ligs, robust)
        return
    where = "above" if alike > 0 else "below"
    start = f"Its LIGS is {amount(ligs)} {where} that of {other}"
    if not stands:
        text = (
            f"{start}, and its robust accuracy differs by no more than chance ({signed(robust)})."
        )
    elif alike == stands:
        features = "robust" if alike > 0 else "non-robust"
        text = (
            f"{start}, and its robust accuracy too ({amount(robust)}), as of a network that uses "
            f"more {features} features. They go together; neither proves the other."
        )
    elif alike > 0:
        text = (
            f"{start}, but its robust accuracy is {amount(robust)} below: gradients that are alike "
            "close to a picture are not yet so in all of the ball."
        )
    else:
        text = (
            f"{start}, but its robust accuracy is {amount(robust)} above: mostly they go together, "
            "so look for masked gradients."
        )
    yield p.said(text, ligs, robust)


def _of_corruptions(p: Profile) -> Iterator[Sentence]:
    gains = {name: m for name in FAMILIES if (m := p.gain(CORRUPTED, of=name))}
    other = short(p.baseline, 40)
    for name, gain in gains.items():
        if side := p.side(CORRUPTED, of=name):
            where = "above" if side > 0 else "below"
            yield p.said(f"Under {name} it is {amount(gain)} {where} {other}.", gain)
    level = {name: m for name, m in gains.items() if not p.side(CORRUPTED, of=name)}
    if level:
        each = ", ".join(f"{name} ({signed(gain)})" for name, gain in level.items())
        yield p.said(f"No difference to {other} beyond chance under {each}.", *level.values())


def _of_transfer(p: Profile) -> Iterator[Sentence]:
    if not p.baseline:
        return
    theirs = p.of(TRANSFER, p.network, surrogate=p.baseline)
    own = p.of(TRANSFER, p.baseline, surrogate=p.network)
    if theirs is None or own is None:
        return
    name, other = short(p.network, 40), short(p.baseline, 40)
    text = (
        f"Adversarial examples of {other} fool {name} on {percent(theirs)} of the pictures that "
        f"both get right, those of {name} fool {other} on {percent(own)}"
    )
    if above(own, theirs):
        text += ", beyond chance more often: by better examples or for a weaker target."
    elif above(theirs, own):
        text += ", beyond chance less often: by worse examples or for a stronger target."
    else:
        text += "; the intervals overlap."
    yield p.said(text, theirs, own)


def _of_modules(p: Profile) -> Iterator[Sentence]:
    critical = list(p.results.select("mrc"))
    if len(critical) < 2 or p.doubted(p.network):
        return
    least, most = (pick(critical, key=lambda m: m.value) for pick in (min, max))
    apart = "" if above(most, least) else "; their intervals overlap"
    rests_on: list[Measurement | None] = []
    said = []
    for m in (least, most):
        drop = p.of("robust accuracy drop", m.subject)
        rests_on += [m, drop]
        lost = f", {number(100 * drop.value)} points of robust accuracy" if drop else ""
        said.append(f"{m.subject} ({plain(m)} nats{lost})")
    yield p.said(
        f"The lowest MRC of its {len(critical)} modules is that of {said[0]}, the highest that of "
        f"{said[1]}{apart}.",
        *rests_on,
    )
