"""Measurements that belong together in a row: the stages of an ensemble, the radii of a curve."""

from __future__ import annotations

from dataclasses import dataclass

from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.reporting.wording import attack


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of attacks on one network: what stood after each of its stages."""

    network: str
    attack: str
    stages: tuple[Measurement, ...]

    @property
    def broken(self) -> list[tuple[str, float]]:
        """Of all pictures, the fraction that each stage broke."""
        return [(str(m.setting["stage"]), _broken(m) / m.n) for m in self.stages]

    @property
    def stands(self) -> float:
        """The fraction that withstands all of them."""
        return self.stages[-1].value

    @property
    def wrong(self) -> float:
        """The fraction that is wrong without an attack."""
        first = self.stages[0]
        return max(0.0, 1 - first.value - _broken(first) / first.n)


def ensembles(results: Results) -> list[Ensemble]:
    """Every ensemble in the order in which they were measured; empty where there are none."""
    found: dict[tuple[str, str, str], list[Measurement]] = {}
    for m in results.select("robust accuracy so far"):
        if "stage" in m.setting:
            found.setdefault((m.subject, m.split, attack(m.setting)), []).append(m)
    return [Ensemble(network, name, tuple(stages)) for (network, _, name), stages in found.items()]


def curves(results: Results) -> dict[str, list[Measurement]]:
    """Robust accuracy at each radius by network, from the smallest radius to the largest."""
    found: dict[str, list[Measurement]] = {}
    for m in results.select("robust accuracy at radius"):
        found.setdefault(m.subject, []).append(m)
    return {network: sorted(points, key=_radius) for network, points in found.items()}


def _radius(m: Measurement) -> float:
    return _number(m.setting.get("eps"))


def _broken(m: Measurement) -> float:
    return _number(m.setting.get("broken"))


def _number(value: Scalar) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
