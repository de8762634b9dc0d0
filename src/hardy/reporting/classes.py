"""What becomes of each class, put together from the measurements and the confusion matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.arrays import Confusion


@dataclass(frozen=True)
class Mistaken:
    """`count` of the `n` pictures of class `true` are taken for class `said`."""

    true: str
    said: str
    count: int
    n: int


def by_class(results: Results) -> dict[str, dict[str, tuple[Measurement, Measurement]]]:
    """Of each network and class, its accuracy clean and under the attack, where both were
    measured."""
    kinds: dict[str, dict[tuple[str, str], Measurement]] = {"clean": {}, "adversarial": {}}
    for m in results.select("class accuracy"):
        of = kinds.get(str(m.setting.get("kind")))
        if of is not None:
            of[m.subject, str(m.setting.get("class"))] = m
    found: dict[str, dict[str, tuple[Measurement, Measurement]]] = {}
    for (network, name), clean in kinds["clean"].items():
        adversarial = kinds["adversarial"].get((network, name))
        if adversarial is not None:
            found.setdefault(network, {})[name] = clean, adversarial
    return found


def most_confused(one: Confusion, kind: str, classes: list[str], most: int) -> list[Mistaken]:
    """The pairs of classes that are confused most, by the share of the true class; of equal
    shares the one first in the order of classes."""
    matrix = one.matrices[kind]
    totals = matrix.sum(1)
    share = matrix / np.maximum(totals, 1)[:, None]
    np.fill_diagonal(share, 0)
    order = np.argsort(-share, axis=None, kind="stable")[:most]
    pairs = [divmod(int(i), len(classes)) for i in order]
    return [
        Mistaken(classes[true], classes[said], int(matrix[true, said]), int(totals[true]))
        for true, said in pairs
        if matrix[true, said] and true != said
    ]
