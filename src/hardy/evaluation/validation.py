"""What results must hold to be believed, checked whenever they are written or read.

Works on the plain form that stands in results.json: objects, lists and scalars.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

Kinds = tuple[type, ...]

NUMBER: Kinds = (int, float)
SCALAR: Kinds = (str, int, float, bool, type(None))
RESULTS: dict[str, Kinds] = {
    "schema": (int,),
    "verb": (str,),
    "facts": (dict,),
    "notes": (list,),
    "measurements": (list,),
    "artifacts": (list,),
    "findings": (list,),
}
MEASUREMENT: dict[str, Kinds] = {
    "quantity": (str,),
    "value": NUMBER,
    "split": (str,),
    "n": (int,),
    "subject": (str,),
    "interval": (list, tuple, type(None)),
    "no_interval": (str,),
    "setting": (dict,),
}
ARTIFACT: dict[str, Kinds] = {"path": (str,), "kind": (str,), "sha256": (str,)}
FINDING: dict[str, Kinds] = {
    "check": (str,),
    "grade": (str,),
    "sentence": (str,),
    "subject": (str,),
    "evidence": (dict,),
}
GRADES = ("mild", "serious", "fatal")
# Fractions that are not called accuracies.
SHARES = ("teacher fooled", "same predictions", "targets reached", "transfer success")
SHARES += ("transfer success on common pictures",)
COSINES = ("ligs", "class ligs")  # means of them
ATTACKED = ("attack", "norm", "eps", "seed", "dtype")  # what a robust accuracy must say


def is_difference(quantity: str) -> bool:
    """Whether it is a difference of accuracies, or of shares: a fraction from −1 to 1."""
    return quantity.endswith(("accuracy gain", "accuracy drop", "success gain"))


def is_accuracy(quantity: str) -> bool:
    """Whether it is an accuracy, of whatever, or another share: a fraction from 0 to 1."""
    return quantity in SHARES or ("accuracy" in quantity and not is_difference(quantity))


def bounds_of(quantity: str) -> tuple[float, float] | None:
    """Between which numbers a quantity always lies; None where there is no such limit."""
    if is_difference(quantity):
        return (-1, 1)
    if quantity in COSINES:
        return (-1, 1)
    if quantity == "ligs gain":
        return (-2, 2)
    return (0, 1) if is_accuracy(quantity) else None


def check(content: object) -> None:
    """Raise ValueError, in one line that names the entry, where results are not whole: a field
    that is missing, unknown or of another type, a number that is not finite or no fraction where
    it must be one, an interval that is neither there nor explained, a robust accuracy that does
    not say its attack, a path that leaves the run folder, the same measurement twice.
    """
    whole = _typed("the whole", content, RESULTS)
    _scalars("facts", whole["facts"])
    for i, note in enumerate(whole["notes"]):
        if not isinstance(note, str):
            raise ValueError(f"note {i + 1} is {_said(note)}, not text")
    for i, entry in enumerate(whole["measurements"]):
        _measurement(f"measurement {i + 1}", entry)
    for i, entry in enumerate(whole["artifacts"]):
        _artifact(f"artifact {i + 1}", entry)
    for i, entry in enumerate(whole["findings"]):
        _finding(f"finding {i + 1}", entry)
    _once("measurement", map(_identity, whole["measurements"]))
    _once("artifact", (entry["path"] for entry in whole["artifacts"]))


def check_number(
    where: str, value: float, interval: Sequence[float] | None, no_interval: str
) -> None:
    """Raise ValueError where the value is not finite, or the interval is neither there, from
    low to high, nor explained."""
    if not math.isfinite(value):
        raise ValueError(f"{where} is {value}: not a result")
    if interval is None and not no_interval:
        raise ValueError(f"{where} has neither an interval nor the reason why there is none")
    if interval is None:
        return
    if no_interval:
        raise ValueError(f"{where} has an interval and a reason why there is none")
    numbers = [end for end in interval if _is(end, NUMBER) and math.isfinite(end)]
    if len(interval) != 2 or len(numbers) != 2 or numbers[0] > numbers[1]:
        raise ValueError(f"{where} has the interval {_said(interval)}: not a result")


def _measurement(where: str, entry: object) -> None:
    m = _typed(where, entry, MEASUREMENT)
    quantity, value = m["quantity"], m["value"]
    where = _line(f"{where}, {quantity} of {m['subject'] or 'the run'},")
    if not quantity or not m["split"]:
        raise ValueError(f"{where} lacks its quantity or split")
    if m["n"] < 1:
        raise ValueError(f"{where} is of {m['n']} examples: not a result")
    check_number(where, value, m["interval"], m["no_interval"])
    _scalars(f"{where} setting", m["setting"])
    of = str(m["setting"].get("of")) if quantity == "mean over seeds" else quantity
    low, high = bounds_of(of) or (-math.inf, math.inf)
    for end in (value, *(m["interval"] or ())):
        if not low <= end <= high:
            kind = "number" if of.endswith("ligs gain") or of in COSINES else "fraction"
            raise ValueError(f"{where} is {end:g}, not a {kind} from {low} to {high}")
    attacked = of.startswith(("robust accuracy", "transfer success"))
    if attacked and of != "robust accuracy drop":
        missing = [name for name in ATTACKED if m["setting"].get(name) is None]
        if missing:
            raise ValueError(f"{where} does not say its {' and '.join(missing)}")


def _artifact(where: str, entry: object) -> None:
    found = _typed(where, entry, ARTIFACT)
    path = found["path"]
    # A page is drawn on another machine too: both ways of writing a path must stay inside.
    ways = (PurePosixPath(path), PureWindowsPath(path))
    if not path or any(p.is_absolute() or p.drive or p.root or ".." in p.parts for p in ways):
        raise ValueError(f"{where} has the path {_said(path)}: it must lie in the run folder")
    if not found["kind"] or not re.fullmatch("[0-9a-f]{64}", found["sha256"]):
        raise ValueError(f"{where}, {_said(path)}, lacks its kind or its SHA-256")


def _finding(where: str, entry: object) -> None:
    found = _typed(where, entry, FINDING)
    if found["grade"] not in GRADES:
        raise ValueError(f"{where} is {_said(found['grade'])}, not {' or '.join(GRADES)}")
    if not found["check"] or not found["sentence"]:
        raise ValueError(f"{where} lacks its check or its sentence")
    _scalars(f"{where} evidence", found["evidence"])


def _typed(where: str, entry: object, expected: Mapping[str, Kinds]) -> dict[str, Any]:
    """The entry, an object of just these fields with these types."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is {_said(entry)}, not an object")
    if missing := [name for name in expected if name not in entry]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    for name, value in entry.items():
        if name not in expected:
            raise ValueError(f"{where} has {_said(name)}, which is no field of it")
        if not _is(value, expected[name]):
            raise ValueError(f"{where}: {name} is {_said(value)}, of another type")
    return entry


def _scalars(where: str, setting: Mapping[object, object]) -> None:
    for name, value in setting.items():
        if not isinstance(name, str) or not _is(value, SCALAR):
            raise ValueError(f"{where}: {_said(name)} is {_said(value)}, not a text or number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where}: {_said(name)} is {value}, not finite")


def _is(value: object, kinds: Kinds) -> bool:
    # True is an int to Python, but no count and no measured value.
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _identity(m: Mapping[str, Any]) -> str:
    setting = ", ".join(f"{name}={m['setting'][name]!r}" for name in sorted(m["setting"]))
    what = f"{m['quantity']} of {m['subject'] or 'the run'} on {m['split']}"
    return f"{what} ({setting})" if setting else what


def _once(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the {kind} {_line(name)} stands there twice")
        seen.add(name)


def _said(value: object) -> str:
    text = _line(repr(value))
    return text if len(text) <= 60 else text[:59] + "…"


def _line(text: str) -> str:
    return " ".join(text.split())
