"""Which of the networks is best, and whether that is more than chance, in words."""

from __future__ import annotations

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.equal_clean import at_equal_clean
from hardy.reporting.findings import of_networks
from hardy.reporting.seeds import over_seeds
from hardy.reporting.wording import attack, count, interval_of, number, p_value, short

CHANCE = 0.05


def of_nets(results: Results, clean: list[Measurement], robust: list[Measurement]) -> str:
    """The best network by the strongest attack that was tried on all, else by clean accuracy;
    of networks of one setting, what that setting comes to."""
    seeds = over_seeds(results)
    if seeds:
        return " ".join([*_doubts(results), seeds])
    ranked = strongest(robust) or clean
    top, *rest = sorted(ranked, key=lambda m: -m.value)
    partner = next((m for m in clean if (m.subject, m.split) == (top.subject, top.split)), None)
    kind = "robust" if robust else "clean"
    scores = f"{percent(top)} {kind} accuracy{_against(top, robust)}"
    if robust and partner is not None:
        scores = f"{percent(partner)} clean and {scores}"
    place = f"on {count(top.n)} pictures of {top.split}"
    name = short(top.subject, 40) or "The net"
    sentences = [f"{name} has {scores}, {place}."]
    if rest:
        level = rest[0].value == top.value
        most = f"as much {kind} accuracy as any" if level else f"the most {kind} accuracy"
        found = f"Of {len(ranked)} nets, {name} has {most}: {scores}, {place}."
        sentences = [found, *([] if level else _by_chance(results, top, rest))]
    sentences += _under_corruption(results, top)
    sentences += [at_equal_clean(results)]
    return " ".join([*_doubts(results), *filter(None, sentences)])


def strongest(robust: list[Measurement]) -> list[Measurement]:
    """The accuracies, one a network, under the attack that leaves least on average, of those
    measured on most networks: each attack bounds the truth from above."""
    terms: dict[tuple[str, str], list[Measurement]] = {}
    for m in robust:
        terms.setdefault((m.split, attack(m.setting)), []).append(m)
    if not terms:
        return []
    most = max(len(found) for found in terms.values())
    widest = [found for found in terms.values() if len(found) == most]
    # Of equals the last, for classes and pictures are shown under that one.
    return min(reversed(widest), key=lambda found: sum(m.value for m in found))


def _against(top: Measurement, robust: list[Measurement]) -> str:
    if not robust or not attack(top.setting):
        return ""
    tried = len({attack(m.setting) for m in robust})
    return f" ({attack(top.setting)}{f', the strongest of {tried} attacks' if tried > 1 else ''})"


def _by_chance(results: Results, top: Measurement, rest: list[Measurement]) -> list[str]:
    """Whether the lead is more than chance: over the network that the others are compared with,
    or, where that leads itself, over the runner-up; and over the runner-up where it is another."""
    second = rest[0]
    gains = {
        m.subject: m
        for m in results.select(f"{top.quantity} gain", split=top.split)
        if attack(m.setting) == attack(top.setting)
    }
    rivals = [m.subject for m in rest]
    lead = next((f"{top.subject} − {r}" for r in rivals if f"{top.subject} − {r}" in gains), "")
    behind = f"{second.subject} − {top.subject}"
    overlap = top.interval and second.interval and top.interval[0] <= second.interval[1]
    unsure = [f"Its interval overlaps that of {_name(second.subject)}."] if overlap else []
    if lead:
        other = lead.removeprefix(f"{top.subject} − ")
        said = _difference(gains[lead], f"Its lead over {_name(other)}", len(gains))
        return [said, *(unsure if second.subject != other else [])]
    if behind in gains:
        return [_difference(gains[behind], f"What {_name(second.subject)} lacks", len(gains))]
    return unsure


def _difference(gain: Measurement, what: str, comparisons: int) -> str:
    """'Its lead over A is more than chance: +1.20 points [0.4, 2.0], p = 0.004.'"""
    p, among = gain.setting.get("p"), ""
    amount = f"{number(100 * abs(gain.value))} points{bounds(gain)}"
    if isinstance(p, int | float):
        # The best of several is found by looking at all: Bonferroni's correction for that.
        beyond = p * comparisons < CHANCE
        amount += f", {p_value(p)}"
        among = f" (one of {comparisons} comparisons)" if comparisons > 1 else ""
    elif gain.interval is not None:
        beyond = not gain.interval[0] <= 0 <= gain.interval[1]
    else:
        return f"{what} is {amount}; there is no interval: {gain.no_interval}."
    return f"{what} is {'more' if beyond else 'no more'} than chance{among}: {amount}."


def _under_corruption(results: Results, top: Measurement) -> list[str]:
    mean = results.select("mean corruption accuracy", subject=top.subject, of="standard 15")
    return [f"Under the 15 common corruptions it has {percent(m)} on average." for m in mean]


def _doubts(results: Results) -> list[str]:
    """One sentence on the findings that forbid to take the figures as they are, or none. What
    has no subject is of all networks."""
    said = []
    for grade, verdict in (("fatal", "means nothing"), ("serious", "is in doubt")):
        found = of_networks(results, grade)
        names = ["all"] if "" in found else [_name(subject) for subject in found]
        if names:
            of = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
            said.append(f"{'that' if said else 'the robust accuracy'} of {of} {verdict}")
    return [f"By the checks, {', and '.join(said)}."] if said else []


def _name(subject: str) -> str:
    return short(subject, 40) or "the net"


def bounds(m: Measurement) -> str:
    """The interval of a difference that is said without its sign: that of its amount."""
    if m.interval is None or m.value >= 0:
        return interval_of(m)
    low, high = m.interval
    return interval_of(Measurement(m.quantity, -m.value, m.split, m.n, interval=(-high, -low)))


def percent(m: Measurement) -> str:
    """'81.46 % [80.4, 82.5]'"""
    return f"{number(100 * m.value)} %{interval_of(m)}"
