"""The tables of an evaluation beside the first: stages, radii, classes, corruptions."""

from __future__ import annotations

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.arrays import KINDS, confusions
from hardy.reporting.classes import by_class, most_confused
from hardy.reporting.corruptions import corruptions
from hardy.reporting.curves import curves, ensembles
from hardy.reporting.equal_clean import equal_clean_table
from hardy.reporting.wording import attack, count, number, percent, radius, value_of

Rows = list[list[str]]

PAIRS = 10  # confused most, of each network and kind; half as many of more than FEW networks
FEW = 3


def evaluation_tables(results: Results) -> dict[str, Rows]:
    """Every table of an evaluation by its title, in the order of the page; some may be empty."""
    return {
        "At equal clean accuracy": equal_clean_table(results),
        "AutoAttack, stage by stage": stage_table(results),
        "Robust accuracy over the radius": radius_table(results),
        "Classes": class_table(results),
        "Classes confused most": confused_table(results),
        "Common corruptions, on average": corruption_table(results),
        "Common corruptions, one by one": cell_table(results),
    }


def stage_table(results: Results) -> Rows:
    """Of each ensemble on each network: what each stage broke and what stood after it."""
    rows = [["network", "attack", "stage", "broken", "standing, %"]]
    for one in ensembles(results):
        for m in one.stages:
            broken = m.setting.get("broken")
            cells = [str(m.setting["stage"]), count(broken) if isinstance(broken, int) else "–"]
            rows.append([one.network or "the net", one.attack, *cells, percent(m)])
    return _or_nothing(rows)


def radius_table(results: Results) -> Rows:
    """Robust accuracy at each radius, a column a network."""
    of = curves(results)
    radii = {m.setting.get("eps"): radius(m.setting.get("norm"), m.setting.get("eps"))
             for points in of.values() for m in points}  # fmt: skip
    rows = [["radius", "n", *(f"{network or 'robust accuracy'}, %" for network in of)]]
    for eps, name in radii.items():
        here = {n: [m for m in points if m.setting.get("eps") == eps] for n, points in of.items()}
        found = [m for points in here.values() for m in points]
        n = " / ".join(dict.fromkeys(count(m.n) for m in found))
        cells = [" / ".join(map(percent, points)) or "–" for points in here.values()]
        rows.append([name, n, *cells])
    return _or_nothing(rows)


def class_table(results: Results) -> Rows:
    """The accuracy of each class, clean and under the attack, a column a network."""
    of = by_class(results)
    rows = [["class", "n", *(f"{network or 'accuracy'}, % clean → attacked" for network in of)]]
    for name in dict.fromkeys(name for classes in of.values() for name in classes):
        pairs = [classes.get(name) for classes in of.values()]
        n = " / ".join(dict.fromkeys(count(pair[0].n) for pair in pairs if pair))
        rows.append([name, n, *("–" if pair is None else _fall(*pair) for pair in pairs)])
    return _or_nothing(rows)


def confused_table(results: Results) -> Rows:
    """The pairs of classes confused most by each network, clean and under the attack.

    Raises ValueError where the file of the matrices is damaged.
    """
    classes, found = confusions(results, results.folder)
    rows = [["network", "pictures", "true class", "taken for", "of the class, %", "count"]]
    most = PAIRS if len(found) <= FEW else PAIRS // 2
    for one in found:
        for kind in KINDS:
            for pair in most_confused(one, kind, classes, most):
                share = number(100 * pair.count / pair.n, 1)
                of = f"{count(pair.count)} of {count(pair.n)}"
                rows.append([one.network or "the net", kind, pair.true, pair.said, share, of])
    return _or_nothing(rows)


def corruption_table(results: Results) -> Rows:
    """Mean accuracies under corruptions, a column a network, and the differences to the first."""
    means = list(results.select("mean corruption accuracy"))
    gains = list(results.select("mean corruption accuracy gain"))
    networks = list(dict.fromkeys(m.subject for m in means))
    pairs = list(dict.fromkeys(m.subject for m in gains))
    heads = [f"{network or 'accuracy'}, %" for network in networks]
    rows = [["mean over", "n", *heads, *(f"{pair}, points" for pair in pairs)]]
    for of in dict.fromkeys(str(m.setting.get("of")) for m in means):
        here = {m.subject: m for m in [*means, *gains] if m.setting.get("of") == of}
        n = " / ".join(dict.fromkeys(count(m.n) for m in here.values()))
        cells = [value_of(here[s]) if s in here else "–" for s in [*networks, *pairs]]
        rows.append([of, n, *cells])
    return _or_nothing(rows)


def cell_table(results: Results) -> Rows:
    """Accuracy under each corruption, a row a network and a column a severity."""
    found = corruptions(results)
    if found is None:
        return []
    severities = [f"severity {severity}, %" for severity in found.severities]
    rows = [["corruption", "network", *severities]]
    for family, names in found.groups:
        for name in names:
            for network in found.networks:
                own = [found.cells.get((network, name, s)) for s in found.severities]
                cells = ["–" if m is None else number(100 * m.value, 1) for m in own]
                rows.append([f"{name} ({family})", network or "the net", *cells])
    return rows


def attacked_by(results: Results) -> str:
    """The attack under which classes and pictures are shown; empty where it is not said."""
    said = [attack(m.setting) for m in results.select("class accuracy", kind="adversarial")]
    return next(filter(None, said), "")


def _fall(clean: Measurement, adversarial: Measurement) -> str:
    return f"{number(100 * clean.value, 1)} → {number(100 * adversarial.value, 1)}"


def _or_nothing(rows: Rows) -> Rows:
    return rows if len(rows) > 1 else []
