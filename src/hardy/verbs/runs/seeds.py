"""One run for each of several seeds, each in a folder of its own, and what they come to."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from hardy import config
from hardy.console import say
from hardy.evaluation.results import FILE_NAME, Results, read
from hardy.models.hub import is_hub
from hardy.training.processes import must_be_startable
from hardy.verbs.runs.folder import CONFIG, RunFolder, finish, read_config
from hardy.verbs.runs.joined import SEED, joined, place

C = TypeVar("C", bound=config.Repeated)

# Whose names may hold it.
FILES = {"baseline", "checkpoint", "checkpoints", "extra_data", "network", "teacher"}
FILES |= {"surrogates", "targets"}


def repeated(run: Callable[[C], Results]) -> Callable[[C], Results]:
    """A verb's `run`, made once for each of --seeds where they are given; {seed} in the names of
    files is the seed of the run, also where there is but one."""

    @functools.wraps(run)
    def runs(asked: C) -> Results:
        if asked.seeds is None:
            return run(of_seed(asked, asked.seed))
        return _over_seeds(run, asked)

    return runs


def of_seed(asked: C, seed: int) -> C:
    """What is asked of the run of one seed."""
    own = {
        name: _filled(value, seed) for name, value in _values(asked).items() if _templates(value)
    }
    return replace(asked, seed=seed, seeds=None, **own)


def _over_seeds(run: Callable[[C], Results], asked: C) -> Results:
    """The runs one after the other, each found where it is finished already, and their means."""
    must_be_startable()
    seeds = _checked(asked)
    asked = replace(asked, seeds=seeds)
    each = [of_seed(asked, seed) for seed in seeds]
    _must_exist(asked, seeds)
    if isinstance(asked, config.Train) and asked.dry_run:
        return _estimated(run(each[0]), seeds)
    folder = RunFolder(type(asked).__name__.lower(), asked)
    found = []
    for number, one in enumerate(each):
        say(f"seed {one.seed}, {number + 1} of {len(seeds)}")
        try:
            found.append(_of_one(run, folder.verb, replace(one, out=folder.path / place(one.seed))))
        except ValueError:
            _leave_no_trace(folder.path)
            raise
    runs = dict(zip(seeds, found, strict=True))
    return finish(joined(folder.results(), runs, _pieces(asked)))


def _checked(asked: config.Repeated) -> tuple[int, ...]:
    given: Any = asked.seeds
    if isinstance(given, str | int):
        raise ValueError(f"--seeds: give several in a tuple: seeds=({given!r}, …)")
    seeds = tuple(given)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ValueError("--seeds takes one process: leave torchrun out, and give --devices")
    if asked.seed:
        raise ValueError(f"--seeds takes the place of --seed {asked.seed}: give one of them")
    for seed in seeds:
        if not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"--seeds must be whole numbers between 0 and 2**63 - 1, not {seed!r}")
    if twice := [seed for i, seed in enumerate(seeds) if seed in seeds[:i]]:
        raise ValueError(f"--seeds has {twice[0]} twice: give each seed once")
    if len(seeds) < 2:
        raise ValueError("--seeds needs several, such as 0,1,2: for a single one there is --seed")
    return seeds


def _must_exist(asked: config.Repeated, seeds: Sequence[int]) -> None:
    """Raises ValueError where a file with {seed} in its name is missing for one of the seeds:
    the last run would otherwise find that out after all the others."""
    for name, value in _values(asked).items():
        for template in _templates(value):
            for seed in seeds:
                text = template.replace(SEED, str(seed))
                if is_hub(re.sub(r"^\w+=", "", text)):
                    continue
                # npz:FILE, robust=FILE
                if not any(Path(part).exists() for part in (text, re.sub(r"^\w+[:=]", "", text))):
                    flag = "--" + name.replace("_", "-")
                    raise ValueError(f"{flag} {template}: there is no {text}, of seed {seed}")


def _values(asked: config.Repeated) -> dict[str, Any]:
    return {f.name: getattr(asked, f.name) for f in fields(asked) if f.name in FILES}


def _templates(value: Any) -> list[str]:
    """The texts with {seed} in them."""
    if isinstance(value, str | Path):
        return [str(value)] if SEED in str(value) else []
    several = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | tuple | list):
        return []
    return [text for one in several for text in _templates(one)]


def _filled(value: Any, seed: int) -> Any:
    """The same with the seed in the place of {seed}."""
    if isinstance(value, str | Path):
        return type(value)(str(value).replace(SEED, str(seed)))
    if isinstance(value, Mapping):
        return {name: _filled(one, seed) for name, one in value.items()}
    return tuple(_filled(one, seed) for one in value) if isinstance(value, tuple | list) else value


def _of_one(run: Callable[[C], Results], verb: str, asked: C) -> Results:
    """The results of one seed: of the run in its folder, gone on with where it was begun."""
    path = Path(str(asked.out))
    asked = replace(asked, resume=read_config(path) is not None)
    if not asked.resume or not (path / FILE_NAME).is_file():
        return run(asked)
    RunFolder(verb, asked)  # says so where it was asked for something else
    from hardy.reporting import page  # imports what draws it, which a first step need not wait for

    results = read(path)
    return results if (path / page.FILE_NAME).is_file() else finish(results)


def _leave_no_trace(path: Path) -> None:
    """What was asked for wrongly is found before a file is written: so the same folder can be
    given with what is right. A run that a seed has begun stays."""
    if [each.name for each in path.iterdir()] == [CONFIG]:
        (path / CONFIG).unlink()
        with contextlib.suppress(OSError):
            path.rmdir()


def _estimated(one: Results, seeds: Sequence[int]) -> Results:
    """A dry run of one seed, and the time of all."""
    whole = one.one("seconds", subject="run")
    how = f"{len(seeds)} times that of a run"
    one.measurements.append(
        replace(
            whole, subject=f"{len(seeds)} seeds", value=len(seeds) * whole.value, no_interval=how
        )
    )
    one.facts["seeds"] = ", ".join(map(str, seeds))
    one.notes.append("All else is the cost of one seed; they are run one after the other.")
    return one


def _pieces(asked: config.Repeated) -> set[str]:
    """The parts of paths with {seed} in them, which networks are called by."""
    templates = [Path(text) for value in _values(asked).values() for text in _templates(value)]
    names = {name for path in templates for name in (*path.parts, path.stem)}
    return {name for name in names if SEED in name}
