"""What a setting comes to over several networks or runs that differ in their seed."""

from __future__ import annotations

from collections.abc import Sequence

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.wording import attack, count, value_of

Rows = list[list[str]]

TITLE = "Means over seeds"
MEAN = "mean over seeds"
# Means of these stand in the first table.
WHOLE = ("clean accuracy", "robust accuracy", "robust accuracy (reference)")
GAINS = ("clean accuracy gain", "robust accuracy gain", "mean corruption accuracy gain")
CORRUPTED = "mean corruption accuracy"
# In their own table.
OF_MODULES = ("mrc", "mrc bound", "robust accuracy drop", "clean potential", "conflict")
PARTS = ("class", "kind", "corruption", "severity", "over", "stage", "surrogate", "other")


def stands_first(m: Measurement) -> bool:
    """Whether it is a mean over seeds for the first table: of a whole network, or of a gain."""
    of_all = m.setting.get("over", "standard 15") == "standard 15"
    return m.quantity == MEAN and m.setting.get("of") in (*WHOLE, *GAINS, CORRUPTED) and of_all


def is_gain(m: Measurement) -> bool:
    """Whether it is the mean of a difference of two networks."""
    return m.quantity == MEAN and m.setting.get("of") in GAINS


def means_by_name(results: Results, of: str) -> dict[str, Measurement]:
    """The means of a quantity by the network or module that they are of."""
    return {_name(m.subject): m for m in results.select(MEAN, of=of)}


def seeds_table(results: Results) -> Rows:
    """Every mean over seeds that no other table has, in its own unit."""
    rows = [["of", "quantity", "split", "n", "mean ± standard deviation"]]
    for m in results.select(MEAN):
        if stands_first(m) or m.setting.get("of") in OF_MODULES:
            continue
        parts = [f"{name} {m.setting[name]}" for name in PARTS if name in m.setting]
        attacked = {"robust", "transfer"} & set(str(m.setting.get("of")).split())
        against = attack(m.setting) if attacked else ""
        quantity = ", ".join(filter(None, [str(m.setting.get("of")), *parts, against]))
        rows.append([m.subject, quantity, m.split, count(m.n), value_of(m)])
    return rows if len(rows) > 1 else []


def over_seeds(results: Results) -> str:
    """'Over 3 seeds: clean accuracy 81.20 ± 0.31 % [80.4, 82.0], …', or nothing where there are
    no means; of criticality, which module is least critical on average."""
    aside = {"last", "teacher"}
    means = [m for m in results.select(MEAN) if not aside & m.setting.keys()]
    gained = [m for m in means if is_gain(m) and m.subject.endswith(": result")]
    whole = [m for m in means if stands_first(m) and not is_gain(m)]
    critical = [m for m in means if m.setting.get("of") == "mrc"]
    if gained:
        moved = [f"{str(m.setting['of']).removesuffix(' gain')} by {_score(m)}" for m in gained]
        return f"{_over(gained)} RiFT moved {' and '.join(moved)}{_place(gained)}."
    alike = [m for m in means if m.setting.get("of") == "ligs"]
    if alike and results.verb == "ligs":
        said = "; ".join(f"{_name(m.subject)} has a LIGS of {value_of(m)}" for m in alike)
        return f"{_over(alike)}, {said}{_place(alike)}."
    if results.verb == "transfer" and (said := _of_transfer(means)):
        return said
    if not whole:
        return _of_modules(critical) if critical else ""
    subjects = list(dict.fromkeys(m.subject for m in whole))
    if len(subjects) == 1:
        return f"{_over(whole)}: {', '.join(map(_said, whole))}{_place(whole)}."
    found = []
    for subject in subjects:
        own = [_said(m) for m in whole if m.subject == subject]
        found.append(f"{_name(subject)} has {', '.join(own)}")
    return f"{_over(whole)}, {'; '.join(found)}{_place(whole)}."


def _of_transfer(means: list[Measurement]) -> str:
    """Between which two networks most is carried over."""
    cells = [m for m in means if m.setting.get("of") == "transfer success"]
    between = [m for m in cells if m.setting.get("surrogate") != _name(m.subject)]
    if not between:
        return ""
    top = max(between, key=lambda m: m.value)
    among = ""
    if len(between) > 1:
        among = f"of {len(between)} means between different networks the highest is that "
    way = f"from {top.setting.get('surrogate')} to {_name(top.subject)}"
    return f"{_over(between)}, {among}{way}: {value_of(top)} % ({attack(top.setting)})."


def _of_modules(critical: list[Measurement]) -> str:
    least, most = (pick(critical, key=lambda m: m.value) for pick in (min, max))
    said = [f"{_name(m.subject)} (MRC {value_of(m)} nats)" for m in (least, most)]
    if len(critical) == 1:
        return f"{_over(critical)}: {said[0]}."
    if any("race" in m.setting for m in critical):
        return (
            f"{_over(critical)}, of {len(critical)} modules that every race finished {said[0]} is "
            "the least critical on average."
        )
    return (
        f"{_over(critical)}, of {len(critical)} modules {said[0]} is the least critical on "
        f"average and {said[1]} the most."
    )


def _over(means: Sequence[Measurement]) -> str:
    one = means[0]
    # Networks of one evaluation are attacked with one seed, which is a number.
    what = "seeds" if isinstance(one.setting.get("seed"), str) else "networks"
    return f"Over {one.setting.get('networks')} {what}"


def _said(m: Measurement) -> str:
    """'robust accuracy 50.00 ± 2.00 % [49.0, 51.0] (PGD-10, Linf 8/255)'"""
    against = attack(m.setting)
    return f"{m.setting.get('of')} {_score(m)}{f' ({against})' if against else ''}"


def _score(m: Measurement) -> str:
    score, bracket, interval = value_of(m).partition(" [")
    return f"{score} {'points' if is_gain(m) else '%'}{bracket}{interval}"


def _place(means: Sequence[Measurement]) -> str:
    return f", on {count(means[0].n)} pictures of {means[0].split}"


def _name(subject: str) -> str:
    """The network or module of 'mean of 3 seeds: NAME'."""
    return subject.partition(": ")[2] or subject
