"""The tables of a run as rows of text; the first row is the header.

An empty list means that the results hold nothing for that table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.candidates import best, candidates, start_of, tolerance
from hardy.reporting.equal_clean import AT_EQUAL
from hardy.reporting.evaluation_tables import evaluation_tables
from hardy.reporting.exported import EXPORTED, exported_table
from hardy.reporting.exported import TITLE as EXPORTED_TITLE
from hardy.reporting.features import MADE, features_table
from hardy.reporting.features import TITLE as FEATURES_TITLE
from hardy.reporting.findings import finding_lines
from hardy.reporting.headline import headline
from hardy.reporting.ligs import CLASSES, OF_LIGS, ligs_class_table, ligs_table
from hardy.reporting.ligs import TITLE as LIGS_TITLE
from hardy.reporting.seeds import (
    CORRUPTED,
    GAINS,
    MEAN,
    WHOLE,
    is_gain,
    means_by_name,
    seeds_table,
    stands_first,
)
from hardy.reporting.seeds import TITLE as SEEDS_TITLE
from hardy.reporting.sizes import SIZES, TITLE, size_table
from hardy.reporting.transfer import TITLE as TRANSFER_TITLE
from hardy.reporting.transfer import TRANSFERRED, transfer_table
from hardy.reporting.why import Sentence, why
from hardy.reporting.wording import (
    attack,
    count,
    number,
    percent,
    plain,
    points,
    value_of,
)

Rows = list[list[str]]

MODULE_COLUMNS: dict[str, tuple[str, Callable[[Measurement], str]]] = {
    "mrc": ("MRC, nats", plain),
    "robust accuracy drop": ("robust accuracy lost, points", points),
    "clean potential": ("clean potential", plain),
    "conflict": ("conflict, cosine", plain),
}
BOUND = "mrc bound"  # of a module that a race dropped
ELSEWHERE = {
    *WHOLE,
    *GAINS,
    *MODULE_COLUMNS,
    BOUND,
    *SIZES,
    *EXPORTED,
    *MADE,
    CORRUPTED,
    "train loss",
    MEAN,
    "robust accuracy so far",
    "robust accuracy at radius",
    "clean accuracy at alpha",
    "robust accuracy at alpha",
    AT_EQUAL,
    f"{AT_EQUAL} gain",
    "class accuracy",
    "corruption accuracy",
    *TRANSFERRED,
    *OF_LIGS,
}


def table(results: Results) -> Rows:
    """A row a network: subject, split, n, clean accuracy, robust accuracy by attack, mean
    accuracy under corruptions.

    Accuracies in percent, the last rows (differences to the first or the start) in points, with
    95 % intervals and, where it was tested, the p of the difference.
    """
    finals = [m for m in results.measurements if _is_row(m)]
    gains = [m for m in results.measurements if _is_gain(m)]
    columns = [_column(m) for m in [*finals, *gains]]
    attacks = dict.fromkeys(c for c in columns if c.startswith("robust"))
    heads = ["clean accuracy", *attacks, CORRUPTED]
    heads = [c for c in heads if any(_column(m) == c for m in finals)]
    if not heads:
        return []
    rows = [["subject", "split", "n", *(f"{head}, %" for head in heads)]]
    for own, name in ((finals, "{}"), (gains, "{} − start, points")):
        for subject, split in dict.fromkeys((m.subject, m.split) for m in own):
            here = [m for m in own if (m.subject, m.split) == (subject, split)]
            cells = [" / ".join(value_of(m) for m in here if _column(m) == c) for c in heads]
            n = " / ".join(dict.fromkeys(count(m.n) for m in here))
            # A comparison of two nets names both; RiFT's result is compared with its start.
            shown = "{}, points" if own is gains and " − " in subject else name
            rows.append(
                [shown.format(subject or results.verb), split, n, *(c or "–" for c in cells)]
            )
    return rows


def candidate_table(results: Results) -> Rows:
    """Each candidate at the α that the rule picks for it, against the start."""
    curves = candidates(results)
    start = start_of(curves)
    if start is None:
        return []
    floor = start.robust.value - tolerance(results, start)
    rows = [["candidate", "split", "α", "clean accuracy, %", "robust accuracy, %", "clean − start"]]
    rows.append(["start", start.clean.split, "0", percent(start.clean), percent(start.robust), "–"])
    for curve in curves:
        point = best(curve, floor)
        if point is None and curve.open:
            most = percent(max(curve.open, key=lambda m: m.value))
            rows.append([curve.label, curve.split, "none could win", f"at most {most}", "–", "–"])
            continue
        if point is None:
            rows.append([curve.label, curve.split, "none holds the rule", "–", "–", "–"])
            continue
        gain = number(100 * (point.clean.value - start.clean.value), signed=True)
        label = curve.label + (" (chosen)" if point.chosen else "")
        accuracies = [percent(point.clean), percent(point.robust)]
        rows.append([label, curve.split, f"{point.alpha:g}", *accuracies, gain])
    return rows


def module_table(results: Results) -> Rows:
    """Every module with its criticality and what else was measured of it, in network order, those
    last of which a race gave a lower bound alone; of several seeds the means."""
    measured = {
        q: {m.subject: m for m in results.select(q)} or means_by_name(results, q)
        for q in (*MODULE_COLUMNS, BOUND)
    }
    bounds = {n: m for n, m in measured.pop(BOUND).items() if n not in measured["mrc"]}
    measured["mrc"] |= bounds
    columns = [q for q in MODULE_COLUMNS if measured[q]]
    modules = list(dict.fromkeys(name for q in columns for name in measured[q]))
    if not modules:
        return []
    modules.sort(key=bounds.__contains__)
    marked = chosen_modules(results)
    weights = {name: _parameters(measured[q].get(name) for q in columns) for name in modules}
    sized = any(weights.values())
    rows = [["module", *(["weights"] if sized else []), *(MODULE_COLUMNS[q][0] for q in columns)]]
    for name in modules:
        cells = [weights[name]] if sized else []
        for q in columns:
            m = measured[q].get(name)
            shown = "–" if m is None else _unsigned(q, m)
            cells.append(f"≥ {shown}" if q == "mrc" and name in bounds else shown)
        rows.append([name + (" (chosen)" if name in marked else ""), *cells])
    return rows


def other_table(results: Results) -> Rows:
    """What no other table or figure has a place for."""
    others = (m for m in results.measurements if m.quantity not in ELSEWHERE)
    return measurement_table(m for m in others if "epoch" not in m.setting)  # a curve has those


def measurement_table(measurements: Iterable[Measurement]) -> Rows:
    """Measurements one a row, with their whole setting and the reason of a missing interval."""
    rows = [["quantity", "subject", "split", "n", "value", "setting"]]
    for m in measurements:
        setting = [f"{name}={value}" for name, value in m.setting.items()]
        if m.interval is None:
            setting.append(f"no interval: {m.no_interval}")
        cells = [m.quantity, m.subject, m.split, count(m.n), value_of(m), ", ".join(setting)]
        rows.append(cells)
    return rows if len(rows) > 1 else []


def missing_intervals(results: Results) -> list[str]:
    """Why numbers of the before/after table have no interval, each reason once."""
    shown = [m for m in results.measurements if _is_row(m) or m.quantity in GAINS]
    return list(dict.fromkeys(m.no_interval for m in shown if m.interval is None))


def markdown(results: Results) -> str:
    """The headline, the notes and the tables in Markdown, for docs/results."""
    parts = [escaped(headline(results))]
    said = [*map(_strong, finding_lines(results)), *map(escaped, results.notes)]
    parts += ["\n".join(f"- {line}" for line in said)] if said else []
    if told := why(results):
        parts += [_listed(title, sentences) for title, sentences in told.parts]
    for title, rows in (
        ("Before and after", table(results)),
        (TITLE, size_table(results)),
        (EXPORTED_TITLE, exported_table(results)),
        (FEATURES_TITLE, features_table(results)),
        ("Candidates", candidate_table(results)),
        ("Modules", module_table(results)),
        (LIGS_TITLE, ligs_table(results)),
        (CLASSES, ligs_class_table(results)),
        (TRANSFER_TITLE, transfer_table(results)),
        *evaluation_tables(results).items(),
        (SEEDS_TITLE, seeds_table(results)),
        ("Other measurements", other_table(results)),
    ):
        if rows:
            parts += [f"## {title}", markdown_table(rows)]
    return "\n\n".join(parts) + "\n"


def is_final(m: Measurement) -> bool:
    """Whether it is an accuracy of a whole net, not a point of a curve."""
    curve = "alpha" in m.setting or "epoch" in m.setting
    return m.quantity in ("clean accuracy", "robust accuracy") and not curve


def _is_row(m: Measurement) -> bool:
    """Whether it stands in a network's row of the first table."""
    if m.quantity == MEAN:
        return stands_first(m) and not is_gain(m)
    if m.quantity == CORRUPTED:
        return _of_all(m)
    return is_final(m) or m.quantity == "robust accuracy (reference)"


