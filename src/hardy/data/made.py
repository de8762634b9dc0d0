"""What a set that was computed from another says of itself, in its own file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hardy.data.raw import Raw

PROVENANCE = "provenance.json"  # beside the splits of a folder
SOURCES = ("source_index", "source_label")  # of an .npz: which picture each was made from

_NEEDED = {"set": str, "data": str, "weights": dict, "label_shift": int | None}
KIND = "hardy features"


def read_provenance(text: str, where: str) -> dict[str, Any]:
    """The provenance that `hardy features` wrote. Raises ValueError, naming `where`, for a text
    that is none."""
    try:
        made = json.loads(text)
    except (ValueError, RecursionError):
        made = None
    if (
        not isinstance(made, dict)
        or made.get("kind") != KIND
        or not all(key in made and isinstance(made[key], kind) for key, kind in _NEEDED.items())
    ):
        raise ValueError(
            f"{where} holds no provenance of {KIND}: take it away, or write the set anew"
        )
    return made


def as_made(raw: Raw, text: str, where: str) -> Raw:
    """The same set with its provenance; normalisation and mirroring are those of the set that it
    was computed from. Raises ValueError as `read_provenance`."""
    made = read_provenance(text, where)
    usual, flips = str(made.get("normalization", raw.normalization)), made.get("flips", raw.flips)
    return replace(raw, made=json.dumps(made), normalization=usual, flips=flips)


def made_of(provenance: Mapping[str, str | int | float]) -> dict[str, Any] | None:
    """How a data set was computed, by its provenance; None where it was not."""
    return json.loads(str(provenance["made"])) if "made" in provenance else None


def said_of(made: Mapping[str, Any]) -> str:
    """It in a line, without the paths of a machine: 'd_rand of cifar10 …'."""
    weights = ", ".join(f"{role} {mark}" for role, mark in made["weights"].items())
    return f"{made['set']} of {made['data']} ({made.get('content_hash', '?')}) by {weights}"
