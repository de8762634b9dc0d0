"""hardy mrc and rift in several processes, and as a race: what one process measures to the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from verb_runs import MRC, RIFT, SMALL, hardy

from hardy.evaluation.results import Results, read
from hardy.evaluation.steps import Steps
from hardy.verbs.criticality import shards


def outcome(results: Results) -> list[tuple[object, ...]]:
    found = [m for m in results.measurements if m.quantity != "seconds"]
    return [(m.quantity, m.subject, m.value, m.interval, m.n) for m in found]


def of_modules(results: Results) -> dict[str, float]:
    return {m.subject: m.value for m in results.select("mrc")}


def test_a_race_is_told_as_one(robust: Path, drawn: None, tmp_path: Path) -> None:
    words = (*MRC, "--checkpoint", robust)
    assert hardy(*words, "--out", tmp_path / "full") == 0
    assert hardy(*words, "--racing", "--k", "2", "--out", tmp_path / "race") == 0
    full, race = of_modules(read(tmp_path / "full")), read(tmp_path / "race")
    lowest = sorted(full, key=full.__getitem__)[:2]
    measured = of_modules(race)
    bounds = {m.subject: m for m in race.select("mrc bound")}
    assert sorted(measured, key=measured.__getitem__)[:2] == lowest
    assert all(measured[name] == full[name] for name in measured)
    assert bounds and measured.keys() | bounds.keys() == full.keys()
    assert not measured.keys() & bounds.keys()
    mark = full[lowest[-1]]
    assert all(mark < m.value <= full[name] for name, m in bounds.items())
    assert race.facts["least critical"] == lowest[0]
    assert any(
        note.startswith(f"A race: {len(bounds)} of {len(full)} modules") for note in race.notes
    )
    # Clean potential takes no ascent: it is known of all, in order of execution.
    order = [m.subject for m in read(tmp_path / "full").select("clean potential")]
    assert [m.subject for m in race.select("clean potential")] == order
    page = (tmp_path / "race" / "report.html").read_text(encoding="utf-8")
    assert "≥ " in page and "lower bounds (≥) last" in page


def test_a_race_chooses_the_same_module(robust: Path, tmp_path: Path) -> None:
    words = (*RIFT, "--modules", "least", "--k", "2", "--no-bn-only", "--checkpoint", robust)
    for name, more in (("full", ()), ("race", ("--racing",))):
        assert hardy(*words, *more, "--out", tmp_path / name) == 0
    full, race = read(tmp_path / "full"), read(tmp_path / "race")
    assert race.facts == full.facts and next(race.select("mrc bound"), None) is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*RIFT, "--racing", "--modules", "most"), "--racing finds the least critical modules"),
        ((*MRC, "--k", "0"), "--k must be at least 1"),
        ((*MRC, "--devices", "0"), "--devices must be at least 1"),
        ((*MRC, "--devices", "99"), "--devices 99 cannot share"),
        ((*RIFT, "--devices", "99"), "--devices 99 cannot share"),
    ],
)
def test_what_cannot_be_done_is_refused(
    words: tuple[str, ...],
    said: str,
    robust: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert hardy(*words, "--checkpoint", robust, "--out", tmp_path / "out") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_measure_what_one_does(
    robust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # kernels round by the number of threads
    # 64 pictures in three batches: the two processes make the examples of two and of one.
    words = (*MRC, "--batch-size", "12", "--checkpoint", robust)
    assert hardy(*words, "--out", tmp_path / "one") == 0
    words = (*words, "--devices", "2", "--out", tmp_path / "two")
    assert hardy(*words) == 0
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert outcome(two) == outcome(one)
    assert two.facts["devices"] == "2 processes on cpu" and "devices" not in one.facts
    steps = tmp_path / "two" / "steps"
    kept = [Steps(steps / f"shard-{rank}-of-2").json("mrc") for rank in range(2)]
    assert all(kept) and sum(map(len, kept)) == len(of_modules(one))
    # After a stop between the processes and the end they are not started again.
    (tmp_path / "two" / "results.json").unlink()
    monkeypatch.setattr(shards, "in_processes", None)
    assert hardy(*words, "--resume") == 0
    assert outcome(read(tmp_path / "two")) == outcome(one)


@pytest.mark.slow
def test_rift_and_a_race_in_two_processes(
    robust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = (*RIFT, *SMALL, "--racing", "--no-bn-only", "--checkpoint", robust)
    assert hardy(*words, "--out", tmp_path / "one") == 0
    assert hardy(*words, "--devices", "2", "--out", tmp_path / "two") == 0
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert two.facts == {**one.facts, "devices": "2 processes on cpu"}
    least = [min(found, key=found.__getitem__) for found in map(of_modules, (one, two))]
    assert least[0] == least[1]
