"""Accuracy under corruptions, put together from the measurements: type by severity."""

from __future__ import annotations

from dataclasses import dataclass

from hardy.evaluation.results import Measurement, Results

EXTRA = "extra 4"


@dataclass(frozen=True)
class Corruptions:
    """What was measured: networks, groups of corruptions (the families of the standard 15, then
    the extra ones), severities, and the accuracy of (network, corruption, severity)."""

    networks: list[str]
    groups: list[tuple[str, list[str]]]
    severities: list[int]
    cells: dict[tuple[str, str, int], Measurement]

    def gain(self, network: str, corruption: str, severity: int) -> float | None:
        """The accuracy less that of the first network; None where either is not there."""
        own = self.cells.get((network, corruption, severity))
        first = self.cells.get((self.networks[0], corruption, severity))
        return None if own is None or first is None else own.value - first.value


def corruptions(results: Results) -> Corruptions | None:
    """The accuracies under corruptions, or None where there are none."""
    networks: dict[str, None] = {}
    families: dict[str, dict[str, None]] = {}
    extra: dict[str, None] = {}
    cells: dict[tuple[str, str, int], Measurement] = {}
    for m in results.select("corruption accuracy"):
        name, severity = str(m.setting.get("corruption")), m.setting.get("severity")
        if not isinstance(severity, int):
            continue
        networks[m.subject] = None
        if m.setting.get("standard", True):
            families.setdefault(str(m.setting.get("family", "")), {})[name] = None
        else:
            extra[name] = None
        cells[m.subject, name, severity] = m
    if not cells:
        return None
    groups = [(family, list(names)) for family, names in families.items()]
    groups += [(EXTRA, list(extra))] if extra else []
    severities = sorted({severity for _, _, severity in cells})
    return Corruptions(list(networks), groups, severities, cells)
