"""The command line: config.py's dataclasses as flags, nothing else.

Exit codes: 0 done, 2 the user's mistake (one line on standard error), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import itertools
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from hardy import config, recipes

VERBS: dict[str, type] = {
    "demo": config.Demo,
    "train": config.Train,
    "rift": config.Rift,
    "mrc": config.Mrc,
    "evaluate": config.Evaluate,
    "ligs": config.Ligs,
    "features": config.Features,
    "transfer": config.Transfer,
    "why": config.Why,
    "export": config.Export,
    "report": config.Report,
    "push": config.Push,
}

DESCRIPTION = """Robust image classifiers that still generalise.

- A first look:    hardy demo
- Train one:       hardy train --data cifar10 --model resnet18 --out runs/at
- Make it better:  hardy rift --checkpoint runs/at --data cifar10 --out runs/rift
- See what it is:  hardy evaluate runs/at runs/rift --data cifar10
- See why it is:   hardy why runs/rift --baseline runs/at --data cifar10
- How linear:      hardy ligs runs/at runs/rift --data cifar10
- Take it along:   hardy export runs/rift --data cifar10
- Give it away:    hardy push runs/rift hub:me/robust --license mit

Every verb takes --help, prints a short table, and leaves a page and all its numbers in the
run folder --out. A published setting is one flag, --recipe NAME: """ + ", ".join(recipes.RECIPES)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one verb and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: Sequence[str]) -> int:
    """Run one verb; the exit code."""
    try:
        arguments, recipe = _without_recipe(list(argv))
        chosen = _parse(arguments, recipe)
        _show(importlib.import_module(f"hardy.verbs.{_verb_of(chosen)}").run(chosen))
    except ValueError as error:
        return _mistake(str(error))
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _mistake(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    except KeyboardInterrupt:
        on = "; the same flags with --resume and its --out go on from there"
        sys.stderr.write(f"interrupted{'' if {*argv[:1]} & {'demo', 'report', 'push'} else on}\n")
        return 130
    return 0


def _show(results: Any) -> None:
    """The short table, what a reader must know, and where the page is, if there is one."""
    from rich.table import Table

    from hardy.console import say, stdout
    from hardy.reporting.estimate import estimate_table
    from hardy.reporting.exported import exported_table
    from hardy.reporting.features import features_table
    from hardy.reporting.findings import finding_lines
    from hardy.reporting.headline import headline
    from hardy.reporting.ligs import ligs_table
    from hardy.reporting.seeds import seeds_table
    from hardy.reporting.tables import module_table, table
    from hardy.reporting.transfer import transfer_table

    dry = results.folder is None
    first = transfer_table if results.verb == "transfer" else table
    found = estimate_table(results) if dry else first(results) or module_table(results)
    found = found or exported_table(results) or features_table(results)
    found = found or ligs_table(results) or seeds_table(results)
    header, *rows = found or [["nothing was measured"]]
    shown = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        shown.add_row(*row)
    stdout.print(shown)
    if not dry:
        stdout.print(headline(results), markup=False)
    for line in finding_lines(results):
        say(line)
    for sentence in results.notes:
        say(f"note: {sentence}")
    if not dry:
        say(f"page: {results.folder / 'report.html'}")


def _mistake(message: str) -> int:
    sys.stderr.write(f"hardy: {' '.join(message.split())}\n")
    return 2


def _verb_of(chosen: Any) -> str:
    return next(verb for verb, kind in VERBS.items() if type(chosen) is kind)


def _parse(arguments: list[str], recipe: str | None) -> Any:
    """The configuration that the arguments spell."""
    if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
        near = difflib.get_close_matches(arguments[0], VERBS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no verb {arguments[0]!r}: there are {', '.join(VERBS)}{hint}")
    kinds = []
    for verb, kind in VERBS.items():
        default: dict[str, Any] = {}
        if recipe is not None and arguments[:1] == [verb]:
            default["default"] = recipes.recipe(recipe, kind)
        summary = (kind.__doc__ or "").strip()
        named = [name for name, make in recipes.RECIPES.items() if isinstance(make(), kind)]
        if named and arguments[:1] == [verb]:
            summary += f" --recipe NAME takes a published setting: {', '.join(named)}."
        kinds.append(Annotated[kind, tyro.conf.subcommand(verb, description=summary, **default)])
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                union,
                args=arguments or ["--help"],
                prog="hardy",
                description=DESCRIPTION,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        verb = f" {arguments[0]}" if arguments[0] in VERBS else ""
        raise ValueError(f"{_first_sentence(box.getvalue())} (see hardy{verb} --help)") from None


def _first_sentence(box: str) -> str:
    """What the box says that the parser draws around a mistake, less its title and advice."""
    plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯]", "", box)
    _title, *lines = [line.strip() for line in plain.strip().splitlines()] or [""]
    inside = itertools.dropwhile(_is_rule, lines)
    said = " ".join(itertools.takewhile(lambda line: not _is_rule(line), inside)).rstrip(".")
    near = re.search(r"Perhaps you meant:.*?(--[\w-]+)", plain, re.DOTALL)
    return f"{said}; did you mean {near[1]}?" if near else said


def _is_rule(line: str) -> bool:
    return not line.strip("─- ")


def _without_recipe(arguments: list[str]) -> tuple[list[str], str | None]:
    """The arguments less --recipe NAME, and that name."""
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag == "--recipe":
            name = value if equals else "".join(arguments[i + 1 : i + 2])
            if not name:
                raise ValueError(f"--recipe needs a name: {', '.join(recipes.RECIPES)}")
            return arguments[:i] + arguments[i + (1 if equals else 2) :], name
    return arguments, None
