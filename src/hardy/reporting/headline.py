"""What came out of a run, in one or two sentences made from its measurements."""

from __future__ import annotations

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.exported import of_files
from hardy.reporting.features import of_set
from hardy.reporting.ligs import of_ligs, of_networks
from hardy.reporting.ranking import bounds, of_nets, percent
from hardy.reporting.seeds import over_seeds
from hardy.reporting.transfer import of_transfer
from hardy.reporting.why import headline_of
from hardy.reporting.wording import count, interval_of, number, plain


def headline(results: Results) -> str:
    """The outcome in words; where an interval forbids a claim, the sentence says so."""
    gain = next(results.select("clean accuracy gain", subject="result"), None)
    # The last epoch is measured for comparison: which epoch to keep was decided on val. A teacher
    # is not what the run made.
    aside = {"alpha", "epoch", "last", "teacher"}
    finals = [m for m in results.measurements if not aside & m.setting.keys()]
    clean = [m for m in finals if m.quantity == "clean accuracy"]
    robust = [m for m in finals if m.quantity == "robust accuracy"]
    critical = list(results.select("mrc"))
    if next(results.select("logit difference"), None):
        return of_files(results)
    if next(results.select("distance moved"), None):
        return of_set(results)
    if said := headline_of(results):
        return said
    if results.verb == "transfer" and next(results.select("transfer success"), None):
        return of_transfer(results)
    if results.verb == "ligs" and of_networks(results):
        return of_ligs(results)
    if results.verb == "transfer" and (said := over_seeds(results)):
        return said
    if gain is not None:
        robust_gain = next(results.select("robust accuracy gain", subject="result"), None)
        return _of_gain(results, gain, robust_gain)
    if not clean + robust and (said := over_seeds(results)):
        return said
    if critical and (results.verb == "mrc" or not clean + robust):
        return _of_modules(results, critical)
    if clean or robust:
        return of_nets(results, clean, robust)
    chosen = [m for m in results.measurements if m.setting.get("chosen")]
    if chosen:
        return _of_epochs(chosen)
    return f"{results.verb} finished with {count(len(results.measurements))} measurements."


def _of_gain(results: Results, clean: Measurement, robust: Measurement | None) -> str:
    chosen = [m.setting.get("alpha") for m in results.measurements if m.setting.get("chosen")]
    if results.facts.get("alpha") == 0 or 0 in chosen:
        return "No change met the rule: the start is returned unchanged."
    amount = f"{number(100 * abs(clean.value))} points of clean accuracy{bounds(clean)}"
    sentence = f"RiFT {'gave back' if clean.value > 0 else 'cost'} {amount}"
    if clean.value == 0:
        sentence = f"RiFT left clean accuracy where it was{bounds(clean)}"
    if robust is not None:
        moved = f"{_signed(robust.value)} points{interval_of(robust)}"
        sentence += f" at a robust accuracy that moved by {moved}"
    sentence += f", on {count(clean.n)} pictures of {clean.split}."
    if clean.interval is None:
        return f"{sentence} There is no interval: {clean.no_interval}."
    if clean.interval[0] <= 0 <= clean.interval[1]:
        word = "gain" if clean.value > 0 else "loss" if clean.value < 0 else "difference"
        sentence += f" The interval contains 0: the {word} lies within sampling error."
    if robust is not None and robust.interval is not None and robust.interval[1] < 0:
        sentence += " The fall of robust accuracy is larger than sampling error."
    return sentence


def _of_modules(results: Results, critical: list[Measurement]) -> str:
    least, most = (pick(critical, key=lambda m: m.value) for pick in (min, max))
    drops = {m.subject: m for m in results.select("robust accuracy drop")}

    def described(m: Measurement) -> str:
        drop = drops.get(m.subject)
        lost = f", robust accuracy {_signed(-drop.value)} points" if drop else ""
        return f"{m.subject} (MRC {plain(m)} nats{lost})"

    if dropped := {m.subject for m in results.select("mrc bound")}:
        among = len({m.subject for m in critical} | dropped)
        return f"Of {among} modules, {described(least)} is the least critical."
    if len(critical) == 1:
        return f"Measured one module: {described(least)}."
    return (
        f"Of {len(critical)} modules, {described(least)} is the least critical "
        f"and {described(most)} the most."
    )


def _of_epochs(chosen: list[Measurement]) -> str:
    parts = []
    for subject in dict.fromkeys(m.subject for m in chosen):
        own = {m.quantity: m for m in chosen if m.subject == subject}
        m = next(iter(own.values()))
        scores = " and ".join(f"{percent(m)} {q}" for q, m in own.items() if "accuracy" in q)
        parts.append(
            f"{subject or 'The run'} keeps epoch {m.setting.get('epoch')}: {scores} on {m.split}."
        )
    return " ".join(parts)


def _signed(value: float) -> str:
    return number(100 * value, signed=True)
