"""A set of features made again from its provenance alone: the same arguments, networks and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hardy import config
from hardy.data.made import PROVENANCE, read_provenance
from hardy.data.splits import DataSet
from hardy.verbs.asked.arguments import check

# What a provenance holds of the arguments; with the networks and the data it gives the set again.
SETTINGS = (
    *("set", "head", "inversion_steps", "inversion_step_size", "norm", "eps", "steps"),
    *("step_size", "format", "seed", "precision", "batch_size", "limit", "val_fraction"),
    *("image_size", "channels", "image_column", "label_column"),
)


def known_of(path: Path) -> dict[str, Any]:
    """The provenance of a file, or of the run folder that holds it. Raises ValueError where there
    is none, or one of other settings than this version has."""
    path = path / PROVENANCE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"--provenance: there is no {path}: give a provenance.json")
    known = read_provenance(path.read_text(encoding="utf-8", errors="replace"), str(path))
    if not isinstance(known.get("settings"), dict) or {*SETTINGS} != known["settings"].keys():
        raise ValueError(f"{path} is of another version of hardy, {known.get('version')}: use that")
    return known


def again(given: config.Features, known: Mapping[str, Any]) -> config.Features:
    """The arguments that a provenance tells of. Raises ValueError where one was given beside it."""
    usual = {f.name: f.default for f in fields(config.Features)}
    for name in SETTINGS:
        if getattr(given, name) != usual[name]:
            raise ValueError(
                f"--{name.replace('_', '-')} stands in --provenance: leave it out, or make a set "
                "of its own"
            )
    settings = dict(known["settings"])
    if given.data == usual["data"]:
        if known["spec"] is None:
            raise ValueError(
                f"the set was made of {known['data']}, which came from Python: give it as data"
            )
        settings["data"] = known["spec"]
    asked = replace(given, **settings)
    check(asked)
    if asked.set == "conflicting" and asked.robust is None:
        raise ValueError("--provenance is of a conflicting set: give its --robust too")
    return asked


def must_match(data: DataSet, mine: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raises ValueError where the pictures, or the networks that `mine` names, are not those of the
    provenance."""
    found = data.provenance["content_hash"]
    if found != known["data_hash"]:
        raise ValueError(
            f"the set was made of {known['data']} with the content {known['data_hash']}, and "
            f"{data.name} has {found}: give the same pictures by --data and --data-root"
        )
    for role, mark in known["weights"].items():
        if mine["weights"].get(role) != mark or mine["networks"][role] != known["networks"][role]:
            raise ValueError(
                f"the set was made with other weights of the {role} ({mark}, not "
                f"{mine['weights'].get(role)}): give the same file"
            )
