"""One page that tells a run: self-contained, no script, no request, the same bytes every time."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from hardy.evaluation.results import Results, read
from hardy.files import write_text, written_whole
from hardy.reporting import figures, tables
from hardy.reporting.headline import headline
from hardy.reporting.style import png, svg
from hardy.reporting.wording import count

FILE_NAME = "report.html"
TABLES = "tables.md"
APART = ("environment", "command")


@dataclass(frozen=True)
class Drawing:
    """A figure on the page; `alt` says in words what a reader who cannot see it would miss."""

    title: str
    caption: str
    alt: str
    source: str


def write_report(folder: Path) -> Path:
    """Draw the figures of a finished run into figures/ and write report.html, whole, and its
    tables as Markdown, for a paper or a pull request, into tables.md.

    The figures are noted in results.json. Nothing but results.json, config.json and the
    pictures is read. Returns the path of the page; raises ValueError, in one line, where
    the results are missing, damaged or of another schema.
    """
    results = read(folder)
    config = _config(folder)
    results.artifacts = [a for a in results.artifacts if a.kind != "figure"]
    drawings: dict[str, Drawing] = {}
    # All are drawn before one is written: what is damaged leaves the folder as it was.
    drawn = {name: draw(results, folder) for name, (draw, _) in FIGURES.items()}
    for name, figure in drawn.items():
        if figure is None:
            continue
        vector, raster = svg(figure), png(figure)
        for suffix, content in (("svg", vector), ("png", raster)):
            path = folder / "figures" / f"{name}.{suffix}"
            with written_whole(path) as part:
                part.write_bytes(content)
            results.add_artifact(path, "figure")
        source = f"data:image/svg+xml;base64,{base64.b64encode(vector).decode()}"
        drawings[name] = Drawing(*FIGURES[name][1](results), source)
    results.write()
    page = folder / FILE_NAME
    write_text(page, render(results, config, drawings))
    write_text(folder / TABLES, tables.markdown(results))
    return page


def render(results: Results, config: dict[str, Any], drawings: dict[str, Drawing]) -> str:
    """The page as text. Everything that is not the template's own is escaped."""
    environment = Environment(
        loader=PackageLoader("hardy.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    arguments = {name: value for name, value in config.items() if name not in APART}
    lost = [
        a.path for a in results.artifacts if a.kind == "pictures" and "pictures" not in drawings
    ]
    return environment.get_template("page.html.j2").render(
        results=results,
        title=_title(results),
        headline=headline(results),
        drawings=drawings,
        outcome=tables.table(results),
        reasons=tables.missing_intervals(results),
        candidates=tables.candidate_table(results),
        modules=tables.module_table(results),
        others=tables.other_table(results),
        everything=tables.measurement_table(results.measurements),
        lost_pictures=lost,
        setting=list(flat(arguments)),
        versions=list(flat(config.get("environment") or {})),
        command=_command(config.get("command")),
        python=as_python(results.verb, arguments),
    )


def flat(nested: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested setting as (dotted name, value as text), in its own order."""
    rows: list[tuple[str, str]] = []
    for name, value in nested.items():
        if isinstance(value, dict) and value:
            rows += flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append((f"{prefix}{name}", text))
    return rows


def as_python(verb: str, arguments: dict[str, Any]) -> str:
    """The call of the public function of the same name and arguments; empty without arguments."""
    if not arguments:
        return ""
    lines = (f"    {name}={value!r},\n" for name, value in arguments.items())
    return f"import hardy\n\nhardy.{verb.replace('-', '_')}(\n{''.join(lines)})"


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not JSON ({error}): restore it or run the verb again"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object of arguments, not {type(content).__name__}")
    return content


def _command(command: Any) -> str:
    return shlex.join(map(str, command)) if isinstance(command, list) else str(command or "")


def _title(results: Results) -> str:
    of = [str(results.facts[name]) for name in ("model", "data") if results.facts.get(name)]
    return " on ".join(of) or f"hardy {results.verb}"


def _about_mrc(results: Results) -> tuple[str, str, str]:
    values = {m.subject: m.value for m in results.select("mrc")}
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    marked = "; what was fine-tuned is orange" if tables.chosen_modules(results) else ""
    bounded = any(m.interval for m in results.select("mrc"))
    lines = "; dark lines are 95 % intervals" if bounded else ""
    return (
        "Robust criticality of every module",
        "How much the robust loss (left) and robust accuracy (right) can suffer when one module's "
        "weights move by a bounded, worst-case step. Low is harmless to change; it does not say "
        f"that changing it helps. In network order{marked}{lines}.",
        f"Bars of MRC for {len(values)} modules, from {values[low]:.3g} nats ({low}) to "
        f"{values[high]:.3g} nats ({high}). The table below holds all values.",
    )


def _about_potential(results: Results) -> tuple[str, str, str]:
    found = {m.subject: m.value for m in results.select("clean potential")}
    top = max(found, key=found.__getitem__)
    return (
        "Where there is something to gain",
        "To the right there is clean accuracy to gain, further down there is little robustness "
        "to lose. Names are shown for the extreme modules, where there is room.",
        f"MRC against clean potential for {len(found)} modules; {top} has the highest "
        f"potential, {found[top]:.3g}. The table of modules holds all values.",
    )


def _about_tradeoff(results: Results) -> tuple[str, str, str]:
    curves = figures.candidates(results)
    chosen = [(c.label, p.alpha) for c in curves for p in c.points if p.chosen]
    choice = "".join(f" Chosen: {label} at α = {alpha:g}." for label, alpha in chosen)
    return (
        "What each step towards the fine-tuned weights buys",
        "Each curve runs from the start (α = 0, small marks) to the fine-tuned weights (α = 1, "
        f"large marks). Measured on {curves[0].split}, {count(curves[0].points[0].clean.n)} "
        "pictures, the same for all points: so differences between points are firmer than the "
        "interval of one point. Whatever lies below the dashed line breaks the rule.",
        f"Robust against clean accuracy for {len(curves)} candidates along α.{choice}",
    )


def _about_training(results: Results) -> tuple[str, str, str]:
    epochs = [m for m in results.measurements if "epoch" in m.setting]
    runs = list(dict.fromkeys(m.subject for m in epochs if m.subject))
    splits = dict.fromkeys(m.split for m in epochs if "accuracy" in m.quantity)
    return (
        "Training",
        f"By epoch; accuracies on {' and '.join(splits) or 'no split'}"
        f"{' (train dotted)' if 'train' in splits else ''}. A ring marks the epoch that was kept.",
        f"Curves of loss and accuracy by epoch{' for ' if runs else ''}{', '.join(runs)}.",
    )


def _about_pictures(_: Results) -> tuple[str, str, str]:
    return (
        "Pictures",
        f"The first {figures.PICTURES_SHOWN} pictures stored, not selected ones. Above each its "
        "true class; below it what the net said (before and after the run where both are "
        "known), ✓ right, ✗ wrong. "
        f"The difference is amplified {figures.AMPLIFIED} times around grey.",
        "Clean pictures, what the attack added, and the attacked pictures, with the classes "
        "that the nets gave them.",
    )


Draw = Callable[[Results, Path], Figure | None]
Describe = Callable[[Results], tuple[str, str, str]]

FIGURES: dict[str, tuple[Draw, Describe]] = {
    "tradeoff": (lambda results, _: figures.tradeoff(results), _about_tradeoff),
    "mrc": (lambda results, _: figures.mrc_bars(results), _about_mrc),
    "potential": (lambda results, _: figures.potential_scatter(results), _about_potential),
    "training": (lambda results, _: figures.training_curves(results), _about_training),
    "pictures": (figures.pictures, _about_pictures),
}
