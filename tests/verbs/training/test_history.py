"""What a run does with the verdicts on its epochs, which are scripted here."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from verb_runs import assert_same

from hardy import config
from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.robustness import Protocol, Verdicts
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Nets
from hardy.threat import Linf
from hardy.training import checkpoint
from hardy.training.averaging import Averaging
from hardy.training.engine import Engine
from hardy.training.loop import Settings, fit
from hardy.verbs.runs.folder import RunFolder
from hardy.verbs.training.history import History

N = 200
ATTACK = PGD(Linf(0.05), steps=1)
LR = 0.1
Script = list[tuple[float, float]]
HEALTHY = [(0.6, 0.40), (0.6, 0.45)]
FALLEN = (0.8, 0.01)


def some_split(n: int, name: str) -> Split:
    draws = Draws(0, 0, torch.arange(n))
    images = draws.integers(256, (1, 4, 4), name).to(torch.uint8)
    return Split(images, draws.integers(3, (), name), torch.arange(n), name)


TRAIN, VAL = some_split(12, "train"), some_split(N, "val")


@dataclass(frozen=True)
class Spy(PGDAT):
    """PGD-AT that writes down the seed of each batch's draws; select: what it is chosen by."""

    seeds: list[int] = field(default_factory=list)
    select: Literal["clean", "robust"] = "robust"

    @property
    def select_on(self) -> Literal["clean", "robust"]:
        return self.select

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        self.seeds.append(batch.draws.seed)
        return super().adversary(nets, batch, attack)


class Scripted:
    """A judge that looks at nothing: its verdicts are those of the script, in their order. The
    mean of the weights is better than they are, and never falls, unless its robust accuracies
    are given."""

    def __init__(self, script: Script, average: list[float] | None = None) -> None:
        self.script = iter(script)
        self.average = repeat(0.5) if average is None else iter(average)
        self.ends: list[dict[str, Tensor]] = []  # the live weights that it was asked about

    def __call__(self, model: nn.Module, split: Split, protocol: Protocol, label: str) -> Verdicts:
        assert not model.training and split is VAL and protocol.restarts == 1
        if label == "val, average":
            return verdicts(0.7, next(self.average))
        self.ends.append({name: value.clone() for name, value in model.state_dict().items()})
        return verdicts(*next(self.script))


def verdicts(clean: float, robust: float) -> Verdicts:
    place = torch.arange(N)
    return Verdicts(place < round(clean * N), place < round(robust * N))