def _is_gain(m: Measurement) -> bool:
    """Whether it stands in a row of differences of the first table."""
    return (stands_first(m) and is_gain(m)) or (m.quantity in GAINS and _of_all(m))


def _of_all(m: Measurement) -> bool:
    """Whether a mean over corruptions is the one over the standard 15."""
    return CORRUPTED not in m.quantity or m.setting.get("of") == "standard 15"


def chosen_modules(results: Results) -> set[str]:
    """The modules that were fine-tuned: the fact 'module', which may name several."""
    return {name.strip() for name in str(results.facts.get("module") or "").split(",")} - {""}


def _column(m: Measurement) -> str:
    quantity = str(m.setting.get("of")) if m.quantity == MEAN else m.quantity
    if "robust" not in quantity:
        return CORRUPTED if "corruption" in quantity else "clean accuracy"
    against = attack(m.setting)
    return f"robust accuracy ({against})" if against else "robust accuracy"


def _unsigned(quantity: str, m: Measurement) -> str:
    if m.quantity == MEAN:
        return value_of(m).removeprefix("+")
    return percent(m) if quantity == "robust accuracy drop" else MODULE_COLUMNS[quantity][1](m)


def _parameters(measured: Iterable[Measurement | None]) -> str:
    for m in measured:
        size = m.setting.get("parameters") if m else None
        if isinstance(size, int):
            return count(size)
    return ""


def markdown_table(rows: Rows) -> str:
    """A table in Markdown; all columns but the first two hold numbers."""
    header, *body = (f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows)
    numbers = len(rows[0]) - 2
    return "\n".join([header, "|" + "---|" * 2 + "---:|" * numbers, *body])


def _listed(title: str, sentences: Iterable[Sentence]) -> str:
    lines = (f"- {escaped(sentence.text)}" for sentence in sentences)
    return "\n".join([f"## {title}", "", *lines])


def _strong(line: str) -> str:
    grade, _, rest = line.partition(": ")
    return f"**{grade}**: {escaped(rest)}"


def escaped(text: str) -> str:
    """A text as Markdown shows it, in one line: names come from data sets, and a class or module
    must not become a cell, a tag, a link or a picture."""
    for raw, safe in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("*", "\\*"), ("`", "\\`")):
        text = text.replace(raw, safe)
    # A bracket alone is an interval; what makes a link of it is what follows.
    for raw in ("](", "][", "]:"):
        text = text.replace(raw, f"]\\{raw[1]}")
    return " ".join(text.split())
