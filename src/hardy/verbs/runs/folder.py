"""The run folder: what was asked for, where it stands, what came out."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

import hardy
from hardy.console import say
from hardy.evaluation.results import Results, read
from hardy.evaluation.steps import Steps
from hardy.files import PARTS, clear_parts, write_json, write_text

CONFIG = "config.json"
LOG = "log.jsonl"
NOT_ASKED = {"out", "environment", "command"}  # in config.json beside what was asked for
CHANGEABLE = {"stream", "workers"}  # between a run and its resumption: no number hangs on them


class RunFolder:
    """An open run folder.

    Raises ValueError where the folder holds a run already and `resume` was not asked for,
    where there is nothing to resume, or where the run to resume was asked for differently.
    """

    writes = True

    def __init__(self, verb: str, config: Any) -> None:
        self.verb = verb
        asked = as_json(config)
        resume = asked.pop("resume", False)
        out = asked.pop("out", None)
        self.path = Path(out) if out else _next_free(verb)
        known = read_config(self.path)
        if resume:
            if out is None:
                raise ValueError("--resume needs --out: the folder of the run to go on with")
            if known is None:
                raise ValueError(
                    f"there is no run in {self.path} to go on with: leave --resume out to start one"
                )
            _must_equal(known, asked, self.path)
            clear_parts(self.path)
            return
        if known is not None or _occupied(self.path):
            raise ValueError(
                f"{self.path} is not empty: pass --resume to go on with the run in it, or "
                "another --out"
            )
        if out is None:
            say(f"run folder: {self.path}")
        started = Path(sys.argv[0])  # python -m hardy names the package's __main__
        ours = started.name == "hardy" or started.parts[-2:] == ("hardy", "__main__.py")
        command = ["hardy", *sys.argv[1:]] if ours else None
        content = {**asked, "out": str(self.path), "environment": _environment()}
        if command:
            content["command"] = shlex.join(command)
        try:
            clear_parts(self.path)
            write_json(self.path / CONFIG, content)
        except OSError as error:
            raise ValueError(
                f"--out {self.path} cannot be written ({error.strerror}): give another folder"
            ) from None

    @classmethod
    def joined(cls, verb: str, path: Path, *, writes: bool) -> RunFolder:
        """The folder that a process of a run has opened, for the others: they write only
        where `writes` says so."""
        folder = cls.__new__(cls)
        folder.verb, folder.path, folder.writes = verb, path, writes
        return folder

    def steps(self) -> Steps:
        """The finished steps of this run."""
        return Steps(self.path / "steps")

    def results(self) -> Results:
        """Empty results that will be written here."""
        return Results(self.verb, folder=self.path)

    def logged(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl, up to the first that cannot be read."""
        path, rows = self.path / LOG, []
        if not path.is_file():
            return rows
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def rewrite_log(self, rows: list[dict[str, Any]]) -> None:
        """Write log.jsonl whole."""
        if self.writes:
            write_text(self.path / LOG, "".join(json.dumps(row) + "\n" for row in rows))


def finish(results: Results) -> Results:
    """Write the results and the page drawn from them; the results as they now stand on disk."""
    results.write()
    assert results.folder is not None, "a run folder makes its results"
    write_report(results.folder)
    return read(results.folder)


def write_report(folder: Path) -> Path:
    """Draw the page. What it is drawn with takes half a second to import, and a verb's first step
    need not wait for that."""
    from hardy.reporting import page

    return page.write_report(folder)


def as_json(config: Any) -> dict[str, Any]:
    """A verb's arguments as JSON: paths as text, objects handed in from Python by name."""
    plain = {f.name: getattr(config, f.name) for f in fields(config)}
    return {name: _plain(value) for name, value in plain.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Path):
        return str(value)
    return f"<{type(value).__module__}.{type(value).__qualname__} from Python>"


def _next_free(verb: str) -> Path:
    number = 1
    while _occupied(Path("runs") / f"{verb}-{number}"):
        number += 1
    return Path("runs") / f"{verb}-{number}"


def _occupied(path: Path) -> bool:
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out {path} is a file: give a folder")
    return path.is_dir() and not all(each.match(PARTS) for each in path.iterdir())


def read_config(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder was asked for, or None where there is none.

    Raises ValueError where the file is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        raise ValueError(f"{path} is damaged: take another --out") from None


def _must_equal(known: dict[str, Any], asked: dict[str, Any], folder: Path) -> None:
    if asked.keys() != known.keys() - NOT_ASKED:
        raise ValueError(
            f"the run in {folder} is of another verb or version of hardy: give another --out"
        )
    for name, value in asked.items():
        if known[name] != value and name not in CHANGEABLE:
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"the run in {folder} was started with {flag} {known[name]}, not {value}: "
                "give the same, or another --out"
            )


def _environment() -> dict[str, Any]:
    return {
        "hardy": hardy.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
