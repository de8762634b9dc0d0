"""One page that tells a run: self-contained, no script, no request, the same bytes every time."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardy.evaluation.results import Results, read
from hardy.files import write_text, written_whole
from hardy.reporting import tables
from hardy.reporting.captions import FIGURES
from hardy.reporting.equal_clean import without_interval
from hardy.reporting.evaluation_tables import evaluation_tables
from hardy.reporting.exported import TITLE as EXPORTED_TITLE
from hardy.reporting.exported import exported_caption, exported_table
from hardy.reporting.features import TITLE as FEATURES_TITLE
from hardy.reporting.features import features_caption, features_table
from hardy.reporting.findings import boxes, evidence, quiet
from hardy.reporting.headline import headline
from hardy.reporting.ligs import (
    MEANING,
    differences,
    ligs_class_table,
    ligs_table,
)
from hardy.reporting.ligs import TITLE as LIGS_TITLE
from hardy.reporting.seeds import TITLE as SEEDS_TITLE
from hardy.reporting.seeds import seeds_table
from hardy.reporting.sizes import size_caption, size_table
from hardy.reporting.style import png, svg
from hardy.reporting.templating import templates
from hardy.reporting.transfer import TITLE as TRANSFER_TITLE
from hardy.reporting.transfer import best_surrogates, gain_table, transfer_table
from hardy.reporting.why import HEADER, numbers, why

FILE_NAME = "report.html"
TABLES = "tables.md"
APART = ("environment", "command")
SHOWN_BY = {  # the figures that a file is for
    "pictures": {"pictures"},
    "broken pictures": {"broken"},
    "feature pictures": {"features"},
    "confusion": {"confusion", "classes"},
    "ligs values": {"ligs"},
}
MOST_ROWS = 1000  # of all measurements; a page of more is slow to open


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
    environment = templates(autoescape=True)
    arguments = {name: value for name, value in config.items() if name not in APART}
    lost = [
        a.path
        for a in results.artifacts
        if a.kind in SHOWN_BY and not SHOWN_BY[a.kind] & drawings.keys()
    ]
    equal, stages, radii, classes, confused, corrupted, cells = evaluation_tables(results).values()
    everything = tables.measurement_table(results.measurements)
    told = why(results)
    return environment.get_template("page.html.j2").render(
        results=results,
        title=_title(results),
        headline=headline(results),
        findings=boxes(results),
        evidence=evidence,
        quiet=quiet(results),
        drawings=drawings,
        why=told,
        numbers=numbers(results, told) if told else [],
        number_heads=HEADER,
        outcome=tables.table(results),
        reasons=tables.missing_intervals(results),
        sizes=size_table(results),
        size_caption=size_caption(results),
        exported=exported_table(results),
        exported_title=EXPORTED_TITLE,
        exported_caption=exported_caption(results),
        features=features_table(results),
        features_title=FEATURES_TITLE,
        features_caption=features_caption(results),
        candidates=tables.candidate_table(results),
        modules=tables.module_table(results),
        ligs=ligs_table(results),
        ligs_title=LIGS_TITLE,
        ligs_classes=ligs_class_table(results),
        # What is told of a difference on a page of its own is told once.
        linear=[*MEANING[:1], *([] if told else differences(results)), *MEANING[1:]],
        transfers=transfer_table(results),
        transfer_title=TRANSFER_TITLE,
        surrogates=best_surrogates(results),
        compared=gain_table(results),
        equal=equal,
        unread=without_interval(results),
        stages=stages,
        radii=radii,
        classes=classes,
        confused=confused,
        corrupted=corrupted,
        cells=cells,
        seeds=seeds_table(results),
        seeds_title=SEEDS_TITLE,
        others=tables.other_table(results),
        everything=everything[: MOST_ROWS + 1],
        lost_files=lost,
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
