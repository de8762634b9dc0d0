"""Why a network is robust, or not, in sentences: what it is, why, and what to try next.

Each sentence rests on numbers of the same page, by their ids, and claims no more than their
intervals.

Source of the reading of LIGS, corruptions and transfer: Benz et al. (ICCV 2021; arXiv
2010.03316); of criticality: Zhu et al., RiFT (ICCV 2023; arXiv 2308.02533).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hardy.evaluation.results import Results
from hardy.reporting.why.advice import Rule, advice
from hardy.reporting.why.profile import Sentence, profile
from hardy.reporting.why.reasons import reasons
from hardy.reporting.why.what import what
from hardy.reporting.wording import attack, count, value_of

__all__ = ["HEADER", "Rule", "Sentence", "Why", "headline_of", "numbers", "why"]

Rows = list[tuple[str, list[str]]]

HEADER = ["number", "quantity", "subject", "split", "n", "value", "measured with"]
ABOUT = ("v", "sigma", "of", "surrogate")


@dataclass(frozen=True)
class Why:
    """The page's sentences in their three parts, and the rules behind the last."""

    what: list[Sentence]
    reasons: list[Sentence]
    next: list[Sentence]
    rules: list[Rule]

    @property
    def parts(self) -> Iterator[tuple[str, list[Sentence]]]:
        """The parts that say something, under their headings."""
        named = {"What it is": self.what, "Why": self.reasons, "What to try next": self.next}
        return ((title, sentences) for title, sentences in named.items() if sentences)


def why(results: Results) -> Why | None:
    """All that can be said of what was measured; None for other runs than those of hardy why."""
    found = profile(results)
    return None if found is None else Why([*what(found)], [*reasons(found)], *advice(found))


def numbers(results: Results, said: Why) -> Rows:
    """The measurements that sentences rest on, each under its id, in the columns of HEADER."""
    cited = {a for _, sentences in said.parts for one in sentences for a in one.anchors}
    rows: Rows = []
    for place, m in enumerate(results.measurements, 1):
        if f"number-{place}" in cited:
            more = (f"{key} {_short(m.setting[key])}" for key in ABOUT if key in m.setting)
            about = ", ".join(filter(None, [attack(m.setting), *more]))
            cells = [m.quantity, m.subject, m.split, count(m.n), value_of(m), about]
            rows.append((f"number-{place}", [str(place), *cells]))
    return rows


def headline_of(results: Results) -> str:
    """The first sentence and the first advice; empty for other runs."""
    said = why(results)
    return "" if said is None else f"{said.what[0].text} {said.next[0].text}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