@dataclass
class Run:
    """A run that has ended."""

    path: Path
    history: History
    spy: Spy
    model: nn.Module
    logged: list[dict[str, Any]]
    ends: list[dict[str, Tensor]]

    @property
    def best(self) -> dict[str, Tensor]:
        return load_file(self.path / "best.safetensors")

    @property
    def state(self) -> dict[str, Any]:
        found = checkpoint.load(self.path, torch.device("cpu"))
        assert found is not None
        return found

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = (self.path / "log.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]

    @property
    def lrs(self) -> list[float]:
        return [row["lr"] for row in self.log]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Trains a small linear network by a script."""
    count = iter(range(100))

    def run(
        script: Script,
        on_collapse: str,
        *,
        epochs: int | None = None,
        average: bool = False,
        path: Path | None = None,
        resume: bool = False,
        select: Literal["clean", "robust"] = "robust",
        stopped_at_save: int = 0,
        average_start: float = 0.0,
        average_script: list[float] | None = None,
        writes: bool = True,
        settled: int = 0,
    ) -> Run:
        folder = RunFolder(
            "train", config.Train(out=path or tmp_path / f"run-{next(count)}", resume=resume)
        )
        folder.writes = writes
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        spy, logged = Spy(select=select), list[dict[str, Any]]()
        epochs, judge = epochs or len(script), Scripted(script, average_script)
        history = History(
            folder,
            ("average", "live") if average else ("live",),
            spy.select_on,
            VAL,
            Protocol(ATTACK, restarts=1),
            judge,
            lambda file, network: save_file(network.state_dict(), file),
            epochs=epochs,
            on_collapse=on_collapse,
            saved=lambda: checkpoint.load(folder.path, torch.device("cpu")),
            settled=settled,
            log=logged.append,
        )
        state = history.saved() if resume else None
        if state is not None:
            history.restore(folder.logged(), state)
        settings = Settings(
            epochs=epochs,
            batch_size=4,
            lr=LR,
            schedule="constant",
            seed=3,
            average=Averaging(start=average_start) if average else None,
        )
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            if stopped_at_save:
                _stop_at_save(patch, stopped_at_save)
            fit(
                Engine(torch.device("cpu")),
                Nets(model, model, model),
                spy,
                ATTACK,
                TRAIN,
                None,
                settings,
                resume=state,
                on_epoch=history.after_epoch,
            )
        return Run(folder.path, history, spy, model, logged, judge.ends)

    return run


def _stop_at_save(patch: pytest.MonkeyPatch, number: int) -> None:
    """The process ends just before it writes its state for the n-th time."""
    save, calls = checkpoint.save, iter(range(1, 100))

    def stopping(folder: Path, state: dict[str, Any]) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt
        save(folder, state)

    patch.setattr(checkpoint, "save", stopping)


def robust(run: Run) -> list[float]:
    return [row["live"]["robust"] for row in run.log]


def seeds_of_epochs(run: Run) -> list[int]:
    """The seed of each epoch that was tried; it has three batches."""
    assert len(run.spy.seeds) % 3 == 0
    assert run.spy.seeds[0::3] == run.spy.seeds[1::3] == run.spy.seeds[2::3]
    return run.spy.seeds[::3]


# Without a fall


def test_the_best_epoch_is_kept_and_the_earliest_of_equals(ran: Callable[..., Run]) -> None:
    script = [(0.6, 0.2), (0.5, 0.4), (0.9, 0.4), (0.9, 0.3)]
    run = ran(script, "stop")
    assert [(row["live"]["clean"], row["live"]["robust"]) for row in run.log] == script
    assert [row["epoch"] for row in run.log] == [0, 1, 2, 3]
    assert run.history.best("live")["epoch"] == 1
    assert_same(run.best, run.ends[1])
    assert not torch.equal(run.ends[1]["1.weight"], run.ends[2]["1.weight"])
    assert run.logged == run.history.rows
    assert run.state["epoch"] == 4 and not run.state["stopped"] and run.history.events == []
    assert_same(run.state["model"], run.ends[3])


@pytest.mark.parametrize(("settled", "stopped"), [(0, True), (1, False)])
def test_a_fall_from_the_first_epochs_is_none(
    settled: int, stopped: bool, ran: Callable[..., Run]
) -> None:
    """A robust network whose head alone is trained, and then all of it at a radius that grows."""
    run = ran([HEALTHY[0], FALLEN, FALLEN, FALLEN], "stop", settled=settled)
    assert run.state["stopped"] == stopped and len(run.log) == (3 if stopped else 4)
    assert bool(run.history.events) == stopped
    run = ran([FALLEN, HEALTHY[0], FALLEN, FALLEN, FALLEN], "stop", settled=settled)
    assert run.state["stopped"] and len(run.log) == 4
    assert "from 40.0 % to 1.0 %" in run.history.events[0]


def test_clean_accuracy_chooses_where_the_method_says_so(ran: Callable[..., Run]) -> None:
    run = ran([(0.6, 0.40), (0.7, 0.01), (0.65, 0.0)], "stop", select="clean")
    assert run.history.best("live")["epoch"] == 1
    assert_same(run.best, run.ends[1])
    assert run.history.events == [], "it was never meant to be robust"


def test_each_network_has_a_best_epoch_of_its_own(ran: Callable[..., Run]) -> None:
    """The mean is as good in all epochs, so its first is kept; the live network's third."""
    run = ran([(0.6, 0.2), (0.6, 0.3), (0.6, 0.4), (0.6, 0.3)], "stop", average=True)
    assert run.history.best("average")["epoch"] == 0
    assert run.history.best("live")["epoch"] == 2
    assert_same(load_file(run.path / "live.safetensors"), run.ends[2])
    assert not torch.equal(run.best["1.weight"], run.ends[0]["1.weight"]), "an average"
    assert [row["average"] for row in run.log] == [{"clean": 0.7, "robust": 0.5}] * 4
    found = run.history.measurements({"average": "a", "live": "l"}, len(TRAIN))
    curve = [m for m in found if m.quantity == "robust accuracy" and m.subject == "l"]
    assert [(m.setting["epoch"], m.value, m.n) for m in curve] == [
        (1, 0.2, N),
        (2, 0.3, N),
        (3, 0.4, N),
        (4, 0.3, N),
    ]
    assert [m.setting["epoch"] for m in curve if m.setting.get("chosen")] == [3]
    losses = [m for m in found if m.quantity == "train loss"]
    assert [(m.subject, m.value) for m in losses] == [("a", row["loss"]) for row in run.log]


@pytest.mark.parametrize("save", [0, 2, 3, 4])
def test_a_mere_copy_is_not_the_best_average(save: int, ran: Callable[..., Run]) -> None:
    """The first two of four epochs are copies, the second better than any mean thereafter; so
    too where the run is stopped before it saves, and goes on."""
    script, means = [(0.6, 0.3)] * 4, [0.3, 0.6, 0.4, 0.5]
    start = {"average": True, "average_start": 0.5}
    copies = ran(script, "stop", average_script=means, stopped_at_save=3, **start)
    assert copies.history.averaged_from == 2 and copies.state["averaged_from"] is None
    run = ran(script, "stop", average_script=means, stopped_at_save=save, **start)
    if save:
        rest = {"average_script": means[save - 1 :], "path": run.path, "resume": True}
        run = ran(script[save - 1 :], "stop", epochs=4, **rest, **start)
    assert [row["average"]["robust"] for row in run.log] == means
    assert run.history.best("average")["epoch"] == 3
    assert_same(run.best, run.state["average"]["model"])
    assert run.history.best("live")["epoch"] == 0


def test_while_all_are_copies_the_best_of_them_is_kept(ran: Callable[..., Run]) -> None:
    run = ran(
        [(0.6, 0.3)] * 3,
        "stop",
        epochs=8,
        average=True,
        average_start=0.5,
        average_script=[0.3, 0.6, 0.4],
        stopped_at_save=3,
    )
    assert run.history.best("average")["epoch"] == 1
    assert_same(run.best, run.ends[1])


@pytest.mark.parametrize("log", [None, "", "first", "half", "damaged"])
def test_what_is_lost_of_the_log_is_in_the_state(log: str | None, ran: Callable[..., Run]) -> None:
    whole = ran([(0.6, 0.2), (0.5, 0.4), (0.9, 0.3)], "stop")
    cut = ran([(0.6, 0.2), (0.5, 0.4), (0.9, 0.3)], "stop", stopped_at_save=3)
    _spoil_log(cut.path / "log.jsonl", log)
    resumed = ran([(0.9, 0.3)], "stop", epochs=3, path=cut.path, resume=True)
    assert resumed.log == whole.log
    assert resumed.history.best("live")["epoch"] == 1
    assert_same(resumed.best, whole.best)


@pytest.mark.parametrize(
    ("log", "left"), [(None, 0), ("", 0), ("first", 1), ("half", 1), ("damaged", 0)]
)
def test_an_old_state_cannot_go_on_without_its_log(
    log: str | None, left: int, ran: Callable[..., Run]
) -> None:
    """Those of older versions have no rows."""
    script = [(0.6, 0.2), (0.5, 0.4), (0.9, 0.3)]
    cut = ran(script, "stop", stopped_at_save=3)
    old = {k: v for k, v in cut.state.items() if k not in ("rows", "averaged_from")}
    checkpoint.save(cut.path, old)
    logged = (cut.path / "log.jsonl").read_bytes()
    _spoil_log(cut.path / "log.jsonl", log)
    told = f"log.jsonl has {left} of the 2 epochs that were trained, .* in another --out$"
    with pytest.raises(ValueError, match=told):
        ran([], "stop", epochs=3, path=cut.path, resume=True)
    (cut.path / "log.jsonl").write_bytes(logged)
    resumed = ran(script[2:], "stop", epochs=3, path=cut.path, resume=True)
    assert robust(resumed) == [0.2, 0.4, 0.3]
    assert resumed.state["rows"] == resumed.history.rows


def _spoil_log(path: Path, how: str | None) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    if how is None:
        path.unlink()
        return
    second = lines[1][: len(lines[1]) // 2]
    left = {"": b"", "first": lines[0], "half": lines[0] + second, "damaged": b"\xff\n" + lines[1]}
    path.write_bytes(left[how])


def test_a_process_that_is_not_the_first_decides_the_same_and_writes_nothing(
    ran: Callable[..., Run],
) -> None:
    first = ran([*HEALTHY, FALLEN, FALLEN, (0.6, 0.4)], "stop")
    other = ran([*HEALTHY, FALLEN, FALLEN, (0.6, 0.4)], "stop", writes=False)
    assert {path.name for path in other.path.iterdir()} == {"config.json"}
    assert [row["live"] for row in other.history.rows] == [row["live"] for row in first.log]
    assert other.history.events == first.history.events
    assert_same(other.model.state_dict(), first.model.state_dict())
    assert other.logged == []


# A fall


def test_a_dip_of_one_epoch_ends_nothing(ran: Callable[..., Run]) -> None:
    """As seen on digits with a large learning rate: 22, 14, 5, 26 %, and 47 % in the end."""
    script = [(0.6, 0.22), (0.6, 0.14), (0.6, 0.05), (0.6, 0.26), (0.6, 0.47)]
    run = ran(script, "stop")
    assert len(run.log) == 5 and run.history.events == []


@pytest.mark.parametrize(
    "dip",
    [
        (0.6, 0.06),  # more than a quarter of 22 %
        (0.27, 0.05),  # less, but clean accuracy lost as much
    ],
)
def test_a_dip_is_not_taken_back(dip: tuple[float, float], ran: Callable[..., Run]) -> None:
    script = [(0.6, 0.22), (0.6, 0.14), dip, (0.6, 0.26), (0.6, 0.47)]
    run = ran(script, "rollback")
    assert run.lrs == [LR] * 5 and run.history.events == []
    assert robust(run) == [0.22, 0.14, dip[1], 0.26, 0.47]


def test_two_epochs_below_half_but_not_a_quarter_are_no_fall(ran: Callable[..., Run]) -> None:
    run = ran([(0.6, 0.4), (0.8, 0.15), (0.8, 0.12)], "stop")
    assert len(run.log) == 3 and run.history.events == []


def test_ignored_it_is_said_once_and_the_run_goes_on(ran: Callable[..., Run]) -> None:
    script = [*HEALTHY, FALLEN, FALLEN, FALLEN, (0.6, 0.44), FALLEN, FALLEN]
    run = ran(script, "ignore")
    assert robust(run) == [0.40, 0.45, 0.01, 0.01, 0.01, 0.44, 0.01, 0.01]
    assert run.lrs == [LR] * 8 and seeds_of_epochs(run) == [3] * 8
    assert_same(run.best, run.ends[1])
    first, second = run.history.events
    assert first.startswith(
        "Catastrophic overfitting from epoch 3 on: robust accuracy on val fell from 45.0 % to "
        "1.0 %; "
        "the run went on, as it was asked to. "
    )
    assert second.startswith("Catastrophic overfitting from epoch 7 on: "), "it had come back"
    assert run.state["events"] == run.history.events and not run.state["stopped"]


def test_stopped_it_keeps_the_best_and_logs_the_fall(ran: Callable[..., Run]) -> None:
    run = ran([*HEALTHY, FALLEN, FALLEN, *HEALTHY], "stop")
    assert robust(run) == [0.40, 0.45, 0.01, 0.01]
    assert run.logged == run.history.rows, "the fall is part of the curves"
    assert_same(run.best, run.ends[1])
    assert run.state["stopped"] and run.state["epoch"] == 4
    assert_same(run.state["model"], run.ends[3])
    (said,) = run.history.events
    assert "from epoch 3 on" in said and "; the run was ended there. More steps" in said
    assert run.state["events"] == [said]


def test_a_stopped_run_that_is_resumed_does_not_train_on(ran: Callable[..., Run]) -> None:
    run = ran([*HEALTHY, FALLEN, FALLEN], "stop", epochs=6)
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    again = ran([], "stop", epochs=6, path=run.path, resume=True)
    assert again.spy.seeds == []
    assert again.history.events == run.history.events
    assert again.history.rows == run.history.rows
    assert_same(again.model.state_dict(), run.model.state_dict())
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_rollback_forgets_the_epoch_and_tries_it_otherwise(ran: Callable[..., Run]) -> None:
    script = [*HEALTHY, FALLEN, (0.6, 0.46), (0.6, 0.47)]
    run = ran(script, "rollback", epochs=4)
    assert robust(run) == [0.40, 0.45, 0.46, 0.47]
    assert [row["epoch"] for row in run.log] == [0, 1, 2, 3]
    assert run.logged == run.history.rows
    assert run.lrs == [LR, LR, LR / 2, LR / 2]
    assert seeds_of_epochs(run) == [3, 3, 3, 1_000_006, 1_000_006]
    assert_same(run.best, run.ends[4])
    assert run.history.best("live")["epoch"] == 3
    assert run.history.events == [
        "Epoch 3 collapsed (robust accuracy on val fell from 45.0 % to 1.0 %) and was taken back: "
        "from there on at half the learning rate."
    ]
    assert run.state["retries"] == 1 and not run.state["stopped"]
    # The second try starts from the weights after epoch 2: a run that begins there is the same.
    started = ran(script, "rollback", epochs=4, stopped_at_save=3)
    checkpoint.save(started.path, {**started.state, "retries": 1})
    resumed = ran(script[3:], "rollback", epochs=4, path=started.path, resume=True)
    assert_same(resumed.ends, run.ends[3:])


def test_three_rollbacks_are_the_most(ran: Callable[..., Run]) -> None:
    """They count over the run, wherever they happen."""
    script = [*HEALTHY, FALLEN, (0.6, 0.44), FALLEN, FALLEN, FALLEN, FALLEN, *HEALTHY]
    run = ran(script, "rollback", epochs=6)
    assert robust(run) == [0.40, 0.45, 0.44, 0.01, 0.01]
    assert run.lrs == [LR, LR, LR / 2, LR / 8, LR / 8]
    first, *others, last = run.history.events
    assert first.startswith("Epoch 3 collapsed")
    assert len(others) == 2 and all(said.startswith("Epoch 4 collapsed") for said in others)
    assert (
        "from epoch 4 on" in last and "it was taken back 3 times in vain, and the run was " in last
    )
    assert run.state["stopped"] and run.state["retries"] == 3
    assert_same(run.best, run.ends[1])


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("save", range(1, 8))
def test_killed_at_any_save_around_rollbacks_it_goes_on_the_same(
    average: bool, save: int, ran: Callable[..., Run]
) -> None:
    """Saves: epochs 1 and 2, the rollback of 3, epoch 3, the rollback of 4, epochs 4 and 5."""
    script = [*HEALTHY, FALLEN, (0.6, 0.46), FALLEN, (0.6, 0.3), (0.6, 0.47)]
    whole = ran(script, "rollback", epochs=5, average=average)
    assert len(whole.history.rows) == 5 and len(whole.history.events) == 2
    cut = ran(script, "rollback", epochs=5, average=average, stopped_at_save=save)
    resumed = ran(
        script[save - 1 :], "rollback", epochs=5, average=average, path=cut.path, resume=True
    )
    assert_same(resumed.model.state_dict(), whole.model.state_dict())
    assert_same(resumed.best, whole.best)
    assert_same(resumed.state, whole.state)
    assert resumed.log == whole.log
    assert resumed.history.events == whole.history.events
    files = {path.name for path in resumed.path.iterdir()}
    assert files == {path.name for path in whole.path.iterdir()}


def test_the_live_network_is_watched_where_the_mean_is_kept(ran: Callable[..., Run]) -> None:
    run = ran([*HEALTHY, FALLEN, FALLEN, *HEALTHY], "stop", average=True)
    assert len(run.log) == 4 and run.state["stopped"]
    assert run.history.best("average")["epoch"] == 0
