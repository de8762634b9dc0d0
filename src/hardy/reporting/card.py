"""The model card of a published network: Markdown, drawn from the results and from what the weights
say of themselves. Everything that comes from users is escaped."""

from __future__ import annotations

import json
import re
from typing import Any

from hardy.evaluation.results import Measurement, Results
from hardy.reporting import tables
from hardy.reporting.card_metadata import About, metadata, published
from hardy.reporting.findings import finding_lines
from hardy.reporting.headline import headline
from hardy.reporting.papers import papers
from hardy.reporting.templating import templates
from hardy.reporting.wording import attack, count, radius
from hardy.units import as_fraction

MOST_CLASSES = 100
# Of a run's arguments, those that a reader asks for first; the page has all.
SETTINGS = ("method", "seed", "epochs", "batch_size", "lr", "weight_decay", "augment", "average")
BY_NAME = {"digits", "mnist", "cifar10", "cifar100", "tiny-imagenet"}
IMPORT_PATH = re.compile(r"[\w.]+:[\w.]+")


def card(results: Results, about: About) -> str:
    """README.md of a repository, with its metadata."""
    environment = templates(autoescape=False)
    environment.filters["md"] = tables.escaped
    robust = [m for m in published(results) if m.quantity == "robust accuracy"]
    outcome = tables.table(results)
    data = str(results.facts.get("data", "its data"))
    shown, more = about.classes[:MOST_CLASSES], len(about.classes) - MOST_CLASSES
    text = environment.get_template("card.md.j2").render(
        about=about,
        metadata=metadata(results, about),
        headline=headline(results),
        findings=finding_lines(results),
        model=" ".join(str(about.architecture["model"]).replace("`", "").split()),
        classes=", ".join(shown) + (f" and {count(more)} more" if more > 0 else ""),
        threats=list(dict.fromkeys(map(_radius, robust))),
        attacks=[(attack(m.setting), count(m.n), m.split) for m in robust],
        table=tables.markdown_table(outcome) if outcome else "Nothing was measured.",
        reasons=tables.missing_intervals(results),
        notes=results.notes,
        data=data,
        facts=_facts(results, about),
        command=_fenced(about.setting.get("command")),
        flags=_flags(about, data, robust),
        keywords=_keywords(about),
        shape=f"(B, {about.architecture['in_channels']}, {_sides(about)})",
        papers=papers(results.verb, about.setting),
    )
    return text.encode(errors="replace").decode()


def _radius(m: Measurement) -> str:
    return radius(m.setting.get("norm"), m.setting.get("eps"))


def _facts(results: Results, about: About) -> list[tuple[str, str]]:
    """How the network came about, the run's own statements first."""
    versions = about.setting.get("environment")
    versions = versions if isinstance(versions, dict) else {}
    found = {"verb": results.verb, **results.facts}
    for name in SETTINGS:
        value = about.setting.get(name)
        if value is not None and name not in found:
            found[name.replace("_", " ")] = value
    found |= {
        f"version of {name}": versions[name] for name in ("hardy", "torch") if name in versions
    }
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in found.items()
    ]


def _flags(about: About, data: str, robust: list[Measurement]) -> str:
    """What `hardy evaluate` needs beside the name of the repository."""
    found = ["--data", data if data in BY_NAME else "folder:PATH"]
    if about.own_code:
        model = str(about.architecture["model"])
        found += ["--model", model if IMPORT_PATH.fullmatch(model) else "PACKAGE.MODULE:FUNCTION"]
    channels = about.architecture["in_channels"]
    for name, made in (("image_size", about.image_size), ("channels", channels)):
        # Pictures of folders come in any size and colour; the others where the run changed them.
        if made is not None and (data not in BY_NAME or about.setting.get(name) is not None):
            found += [f"--{name.replace('_', '-')}", str(made)]
    for m in robust[:1]:
        norm, eps = m.setting.get("norm"), m.setting.get("eps")
        if norm in ("linf", "l2") and isinstance(eps, int | float):
            found += ["--norm", str(norm), "--eps", as_fraction(eps)]
    return " ".join(found)


def _sides(about: About) -> str:
    return "H, W" if about.image_size is None else f"{about.image_size}, {about.image_size}"


def _keywords(about: About) -> str:
    if not about.own_code:
        return ""
    model = str(about.architecture["model"])
    return f', model="{model}"' if IMPORT_PATH.fullmatch(model) else ", model=net"


def _fenced(command: Any) -> str:
    """A command as a block of code that nothing in it can end."""
    if not isinstance(command, str) or not command:
        return ""
    longest = max((len(run) for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{command}\n{fence}"
