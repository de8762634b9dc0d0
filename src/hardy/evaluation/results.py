"""The one schema of what a verb measured; every page and table is drawn from it alone.

`results.json` in a run folder holds a `Results`: measurements, each with its full setting,
artifacts, files beside it with their hashes, and what checks found before an attack. It is
valid whenever it is written or read (`evaluation.validation`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from hardy.evaluation.validation import GRADES, check, check_number
from hardy.evaluation.validation import bounds_of as bounds_of
from hardy.evaluation.validation import is_accuracy as is_accuracy
from hardy.evaluation.validation import is_difference as is_difference
from hardy.files import sha256, write_json

SCHEMA = 2
FILE_NAME = "results.json"

Scalar = str | float | int | bool | None
Grade = Literal["mild", "serious", "fatal"]


@dataclass(frozen=True)
class Measurement:
    """One number and all that is needed to measure it again.

    quantity: what is measured ('clean accuracy', 'robust accuracy', 'mrc', …).
    value: accuracies and their differences are fractions, never percent.
    subject: of which net or module; empty where the run has only one.
    split, n: on which examples and how many of them.
    interval: the 95 % interval, or None, and then `no_interval` says why.
    setting: norm, eps, steps, restarts, seed, dtype … as far as they apply.

    Raises ValueError where the value or interval is not finite, or the reason is missing. The
    rest is checked when it is written: a robust accuracy must say attack, norm, eps, seed, dtype.
    """

    quantity: str
    value: float
    split: str
    n: int
    subject: str = ""
    interval: tuple[float, float] | None = None
    no_interval: str = ""
    setting: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"{self.quantity} of {self.subject or 'the run'}"
        check_number(where, self.value, self.interval, self.no_interval)

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Measurement:
        """The measurement that JSON has kept, whose intervals are lists."""
        return cls(**{**kept, "interval": tuple(kept["interval"]) if kept["interval"] else None})


@dataclass(frozen=True)
class Artifact:
    """A file of the run folder: its path relative to the folder, what it is, its SHA-256."""

    path: str
    kind: str
    sha256: str


@dataclass(frozen=True)
class Finding:
    """What a check before the attack found that a reader must know before a robust accuracy
    is believed.

    check: its name ('zero gradients'). grade: 'mild' (read with care), 'serious' (the figure
    is in doubt) or 'fatal' (the figure means nothing). sentence: what was seen and
    what to do, for the reader. subject: which net. evidence: the numbers it rests on.
    """

    check: str
    grade: Grade
    sentence: str
    subject: str = ""
    evidence: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.grade not in GRADES:
            raise ValueError(f"a finding is {' or '.join(GRADES)}, not {self.grade!r}")


@dataclass
class Results:
    """What one verb measured and wrote.

    facts: short statements about the run for the page (data, model, module chosen, …).
    notes: whole sentences that a reader must know before believing the numbers.
    findings: what the checks before an attack found, graded.
    """

    verb: str
    facts: dict[str, Scalar] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    schema: int = SCHEMA
    folder: Path | None = None

    def select(self, quantity: str, **wanted: Scalar) -> Iterator[Measurement]:
        """The measurements of a quantity whose fields or settings equal those given."""
        own = {f.name for f in fields(Measurement)}
        for m in self.measurements:
            values = {**m.setting, **{name: getattr(m, name) for name in own & wanted.keys()}}
            if m.quantity == quantity and all(values.get(k) == v for k, v in wanted.items()):
                yield m

    def one(self, quantity: str, **wanted: Scalar) -> Measurement:
        """The only measurement of that kind; ValueError where there is none or several."""
        found = list(self.select(quantity, **wanted))
        if len(found) != 1:
            raise ValueError(f"expected one {quantity} with {wanted}, found {len(found)}")
        return found[0]

    def add_artifact(self, path: Path, kind: str) -> None:
        """Note a file of the run folder, replacing an older note of the same path."""
        assert self.folder is not None, "an artifact needs a run folder"
        relative = path.relative_to(self.folder).as_posix()
        self.artifacts = [a for a in self.artifacts if a.path != relative]
        self.artifacts.append(Artifact(relative, kind, sha256(path)))

    def write(self) -> Path:
        """Write results.json into the run folder, whole or not at all.

        Raises ValueError, naming the entry, where something is no result.
        """
        assert self.folder is not None, "results need a run folder"
        content = {name: value for name, value in asdict(self).items() if name != "folder"}
        path = self.folder / FILE_NAME
        try:
            check(content)
        except ValueError as error:
            raise ValueError(f"{path} is not written: {error}") from None
        write_json(path, content)
        return path


def read(folder: Path) -> Results:
    """The results of a run folder.

    Raises ValueError, in one line, where there are none, where they are damaged, or where
    another version of hardy wrote them. Those of schema 1 are read as well.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise ValueError(f"no {FILE_NAME} in {folder}: give the folder of a finished run")
    try:
        content = _upgraded(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a results file of hardy ({error!r})") from None
    if isinstance(content, dict) and content.get("schema", SCHEMA) != SCHEMA:
        raise ValueError(
            f"{path} has schema {content['schema']}, this hardy reads {SCHEMA}: "
            "run the verb again, or use the hardy that wrote it"
        )
    try:
        check(content)
    except ValueError as error:
        raise ValueError(f"{path} is not a results file of hardy: {error}") from None
    parts = {
        "measurements": [Measurement.of(m) for m in content["measurements"]],
        "artifacts": [Artifact(**a) for a in content["artifacts"]],
        "findings": [Finding(**f) for f in content["findings"]],
    }
    return Results(**{**content, **parts}, folder=folder)


def _upgraded(content: Any) -> Any:
    """Schema 1 is schema 2 but for what checks before an attack found."""
    if isinstance(content, dict) and content.get("schema") == 1:
        return {**content, "schema": SCHEMA, "findings": []}
    return content
