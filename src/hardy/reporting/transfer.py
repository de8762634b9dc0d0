"""Transfer between networks: the matrices, their tables, and which surrogate is best."""

from __future__ import annotations

from dataclasses import dataclass, field

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.ranking import CHANCE, bounds
from hardy.reporting.ranking import percent as in_percent
from hardy.reporting.wording import attack, count, number, p_value, percent, points, short

SUCCESS = "transfer success"
COMMON = f"{SUCCESS} on common pictures"
GAIN = f"{SUCCESS} gain"
TRANSFERRED = (SUCCESS, COMMON, GAIN)
TITLE = "Transfer"

Rows = list[list[str]]


@dataclass
class Matrix:
    """The cells of one attack by (surrogate, target): on the pictures that these two classify
    rightly, and on those that the target and all other surrogates do; and the differences of two
    surrogates on a target, by (target, surrogate, other)."""

    attack: str
    targeted: bool
    cells: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    common: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    gains: dict[tuple[str, str, str], Measurement] = field(default_factory=dict)

    @property
    def surrogates(self) -> list[str]:
        """In their order."""
        return list(dict.fromkeys(surrogate for surrogate, _ in self.cells))

    @property
    def targets(self) -> list[str]:
        """In their order."""
        return list(dict.fromkeys(target for _, target in self.cells))

    @property
    def between(self) -> list[Measurement]:
        """The cells of two different networks."""
        return [m for (surrogate, target), m in self.cells.items() if surrogate != target]

    def gain(self, target: str, one: str, other: str) -> Measurement | None:
        """By how much one surrogate is better than another on a target."""
        found = self.gains.get((target, one, other))
        if found is not None or (turned := self.gains.get((target, other, one))) is None:
            return found
        low, high = turned.interval or (turned.value, turned.value)
        return Measurement(
            GAIN, -turned.value, turned.split, turned.n, target, (-high, -low),
            setting={**turned.setting, "surrogate": one, "other": other},
        )  # fmt: skip


def matrices(results: Results) -> list[Matrix]:
    """One for each attack, in the order in which they were measured."""
    found: dict[str, Matrix] = {}
    for m in results.measurements:
        if m.quantity not in TRANSFERRED:
            continue
        targeted = bool(m.setting.get("targeted"))
        name = attack(m.setting) + (", targeted" if targeted else "")
        matrix = found.setdefault(name, Matrix(name, targeted))
        surrogate = str(m.setting.get("surrogate"))
        if m.quantity == GAIN:
            matrix.gains[m.subject, surrogate, str(m.setting.get("other"))] = m
        else:
            into = matrix.cells if m.quantity == SUCCESS else matrix.common
            into[surrogate, m.subject] = m
    return [matrix for matrix in found.values() if matrix.cells]


def transfer_table(results: Results) -> Rows:
    """A row for each cell, and the same on the pictures that all surrogates share."""
    found = matrices(results)
    shared = any(matrix.common for matrix in found)
    rows = [["surrogate", "target", "attack", "n", "fooled, %"]]
    rows[0] += ["common n", "fooled there, %"] if shared else []
    for matrix in found:
        for (surrogate, target), m in matrix.cells.items():
            common = matrix.common.get((surrogate, target))
            cells = ["–", "–"] if common is None else [count(common.n), percent(common)]
            row = [surrogate, target, matrix.attack, count(m.n), percent(m)]
            rows.append(row + (cells if shared else []))
    return rows if len(rows) > 1 else []


def gain_table(results: Results) -> Rows:
    """A row for each two surrogates on a target."""
    rows = [["target", "better surrogate", "than", "attack", "n", "difference, points", "p"]]
    for matrix in matrices(results):
        for (target, one, other), m in matrix.gains.items():
            if m.value < 0:
                one, other, m = other, one, matrix.gain(target, other, one) or m
            p = p_value(m.setting.get("p")).removeprefix("p = ").removeprefix("p ")
            rows.append([target, one, other, matrix.attack, count(m.n), points(m), p or "–"])
    return rows if len(rows) > 1 else []


def best_surrogates(results: Results) -> list[str]:
    """Of each attack and target: the surrogate whose examples fool it most on the pictures that
    all have in common, and whether that is more than chance."""
    found = matrices(results)
    sentences = []
    for matrix in found:
        where = f" ({matrix.attack})" if len(found) > 1 else ""
        for target in matrix.targets:
            if said := _best(matrix, target):
                sentences.append(said + where + ".")
    return sentences


def of_transfer(results: Results) -> str:
    """'Of 6 pairs of different networks most is carried over from A to B: 34.00 % [30.8, 37.4] of
    812 pictures (PGD-10, Linf 8/255); least from …', and the best surrogate of an only target."""
    matrix = matrices(results)[0]
    between = sorted(matrix.between, key=lambda m: -m.value)
    if not between:
        (name, _), m = next(iter(matrix.cells.items()))
        share = f"{in_percent(m)} of {count(m.n)} pictures"
        return f"As its own surrogate {_name(name)} is fooled on {share} ({matrix.attack})."
    most, least = _way(between[0]), _way(between[-1])
    sentence = f"{most[0].upper()}{most[1:]} are carried over ({matrix.attack})."
    if len(between) > 1:
        sentence = f"Of {len(between)} pairs of different networks most is carried over {most} "
        sentence += f"({matrix.attack}); least {least}."
    best = best_surrogates(results)
    return sentence + (f" {best[0]}" if len(best) == 1 else "")


def _best(matrix: Matrix, target: str) -> str:
    ranked = sorted(
        ((s, m) for (s, t), m in matrix.common.items() if t == target),
        key=lambda pair: -pair[1].value,
    )
    if len(ranked) < 2:
        return ""
    (best, top), (second, _) = ranked[:2]
    place = f"of {count(top.n)} pictures that all classify rightly"
    if not top.value:
        return f"{_name(target)} is fooled by way of none of the others: {in_percent(top)} {place}"
    said = f"{_name(target)} is fooled most by way of {_name(best)}: {in_percent(top)} {place}"
    gain = matrix.gain(target, best, second)
    p = None if gain is None else gain.setting.get("p")
    if gain is None or not isinstance(p, int | float):
        return said
    if not gain.value:
        return (
            f"{_name(target)} is fooled as often by way of {_name(best)} as of {_name(second)}: "
            f"{in_percent(top)} {place}"
        )
    # The best of several is found by looking at all: Bonferroni's correction for that.
    comparisons = len(ranked) - 1
    more = "more" if p * comparisons < CHANCE and gain.value > 0 else "no more"
    among = f" (one of {comparisons} comparisons)" if comparisons > 1 else ""
    amount = f"{number(100 * abs(gain.value))} points{bounds(gain)} on {count(gain.n)} pictures"
    return (
        f"{said}; what it has over {_name(second)} is {more} than chance{among}: {amount}, "
        f"{p_value(p)}"
    )


def _way(m: Measurement) -> str:
    """'from A to B: 34.00 % [30.8, 37.4] of 812 pictures'"""
    surrogate, target = _name(str(m.setting.get("surrogate"))), _name(m.subject)
    return f"from {surrogate} to {target}: {in_percent(m)} of {count(m.n)} pictures"


def _name(label: str) -> str:
    return short(label, 40) or "the net"
