"""What checks found before the attack, in the order in which a reader must know it."""

from __future__ import annotations

from dataclasses import dataclass

from hardy.evaluation.results import Finding, Results
from hardy.reporting.wording import count

# The worst first: a reader may read no further.
TITLES = {
    "fatal": "Fatal: the robust accuracy means nothing",
    "serious": "Serious: the robust accuracy is in doubt",
    "mild": "Mild: read the robust accuracy with care",
}


@dataclass(frozen=True)
class Box:
    """All findings of one grade."""

    grade: str
    title: str
    findings: list[Finding]


def boxes(results: Results) -> list[Box]:
    """The findings by grade, the worst first; empty where there are none."""
    of = {grade: [f for f in results.findings if f.grade == grade] for grade in TITLES}
    return [Box(grade, TITLES[grade], found) for grade, found in of.items() if found]


def finding_lines(results: Results) -> list[str]:
    """A line a finding for the terminal, the worst first: 'fatal: net: sentence'."""
    return [
        f"{box.grade}: {f'{f.subject}: ' if f.subject else ''}{f.sentence}"
        for box in boxes(results)
        for f in box.findings
    ]


def quiet(results: Results) -> str:
    """That the checks found nothing, where they were made and did; else an empty string."""
    pictures = results.facts.get("preflight")
    if results.findings or not isinstance(pictures, int) or pictures < 1:
        return ""
    return f"The checks before the attack found nothing ({count(pictures)} pictures)."


def evidence(finding: Finding) -> str:
    """What a finding rests on: 'zero gradients: share 0.93, of 256'."""
    numbers = [
        f"{name} {f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in finding.evidence.items()
    ]
    return finding.check + (f": {', '.join(numbers)}" if numbers else "")


def of_networks(results: Results, grade: str) -> list[str]:
    """The networks with a finding of that grade, each once."""
    found = (f.subject for f in results.findings if f.grade == grade)
    return list(dict.fromkeys(found))
