"""hardy train: one run of any method, best epoch chosen on val, measured once on test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hardy import config
from hardy.console import say
from hardy.data.augment import augment_of
from hardy.data.splits import DataSet, limited
from hardy.evaluation.results import Measurement, Results
from hardy.evaluation.robustness import Protocol, Verdicts, accuracies, judge
from hardy.methods.find import make
from hardy.methods.protocol import Method, Nets
from hardy.models.architecture import Architecture
from hardy.models.load import BEST, Checkpoint, read_checkpoint, save
from hardy.training import checkpoint
from hardy.verbs.folder import RunFolder, finish
from hardy.verbs.inputs import (
    DATA_SEED,
    check,
    checkpoint_of,
    data_of,
    device_of,
    keywords,
    must_run,
    origin,
    placed,
    protocol_of,
    unseen_val,
)


def run(asked: config.Train) -> Results:
    """Train as asked; the results, with the run folder in `.folder`."""
    check(asked)
    device = device_of(asked.device)
    method = make(asked.method, asked.method_options)
    protocol = protocol_of(asked)
    data = data_of(asked, asked.limit)
    model, architecture, start = _network(asked, data, device)
    folder = RunFolder("train", asked)
    say(f"{method!r} on {data!r}, {protocol.attack!r}, {device}")

    data = data.to(device)
    state = checkpoint.load(folder.path, device) if asked.resume else None
    about = origin(data, asked.method, start)
    history = _History(folder, method, architecture, data, protocol, asked, about)
    if state is not None:
        history.rows = folder.logged()[: state["epoch"]]
        folder.rewrite_log(history.rows)
    _fit(asked, method, protocol, model, data, device, state, history.after_epoch)

    best = read_checkpoint(folder.path / BEST, model=_again(asked)).model
    test = limited(data.test, asked.test_limit, DATA_SEED)
    verdicts = judge(placed(best, device), test, protocol, "test")
    results = folder.results()
    results.facts |= {
        "model": architecture.model,
        "data": data.name,
        "method": repr(method),
        "threat": repr(protocol.attack.threat),
        "best epoch": history.best["epoch"] + 1,
    }
    results.notes += _notes(data, start)
    results.measurements += accuracies(verdicts, protocol, test.name, asked.method)
    results.measurements += history.measurements(asked.method)
    results.add_artifact(folder.path / BEST, "weights")
    return finish(results)


train = keywords(config.Train, run)


class _History:
    """The epochs so far: their log, the best of them, the state to resume from."""

    def __init__(
        self,
        folder: RunFolder,
        method: Method,
        architecture: Architecture,
        data: DataSet,
        protocol: Protocol,
        asked: config.Train,
        origin: dict[str, Any],
    ) -> None:
        self.folder, self.method, self.asked, self.origin = folder, method, asked, origin
        self.architecture, self.data = architecture, data
        self.protocol = replace(protocol, restarts=1)
        self.val = limited(data.val, asked.val_pictures, DATA_SEED)
        self.rows: list[dict[str, Any]] = []

    @property
    def best(self) -> dict[str, Any]:
        """The row of the best epoch by the method's accuracy on val; the earliest of equals."""
        return max(self.rows, key=lambda row: (row[self.method.select_on], -row["epoch"]))

    def after_epoch(
        self, row: dict[str, float], model: nn.Module, state: Callable[[], dict[str, Any]]
    ) -> None:
        """Validate, keep the best, save everything; the order makes any kill harmless."""
        verdicts = judge(model, self.val, self.protocol, "val")
        self.rows.append(
            {**row, "clean": _share(verdicts.clean), "robust": _share(verdicts.robust)}
        )
        if self.best is self.rows[-1]:
            save(
                self.folder.path / BEST,
                model,
                self.architecture,
                classes=self.data.classes,
                extra=self.origin,
            )
        self.folder.rewrite_log(self.rows)
        checkpoint.save(self.folder.path, state())
        last = self.rows[-1]
        say(
            f"epoch {last['epoch'] + 1}/{self.asked.epochs}: loss {last['loss']:.3f}, val clean "
            f"{100 * last['clean']:.1f} %, robust {100 * last['robust']:.1f} %, "
            f"{last['seconds']:.0f} s"
        )

    def measurements(self, subject: str) -> list[Measurement]:
        """The training curves."""
        found = []
        for row in self.rows:
            more: dict[str, Any] = {"epoch": row["epoch"] + 1, "seconds": row["seconds"]}
            if row is self.best:
                more["chosen"] = True
            n = len(self.val)
            found.append(
                Measurement(
                    "train loss",
                    row["loss"],
                    "train",
                    len(self.data.train),
                    subject,
                    no_interval="a mean over an epoch in which the weights moved",
                    setting=more,
                )
            )
            right = [torch.arange(n) < round(row[kind] * n) for kind in ("clean", "robust")]
            found += accuracies(Verdicts(*right), self.protocol, self.val.name, subject, **more)
        return found


def _fit(
    asked: config.Train,
    method: Method,
    protocol: Protocol,
    model: nn.Module,
    data: DataSet,
    device: torch.device,
    state: dict[str, Any] | None,
    on_epoch: Callable[..., None],
) -> None:
    # The engine takes a second to import: nothing that does not train waits for it.
    from hardy.training.engine import Engine
    from hardy.training.loop import Settings, fit

    settings = Settings(
        epochs=asked.epochs,
        batch_size=asked.batch_size,
        lr=asked.lr,
        momentum=asked.momentum,
        nesterov=asked.nesterov,
        weight_decay=asked.weight_decay,
        schedule=asked.schedule,
        milestones=asked.milestones,
        seed=asked.seed,
    )
    fit(
        Engine(device, asked.precision),
        Nets(model, model, model),
        method,
        protocol.attack,
        data.train,
        augment_of(data, asked.augment),
        settings,
        resume=state,
        on_epoch=on_epoch,
        label=asked.method,
    )


def _network(
    asked: config.Train, data: DataSet, device: torch.device
) -> tuple[nn.Module, Architecture, Checkpoint | None]:
    """A new network, or that of --checkpoint, and then where it comes from."""
    if asked.checkpoint is not None or isinstance(asked.model, nn.Module):
        found = checkpoint_of(asked, data, device)
        for sentence in found.notes:
            say(sentence)
        return found.model, found.architecture, found
    if asked.model is None:
        raise ValueError("--model is missing: give an architecture, such as resnet18")
    architecture = Architecture(
        asked.model,
        data.num_classes,
        data.in_channels,
        data.normalization if asked.normalize is None else asked.normalize,
    )
    torch.manual_seed(asked.seed)
    model = architecture.build()
    must_run(model, architecture.model, data)
    return placed(model, device), architecture, None


def _again(asked: config.Train) -> Any:
    """What read_checkpoint must be told about our own file: nothing for our own networks."""
    named = isinstance(asked.model, str) and ":" not in asked.model
    return None if named else asked.model


def _notes(data: DataSet, start: Checkpoint | None) -> list[str]:
    found = [
        "The epoch was chosen on validation pictures; the test split was read once, at the end."
    ]
    if start is not None and not unseen_val(start, data):
        found.append(
            "The network that this run started from may have seen the validation pictures in its "
            "own training: the choice of the epoch, and val accuracies, may be flattered."
        )
    notes = str(data.provenance.get("notes", ""))
    return [*found, f"Data: {notes}."] if notes else found


def _share(right: torch.Tensor) -> float:
    return float(right.double().mean())
