"""What to train or fine-tune otherwise, each where its numbers ask for it."""

from __future__ import annotations

from hardy.evaluation.results import Measurement
from hardy.reporting.ranking import CHANCE, percent
from hardy.reporting.why.profile import Profile, Sentence, above, amount, share_at_least, side
from hardy.reporting.wording import count, plain, short

FEW_LOST = 5  # pictures: McNemar's test of 5 against 0 has p = 0.06, of 6 against 0 p = 0.03
MOST_LOST = 0.02  # of the pictures: of few pictures five are many
GAP = 0.2  # of clean to robust accuracy, from which clean accuracy is worth a try
WORTH_KEEPING = 0.25  # of clean accuracy, from which there is robustness to keep

# What takes weight from clean pictures or the labels, in the methods that have such a setting.
WEIGHTS = {
    "trades": "beta up",
    "mart": "beta up",
    "score": "beta up",
    "ard": "alpha up",
    "adaad": "alpha up",
    "rslad": "robust up",
    "iad": "labels down",
}


def rift(p: Profile) -> Sentence | None:
    """Where a module can be tuned for clean accuracy at no cost of robustness."""
    tuned = p.results.facts.get("method") == "rift"
    if tuned or p.doubted(p.network) or not share_at_least(p.robust, p.clean, WORTH_KEEPING):
        return None
    drops = {m.subject: m for m in p.results.select("robust accuracy drop")}
    harmless = [
        m for m in p.results.select("mrc") if m.subject in drops and _harmless(drops[m.subject])
    ]
    behind = p.side("clean accuracy") == -1
    if not harmless or not (behind or above(p.clean, p.robust, GAP)):
        return None
    least = min(harmless, key=lambda m: m.value)
    drop, gain = drops[least.subject], p.gain("clean accuracy")
    lost = max(0, round(drop.value * drop.n))
    text = (
        f"Try hardy rift: moving {least.subject} as far as criticality tries ({plain(least)} nats) "
        f"costs {count(lost)} of {count(drop.n)} pictures their robustness, which may be "
        "chance, and "
    )
    if behind and gain:
        text += f"its clean accuracy is {amount(gain)} below that of {short(p.baseline, 40)}."
        return p.said(text, least, drop, gain)
    text += f"clean accuracy ({percent(p.clean)}) is far above robust ({percent(p.robust)})."
    return p.said(text, least, drop, p.clean, p.robust)


def less_clean(p: Profile) -> Sentence | None:
    """Where clean accuracy seems to be bought with robustness."""
    clean, robust, ligs = (p.gain(q) for q in ("clean accuracy", "robust accuracy", "ligs"))
    if not p.believed or clean is None or robust is None or ligs is None:
        return None
    if (side(clean), side(robust), side(ligs)) != (1, -1, -1):
        return None
    method = str(p.results.facts.get("method") or "")
    how = f" (--method-options: {WEIGHTS[method]})" if method in WEIGHTS else ""
    text = (
        f"Train it with less weight on clean cross-entropy{how}: beside {short(p.baseline, 40)} "
        f"its clean accuracy is {amount(clean)} higher, its robust accuracy {amount(robust)} and "
        f"its LIGS {amount(ligs)} lower."
    )
    return p.said(text, clean, robust, ligs)


def train_further(p: Profile) -> Sentence | None:
    """Where nothing was gained for what was lost."""
    clean, robust = p.gain("clean accuracy"), p.gain("robust accuracy")
    if not p.believed or clean is None or robust is None:
        return None
    if (side(clean), side(robust)) != (-1, -1):
        return None
    text = (
        "Train it further, or with another learning rate, before its method is judged: beside "
        f"{short(p.baseline, 40)} its clean accuracy is {amount(clean)} and its robust accuracy "
        f"{amount(robust)} lower, so neither was given for the other."
    )
    return p.said(text, clean, robust)


def other_norm(p: Profile) -> Sentence | None:
    """Where BatchNorm seems to cost robustness."""
    layers, ligs = p.of("BatchNorm layers"), p.gain("ligs")
    noise = p.gain("mean corruption accuracy", of="noise")
    if layers is None or layers.value < 1 or ligs is None or noise is None:
        return None
    if (side(ligs), side(noise)) != (-1, -1):
        return None
    text = (
        "Try another norm or none (hardy train --norm-layer none): it has "
        f"{count(int(layers.value))} layers of BatchNorm, and beside {short(p.baseline, 40)} its "
        f"LIGS is {amount(ligs)} and its accuracy under noise {amount(noise)} lower."
    )
    return p.said(text, layers, ligs, noise)


def stop_earlier(p: Profile) -> Sentence | None:
    """Where the last epochs of the network's run cost robustness."""
    last = p.of("robust accuracy gain", f"{p.network}, last epoch − {p.network}")
    if last is None or side(last) >= 0:
        return None
    text = (
        "Train it for fewer epochs, or with AWP or averaged weights: on "
        f"{last.split} the last epoch of its run has {amount(last)} less robust accuracy than the "
        "one that was kept."
    )
    return p.said(text, last)


def keep_early(p: Profile) -> Sentence | None:
    """Where an earlier epoch makes the better surrogate."""
    found = [
        m
        for m in p.results.select("transfer success gain", subject=p.baseline)
        if str(m.setting.get("surrogate", "")).startswith(f"{p.network}/epoch-")
    ]
    if not p.baseline or not found:
        return None
    best = max(found, key=lambda m: m.value)
    chance = best.setting.get("p")
    # The best of several is found by looking at all: Bonferroni's correction for that.
    if side(best) <= 0 or not isinstance(chance, int | float) or chance * len(found) >= CHANCE:
        return None
    text = (
        f"As a surrogate take its earlier epoch {best.setting['surrogate']}: its examples fool "
        f"{short(p.baseline, 40)} on {amount(best)} more of the pictures that all get right."
    )
    return p.said(text, best)


def _harmless(drop: Measurement) -> bool:
    """Whether so few pictures lost their robustness that it may be chance."""
    return round(drop.value * drop.n) <= FEW_LOST and drop.value <= MOST_LOST
