"""The one schema of what a verb measured; every page and table is drawn from it alone.

`results.json` in a run folder holds a `Results`: measurements, each with its full setting,
and artifacts, files beside it with their hashes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hardy.files import sha256, write_json

SCHEMA = 1
FILE_NAME = "results.json"

Scalar = str | float | int | bool | None


@dataclass(frozen=True)
class Measurement:
    """One number and all that is needed to measure it again.

    quantity: what is measured ('clean accuracy', 'robust accuracy', 'mrc', …).
    value: accuracies and their differences are fractions, never percent.
    subject: of which net or module; empty where the run has only one.
    split, n: on which examples and how many of them.
    interval: the 95 % interval, or None, and then `no_interval` says why.
    setting: norm, eps, steps, restarts, seed, dtype … as far as they apply.

    Raises ValueError where the value or interval is not finite, or the reason is missing.
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
        if not math.isfinite(self.value):
            raise ValueError(f"{where} is {self.value}: not a result")
        if self.interval is None and not self.no_interval:
            raise ValueError(f"{where} has neither an interval nor the reason why there is none")
        if self.interval is not None and not all(map(math.isfinite, self.interval)):
            raise ValueError(f"{where} has the interval {self.interval}: not a result")


@dataclass(frozen=True)
class Artifact:
    """A file of the run folder: its path relative to the folder, what it is, its SHA-256."""

    path: str
    kind: str
    sha256: str


@dataclass
class Results:
    """What one verb measured and wrote.

    facts: short statements about the run for the page (data, model, module chosen, …).
    notes: whole sentences that a reader must know before believing the numbers.
    """

    verb: str
    facts: dict[str, Scalar] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
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
        """Write results.json into the run folder, whole or not at all."""
        assert self.folder is not None, "results need a run folder"
        content = {name: value for name, value in asdict(self).items() if name != "folder"}
        path = self.folder / FILE_NAME
        write_json(path, content)
        return path


def read(folder: Path) -> Results:
    """The results of a run folder.

    Raises ValueError, in one line, where there are none, where they are damaged, or where
    another version of hardy wrote them.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise ValueError(f"no {FILE_NAME} in {folder}: give the folder of a finished run")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(
                f"{path} has schema {content['schema']}, this hardy reads {SCHEMA}: "
                "run the verb again, or use the hardy that wrote it"
            )
        measurements = [
            Measurement(**{**m, "interval": tuple(m["interval"]) if m["interval"] else None})
            for m in content.pop("measurements")
        ]
        artifacts = [Artifact(**a) for a in content.pop("artifacts")]
        return Results(**content, measurements=measurements, artifacts=artifacts, folder=folder)
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a results file of hardy ({error!r})") from None
