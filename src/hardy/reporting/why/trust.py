"""What to do before a robust accuracy is believed."""

from __future__ import annotations

from hardy.reporting.ranking import percent
from hardy.reporting.why.profile import Profile, Sentence, amount, share_at_least, side
from hardy.reporting.wording import plain, short

SUSPICIOUS = 0.5  # of clean accuracy, from which robustness is high
UNLIKE = 0.7  # a LIGS below it is low
ASK = "real robustness mostly makes gradients alike. Run hardy evaluate --attack autoattack."


def mend(p: Profile) -> Sentence | None:
    """Where a check before the attack found something serious."""
    found = [
        f
        for f in p.results.findings
        if f.grade != "mild" and f.subject in (p.network, p.baseline, "")
    ]
    if not found:
        return None
    named = ", ".join(dict.fromkeys(f"{f.check!r}" for f in found))
    doubtful = [name for name in (p.network, p.baseline) if name and p.doubted(name)]
    of = " and ".join(short(name, 40) for name in doubtful)
    known = p.robust if p.network in doubtful else p.of("robust accuracy", p.baseline)
    value = f" ({percent(known)})" if known else ""
    return p.said(
        f"First mend what the checks found: {named}. Until then the robust accuracy of {of}{value} "
        "is not believed, and what rests on it is neither compared nor advised.",
        *dict.fromkeys(f.grade for f in found),
        known,
    )


def attack_harder(p: Profile) -> Sentence | None:
    """Where the gradients do not look like those of a robust network."""
    ligs, robust = p.gain("ligs"), p.gain("robust accuracy")
    if p.baseline:
        if not p.believed or ligs is None or robust is None:
            return None
        if side(robust) <= 0 or side(ligs) >= 0:
            return None
        text = (
            f"Attack it harder: its robust accuracy is {amount(robust)} above and its LIGS "
            f"{amount(ligs)} below that of {short(p.baseline, 40)}, and {ASK}"
        )
        return p.said(text, robust, ligs)
    own = p.of("ligs")
    if not p.believed or own is None or own.interval is None or own.interval[1] >= UNLIKE:
        return None
    if not share_at_least(p.robust, p.clean, SUSPICIOUS):
        return None
    text = (
        f"Attack it harder: its robust accuracy, {percent(p.robust)}, is at least half of the "
        f"clean one, {percent(p.clean)}, at a LIGS of only {plain(own)}, and {ASK}"
    )
    return p.said(text, p.robust, p.clean, own)
