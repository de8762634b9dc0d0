"""The frame of the speed benchmarks on subjects whose seconds are known: the clock is a list."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"
USUAL, OURS = "usual: slowly", "ours"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark's own folder is on the path when it is run."""
    monkeypatch.syspath_prepend(str(SPEED))


class Hands:
    """A clock that stands still but for what the ways say they take."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time

    def taking(self, seconds: list[float], value: Any = 0) -> Callable[[], Any]:
        left = iter(seconds)

        def run() -> Any:
            self.time += next(left)
            return value

        return run


def equal(found: Mapping[str, Any]) -> str:
    if found[OURS] != found[USUAL]:
        raise SystemExit("the sums differ")
    return "Equal."


def subject(
    clock: Hands, usual: list[float], ours: list[float], value: int = 0, **more: Any
) -> Any:
    turns = importlib.import_module("turns")
    ways = [
        turns.Way(USUAL, clock.taking(usual)),
        turns.Way(OURS, clock.taking(ours, value)),
    ]
    return turns.Subject("a sum", ways, equal, **more)


def in_turns(*arguments: Any, **more: Any) -> Any:
    return importlib.import_module("turns").in_turns(*arguments, **more)


def test_the_ratio_is_of_the_fastest_rounds_and_the_spread_of_those_after_the_first() -> None:
    clock = Hands()
    timed = in_turns(subject(clock, [9, 6, 8], [4, 3, 2]), 2, clock)
    assert timed.seconds == {USUAL: [9, 6, 8], OURS: [4, 3, 2]}
    assert timed.times(OURS) == 3 and timed.times(USUAL) == 1
    assert timed.spread(USUAL) == pytest.approx(1 / 3) and timed.spread(OURS) == 0.5
    assert timed.met(OURS) is None and timed.said == "Equal."


def test_ways_take_turns_and_what_makes_ready_is_not_timed() -> None:
    turns, clock, order = importlib.import_module("turns"), Hands(), []

    def way(name: str) -> Any:
        def ready() -> None:
            clock.time += 100
            order.append(f"before {name}")

        return turns.Way(name, lambda: order.append(name), ready)

    two = turns.Subject("order", [way("a"), way("b")], lambda _: "")
    timed = in_turns(two, 1, clock)
    assert order == ["before a", "a", "before b", "b"] * 2
    assert timed.seconds == {"a": [0, 0], "b": [0, 0]}


def test_no_round_is_begun_when_patience_has_run_out() -> None:
    clock = Hands()
    timed = in_turns(subject(clock, [5] * 9, [5] * 9), 8, clock, 15)
    assert timed.seconds[OURS] == [5, 5]  # 10 s after one round, 20 s after two
    assert math.isnan(timed.spread(OURS))


def test_different_results_end_it() -> None:
    clock = Hands()
    with pytest.raises(SystemExit, match="a sum: the sums differ: no comparison"):
        in_turns(subject(clock, [1], [1], value=1), 0, clock)


def test_the_table_shows_goals_met_and_missed_and_the_share_of_the_rate() -> None:
    command, clock = importlib.import_module("command"), Hands()
    one = subject(clock, [4], [2], goals={OURS: 2}, operations={OURS: 30e9})
    other = subject(clock, [4], [2], goals={OURS: 2.1})
    shown = command.table([in_turns(each, 0, clock) for each in (one, other)], {"fp32": 60e9})
    assert "| ours | 2 |  | 2.00 | ≥ 2 met | 25 % |" in shown  # 15 of 60 GFLOP/s
    assert "| ours | 2 |  | 2.00 | ≥ 2.1 **missed** |  |" in shown
    assert "- a sum: one round. Equal." in shown


def test_a_run_prints_the_machine_and_keeps_the_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, clock = importlib.import_module("command"), Hands()
    path = tmp_path / "new" / "seconds.json"
    options = command.parser("").parse_args(["--rounds", "1", "--out", str(path)])
    more = {"apart": lambda: "As much memory."}
    command.run([lambda: [subject(clock, [1, 1], [1, 1], **more)]], options)
    said = capsys.readouterr().out
    assert f"torch {torch.__version__}" in said and "GFLOP/s in bf16" in said
    assert "Equal. As much memory." in said
    (kept,) = json.loads(path.read_text())["subjects"]
    assert kept["title"] == "a sum" and len(kept["seconds"][OURS]) == 2


def test_processor_time_is_refused_for_a_gpu() -> None:
    with pytest.raises(SystemExit, match="--clock wall"):
        importlib.import_module("machine").clock_of("processor", "cuda")


def test_every_file_is_called_alike() -> None:
    everything = importlib.import_module("all")
    there = {path.stem for path in SPEED.glob("*.py")}
    frame = {"all", "command", "inputs", "machine", "turns"}
    by_themselves = {"compiled", "paper", "scaling", "start"}
    assert {*everything.FILES} == there - frame - by_themselves
    for name in everything.FILES:
        file = importlib.import_module(name)
        assert callable(file.main) and callable(file.subjects)
        assert {"quick", "device", "rounds"} <= {*vars(file.parser().parse_args([]))}
