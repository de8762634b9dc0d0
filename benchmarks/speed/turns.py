"""Ways to do the same thing, by turns in one process: what all benchmarks of this folder stand on.

>>> subject = Subject("a sum", [Way("usual", slow), Way("ours", fast)], equal, goals={"ours": 2})
>>> timed = in_turns(subject, rounds=3, now=time.perf_counter)
>>> timed.times("ours")                        how many times the usual way's seconds are ours
2.31

Every round runs every way once, in the same order, so that whatever disturbs the machine disturbs
all of them; the ratios are of each way's fastest round. The first round warms up: with further
ones it is hardly ever the fastest. What a way gives is compared in every round, and where the
results differ there is no comparison.

A file of this folder has `parser()`, `subjects(options)` and `main()`; all.py runs them all, and
command.py is what they have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from machine import Clock


@dataclass(frozen=True)
class Way:
    """One way to do it: `run` is timed, `before` makes ready for it and is not. `precision` says
    against which of the machine's rates its operations are held."""

    name: str
    run: Callable[[], Any]
    before: Callable[[], object] = lambda: None
    precision: str = "fp32"


@dataclass(frozen=True)
class Subject:
    """The same thing done in several ways.

    ways: the first is the usual one. equal: given what each way returned by its name, a sentence
    on the largest difference; raises SystemExit where the results are not the same. operations:
    floating point operations of a way, by its name, where they are known. goals: how many times
    faster than the usual way a way is to be. apart: a sentence on what is measured outside of the
    turns, such as peak memory.
    """

    title: str
    ways: Sequence[Way]
    equal: Callable[[Mapping[str, Any]], str]
    operations: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    apart: Callable[[], str] | None = None

    def __post_init__(self) -> None:
        names = [way.name for way in self.ways]
        assert len(set(names)) == len(names) >= 2, names
        assert {*self.operations, *self.goals} <= {*names}, (self.operations, self.goals)


@dataclass(frozen=True)
class Timed:
    """What a subject took: the seconds of every round by way, and what was said of the results."""

    subject: Subject
    seconds: Mapping[str, list[float]]
    said: str

    def fastest(self, way: str) -> float:
        """Seconds of its fastest round."""
        return min(self.seconds[way])

    def spread(self, way: str) -> float:
        """How much longer the slowest round after the first took than the fastest, a fraction; NaN
        where there is only one."""
        later = self.seconds[way][1:]
        return max(later) / min(later) - 1 if len(later) > 1 else float("nan")

    def times(self, way: str) -> float:
        """The seconds of the usual way over those of this one."""
        return self.fastest(self.subject.ways[0].name) / self.fastest(way)

    def met(self, way: str) -> bool | None:
        """Whether a way is as many times faster as it is to be; None where nothing is asked."""
        goal = self.subject.goals.get(way)
        return None if goal is None else self.times(way) >= goal

    def share(self, way: Way, rates: Mapping[str, float]) -> float | None:
        """The way's operations a second, of the rate of its precision."""
        count = self.subject.operations.get(way.name)
        return None if count is None else count / self.fastest(way.name) / rates[way.precision]


def in_turns(subject: Subject, rounds: int, now: Clock, patience: float = float("inf")) -> Timed:
    """Every way in turn, `rounds` times and once more to warm up; no further round is begun after
    `patience` seconds, the first aside. Raises SystemExit where the results differ."""
    seconds: dict[str, list[float]] = {way.name: [] for way in subject.ways}
    said = ""
    for number in range(rounds + 1):
        if number and sum(map(sum, seconds.values())) > patience:
            break
        results = {}
        for way in subject.ways:
            way.before()
            began = now()
            results[way.name] = way.run()
            seconds[way.name].append(now() - began)
        try:
            said = subject.equal(results)
        except SystemExit as different:
            raise SystemExit(f"{subject.title}: {different}: no comparison") from None
    if subject.apart is not None:
        said = f"{said} {subject.apart()}"
    return Timed(subject, seconds, said)
