"""What a verb says while it works: lines on standard error, progress where someone looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False)
if not stdout.is_terminal:  # a log or a pipe: tables need not be folded into 80 columns
    stdout = Console(highlight=False, width=140)


def say(line: str) -> None:
    """One line about what happens now."""
    stderr.print(line, markup=False, soft_wrap=True)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[..., None]]:
    """A bar with speed and time left, on a terminal only; yields `advance(n, left, text)`,
    where the latter two, if given, put right what is left to do and what the bar is called."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}/s"),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(description, total=total, speed="–")

        def advance(count: int = 1, left: int | None = None, text: str | None = None) -> None:
            now = bar.tasks[0]
            shown = "–" if now.speed is None else f"{now.speed:.0f}"
            whole = None if left is None else now.completed + count + left
            bar.update(task, advance=count, total=whole, description=text, speed=shown)

        yield advance


def silence() -> None:
    """Say nothing more: what a process that is not the run's first has to say stands twice."""
    stderr.quiet = stdout.quiet = True


@contextmanager
def silenced() -> Iterator[None]:
    """Say nothing inside."""
    before = stderr.quiet, stdout.quiet
    silence()
    try:
        yield
    finally:
        stderr.quiet, stdout.quiet = before
