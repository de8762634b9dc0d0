"""The epochs of a training run: judged on val, logged, the best of them kept, and what went
wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from typing import Protocol as Shape

import torch
from torch import nn

from hardy.console import say
from hardy.data.splits import Split
from hardy.evaluation.results import Measurement
from hardy.evaluation.robustness import Protocol, Verdicts, accuracies
from hardy.models.load import BEST
from hardy.training import checkpoint
from hardy.training.watch import collapsed
from hardy.verbs.runs.folder import LOG, RunFolder
from hardy.verbs.training.watched import Watch, watched

LIVE = "live.safetensors"
LAST = "last.safetensors"
RETRIES = 3

Row = dict[str, Any]
State = dict[str, Any]


class Judge(Shape):
    """Verdicts on a split, the same in every process of a run."""

    def __call__(
        self, model: nn.Module, split: Split, protocol: Protocol, label: str
    ) -> Verdicts: ...


class History:
    """The epochs so far.

    kinds: the networks of the run, the main one first ('average' and 'live', or 'live').
    select_on: 'clean' or 'robust', what the best epoch is chosen by. keep(path, model) writes a
    network; log(row) is told each epoch. saved() is the state of the last epoch that was saved.
    accumulate: the parts that a batch is cut into as far as was asked for.
    settled: the first epochs, from which robustness may fall without a word. kept: epochs, from 1,
    whose main networks are written too, whatever comes of them. watches: what else
    the process that writes measures of the main network; nothing is decided by it. In processes
    that write nothing it follows the same epochs and decides the same.
    """

    def __init__(
        self,
        folder: RunFolder,
        kinds: tuple[str, ...],
        select_on: str,
        val: Split,
        protocol: Protocol,
        judge: Judge,
        keep: Callable[[Path, nn.Module], None],
        *,
        epochs: int,
        accumulate: int = 1,
        on_collapse: str,
        saved: Callable[[], State | None],
        settled: int = 0,
        kept: Sequence[int] = (),
        watches: Sequence[Watch] = (),
        log: Callable[[Row], None] = lambda _: None,
    ) -> None:
        self.folder, self.kinds, self.select_on = folder, kinds, select_on
        self.val, self.protocol, self.judge, self.keep = val, protocol, judge, keep
        self.epochs, self.on_collapse, self.saved, self.log = epochs, on_collapse, saved, log
        self.settled, self.kept, self.watches = settled, kept, watches
        self.rows: list[Row] = []
        self.events: list[str] = []
        self.accumulate = accumulate
        self.averaged_from: int | None = None  # the first epoch whose 'average' is no mere copy

    def restore(self, logged: list[Row], state: State) -> None:
        """Go on from a saved state, and write log.jsonl anew from it.

        logged: the rows of log.jsonl, for a state that an older version saved without its rows.
        Raises ValueError where such a state has done more epochs than are logged.
        """
        done = state["epoch"]
        rows = state.get("rows", logged[:done])
        if len(rows) < done:
            raise ValueError(
                f"{self.folder.path / LOG} has {len(rows)} of the {done} epochs that were trained, "
                "so the run cannot be gone on with: start it anew in another --out"
            )
        self.rows = list(rows)
        self.events = list(state["events"])
        self.averaged_from = state.get("averaged_from")
        self.accumulate = max(self.accumulate, state.get("accumulate", 1))
        self.folder.rewrite_log(self.rows)

    @property
    def fell(self) -> bool:
        """Whether the last epoch has lost the robustness that there was, as `collapsed` says."""
        return self._collapsed(self.rows)

    @property
    def lost(self) -> bool:
        """Whether the epoch before it had lost it too, so that `events` tells of it."""
        return self._lost(self.rows)

    def best(self, kind: str) -> Row:
        """The row of a network's best epoch on val; the earliest of equals. The average's is
        one in which averaging had begun, once there is any: before, it is the live network."""
        rows = self.rows
        if kind == "average" and self.averaged_from is not None:
            rows = rows[self.averaged_from :]
        return max(rows, key=lambda row: (row[kind][self.select_on], -row["epoch"]))

    def file(self, kind: str) -> Path:
        """Where a network's best epoch is kept."""
        return self.folder.path / (BEST if kind == self.kinds[0] else LIVE)

    def epoch_files(self) -> list[Path]:
        """Where the networks of --keep-epochs are, of the epochs so far."""
        return [self._file_of(row) for row in self.rows if row["epoch"] + 1 in self.kept]

    def _file_of(self, row: Row) -> Path:
        return self.folder.path / f"epoch-{row['epoch'] + 1}.safetensors"

    def after_epoch(
        self,
        row: dict[str, float],
        deployed: Mapping[str, nn.Module],
        state: Callable[[], State],
    ) -> State | None:
        """Judge, keep the best, save everything; the order makes any kill harmless. A state to
        go on from in place of this one, or None."""
        verdicts = {
            kind: self.judge(deployed[kind], self.val, self.protocol, f"val, {kind}")
            for kind in self.kinds
        }
        self.rows.append({**row, **{kind: _shares(each) for kind, each in verdicts.items()}})
        stops = False
        if self.fell and (back := self._gone_back()) is not None:
            return back
        if self.lost:
            stops = self.on_collapse != "ignore"
            if not self._lost(self.rows[:-1]):  # said once, not after each epoch since
                self._note(stops)
        if self.watches and self.folder.writes:
            self.rows[-1]["watched"] = watched(self.watches, deployed[self.kinds[0]])
        whole = state()
        average = whole.get("average")
        if self.averaged_from is None and average and average["count"]:
            self.averaged_from = self.rows[-1]["epoch"]
        self._note_parts(whole.get("accumulate", 1))
        whole |= {"stopped": stops, **self._own_state()}
        if self.folder.writes:
            for kind in self.kinds:
                if self.best(kind) is self.rows[-1]:
                    self.keep(self.file(kind), deployed[kind])
            if self.rows[-1]["epoch"] + 1 in self.kept:
                self.keep(self._file_of(self.rows[-1]), deployed[self.kinds[0]])
            self.folder.rewrite_log(self.rows)
            checkpoint.save(self.folder.path, whole)
            self.log(self.rows[-1])
        self._tell()
        return whole if stops else None

    def measurements(self, subjects: dict[str, str], pictures: int) -> list[Measurement]:
        """The training curves; subjects: the name of each kind."""
        found = []
        main = self.kinds[0]
        for row in self.rows:
            epoch: dict[str, Any] = {"epoch": row["epoch"] + 1}
            for kind in self.kinds:
                more = {**epoch, "seconds": row["seconds"], **self._mark(row, kind)}
                if kind == main:
                    found.append(
                        Measurement(
                            "train loss",
                            row["loss"],
                            "train",
                            pictures,
                            subjects[kind],
                            no_interval="a mean over an epoch in which the weights moved",
                            setting=more,
                        )
                    )
                n = len(self.val)
                right = [torch.arange(n) < round(row[kind][of] * n) for of in ("clean", "robust")]
                found += accuracies(
                    Verdicts(*right), self.protocol, self.val.name, subjects[kind], **more
                )
            for watch in self.watches:
                about = {**epoch, **self._mark(row, main)}
                found += watch.measurements(row.get("watched", {}), subjects[main], **about)
        return found

    def _mark(self, row: Row, kind: str) -> dict[str, Any]:
        """What the measurements of a network's best epoch say more."""
        return {"chosen": True} if row is self.best(kind) else {}

    def _own_state(self) -> State:
        """What a saved state holds of the epochs; log.jsonl is only a view of it."""
        return {"events": self.events, "rows": self.rows, "averaged_from": self.averaged_from}

    def _collapsed(self, rows: list[Row]) -> bool:
        rows = rows[self.settled :]
        robust = [row["live"]["robust"] for row in rows]
        clean = [row["live"]["clean"] for row in rows]
        return self.select_on == "robust" and collapsed(robust, clean, len(self.val))

    def _lost(self, rows: list[Row]) -> bool:
        """Whether two epochs in a row were so: one alone may be the dip of a large learning
        rate, out of which good runs come back."""
        return self._collapsed(rows) and self._collapsed(rows[:-1])

    def _gone_back(self) -> State | None:
        """The state before the epoch that collapsed, if that is wanted once more."""
        if self.on_collapse != "rollback":
            return None
        back = self.saved()
        assert back is not None, "the first epoch cannot fall from a better one"
        if back["retries"] == RETRIES:
            return None
        gone = self.rows.pop()
        self.events.append(
            f"Epoch {gone['epoch'] + 1} collapsed ({self._fall(gone)}) and was taken back: from "
            f"there on at half the learning rate."
        )
        say(self.events[-1])
        back |= {"retries": back["retries"] + 1, **self._own_state()}
        if self.folder.writes:
            checkpoint.save(self.folder.path, back)
        return back

    def _note(self, stops: bool) -> None:
        first, _ = self.rows[-2:]
        then = "the run was ended there" if stops else "the run went on, as it was asked to"
        if stops and self.on_collapse == "rollback":
            then = f"it was taken back {RETRIES} times in vain, and {then}"
        self.events.append(
            f"Catastrophic overfitting from epoch {first['epoch'] + 1} on: {self._fall(first)}; "
            f"{then}. More steps of the attack, a smaller radius or a smaller learning rate "
            "avoid it."
        )
        say(self.events[-1])

    def _note_parts(self, now: int) -> None:
        """What the loop has said when memory ran out, for the page."""
        if now > self.accumulate:
            self.events.append(
                f"Memory ran out in epoch {self.rows[-1]['epoch'] + 1}: from there on each batch "
                f"was cut as with --accumulate {now} in place of {self.accumulate}, at the same "
                "size of a step; BatchNorm sees the parts."
            )
            self.accumulate = now

    def _fall(self, row: Row) -> str:
        best = max(each["live"]["robust"] for each in self.rows[self.settled :])
        return (
            f"robust accuracy on val fell from {100 * best:.1f} % to "
            f"{100 * row['live']['robust']:.1f} %"
        )

    def _tell(self) -> None:
        row = self.rows[-1]
        shown = row[self.kinds[0]]
        more = "".join(watch.said(row.get("watched", {})) for watch in self.watches)
        say(
            f"epoch {row['epoch'] + 1}/{self.epochs}: loss {row['loss']:.3f}, val clean "
            f"{100 * shown['clean']:.1f} %, robust {100 * shown['robust']:.1f} %, "
            f"{more}{row['seconds']:.0f} s"
        )


def _shares(verdicts: Verdicts) -> dict[str, float]:
    """Clean and robust accuracy as fractions."""
    return {
        "clean": float(verdicts.clean.double().mean()),
        "robust": float(verdicts.robust.double().mean()),
    }
