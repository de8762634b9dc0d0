"""hardy train: one run of any method, best epoch chosen on val, measured once on test."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hardy import config
from hardy.compiled import must_compile
from hardy.console import say, silenced
from hardy.data.augment import augment_of
from hardy.data.loader import batch_count
from hardy.data.made import made_of, said_of
from hardy.data.splits import DataSet, Split, limited
from hardy.evaluation.results import Results
from hardy.evaluation.robustness import Protocol, Verdicts, accuracies, gains, judge
from hardy.models.load import Checkpoint, save
from hardy.models.state_dicts import read_file
from hardy.training import checkpoint, tensorboard
from hardy.training.cost import FEW
from hardy.training.graphed import must_be_possible
from hardy.training.processes import in_processes, must_be_startable, packed
from hardy.verbs.asked.arguments import keywords
from hardy.verbs.asked.inputs import DATA_SEED, SEEN_ELSEWHERE, device_of, origin, unseen_val
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_agree, must_be_the_same
from hardy.verbs.runs.seeds import repeated
from hardy.verbs.training.dry_run import estimated
from hardy.verbs.training.feature_curves import by_features, remarks_on, shift_of
from hardy.verbs.training.history import LAST, History
from hardy.verbs.training.job import Job, job_of
from hardy.verbs.training.taught import afterwards, checked, nets_of, notes_on
from hardy.verbs.training.watched import watches

if TYPE_CHECKING:
    from hardy.training.engine import Engine


@repeated
def run(asked: config.Train) -> Results:
    """Train as asked; the results, with the run folder in `.folder`.

    With dry_run nothing is trained or written: the results say what the run would cost (see
    `dry_run.estimated`).

    With devices=N this process starts the N of the run, waits for them and ends them with
    itself; networks and data that were handed in are copied to them. A program that calls this
    must do so under `if __name__ == "__main__":`. Under torchrun every process calls this, and
    all return the same results, which lie on the machine of the first.
    """
    if asked.devices > 1:
        must_be_startable()
    device = device_of(asked.device)
    if asked.cuda_graphs:
        must_be_possible(device)
    job = job_of(asked)
    if asked.tensorboard:
        tensorboard.must_be_installed()
    if asked.compile:
        must_compile(device, [job.model], job.train.pixels(slice(0, FEW)).cpu())
    if asked.dry_run:
        return estimated(asked, job, device)

    # It takes a second to import: whatever was asked for wrongly is found before that.
    from hardy.training.engine import Engine

    engine = Engine(device, asked.precision, asked.devices, asked.compile)
    share = (0, engine.world)
    batch_count(job.train, asked.batch_size, drop_last=True, mix=job.settings.mix, part=share)
    if engine.several and not engine.torchrun:
        del job  # each process has its own
        task = packed(_process, asked, device.type)
        return in_processes(task, asked.devices, RunFolder("train", asked).path)
    engine.launch()
    return _trained(asked, job, engine, _opened(asked, engine))


train = keywords(config.Train, run)


def _opened(asked: config.Train, engine: Engine) -> RunFolder:
    """The run folder; where it cannot be had, every process says so and none waits."""
    path, mistake = None, ""
    if engine.first:
        try:
            path = RunFolder("train", asked).path
        except ValueError as error:
            mistake = str(error)
    path, mistake = engine.from_first((path, mistake))
    if path is None:
        raise ValueError(mistake)
    return RunFolder.joined("train", path, writes=engine.first)


def _process(asked: config.Train, device: str, path: Path) -> Results:
    """One process of several that `run` has started."""
    from hardy.training.engine import Engine

    with silenced():  # `run` has made the same job, and said what there was to say
        job = job_of(asked)
    engine = Engine(torch.device(device), asked.precision, asked.devices, asked.compile)
    engine.launch()
    return _trained(asked, job, engine, RunFolder.joined("train", path, writes=engine.first))


def _trained(asked: config.Train, job: Job, engine: Engine, folder: RunFolder) -> Results:
    from hardy.training.loop import fit

    networks, splits = _given(job)
    pictures = marks(splits)
    must_agree(engine, pictures)
    if engine.first:
        must_be_the_same(folder, networks, pictures)
    say(f"{job.method!r} on {job.data!r}, {job.attack!r}, {engine}")
    job = job.to(engine.device)
    history = _history(asked, job, engine, folder)
    state = history.saved() if asked.resume else None
    if state is not None:
        history.restore(engine.from_first(folder.logged()), state)
    known = checked(asked, job, folder.steps()) if engine.first else []
    # Dropout draws from it: as seeded, whoever built the network, and otherwise in each process.
    torch.manual_seed((asked.seed + 1_000_003 * engine.rank) % 2**63)
    deployed = fit(
        engine,
        nets_of(asked, job),
        job.method,
        job.attack,
        job.train,
        augment_of(job.data, asked.augment),
        job.settings,
        resume=state,
        on_epoch=history.after_epoch,
        label=job.subject,
    )
    results = _measured(asked, job, engine, history, deployed)
    results.findings += known
    return engine.from_first(finish(results) if engine.first else results)


def _given(job: Job) -> tuple[dict[str, nn.Module], dict[str, Split]]:
    """The networks and pictures that the run is made from."""
    networks = {f"teacher {role}": each.model for role, each in job.teachers.items()}
    if job.start is not None:
        networks["the network it starts from"] = job.model
    return networks, {"train": job.train, "val": job.data.val, "test": job.data.test}


def _history(asked: config.Train, job: Job, engine: Engine, folder: RunFolder) -> History:
    about = origin(job.data, asked.method, job.start, asked.extra_data)
    if job.teachers:
        about["teachers"] = job.taught_by

    def keep(file: Path, network: nn.Module) -> None:
        save(file, network, job.architecture, classes=job.data.classes, extra=about)

    def saved() -> dict[str, Any] | None:
        return engine.from_first(
            checkpoint.load(folder.path, torch.device("cpu")) if engine.first else None
        )

    log = tensorboard.Curves(folder.path / tensorboard.FOLDER, folder.logged)

    return History(
        folder,
        ("average", "live") if job.settings.average else ("live",),
        job.method.select_on,
        limited(job.data.val, asked.val_pictures, DATA_SEED),
        replace(job.protocol, restarts=1),
        partial(_judged, engine),
        keep,
        epochs=asked.epochs,
        accumulate=asked.accumulate,
        on_collapse=asked.on_collapse,
        saved=saved,
        settled=job.settings.settled,
        kept=asked.keep_epochs or (),
        watches=watches(asked, job),
        log=log if asked.tensorboard else lambda _: None,
    )


def _measured(
    asked: config.Train,
    job: Job,
    engine: Engine,
    history: History,
    deployed: Mapping[str, nn.Module],
) -> Results:
    """What the run came to on test: each network at its best epoch, and the last one."""
    main = history.kinds[0]
    subjects = {"live": job.subject, "average": f"{job.subject} + {asked.average.upper()}"}
    best = history.best(main)
    test = limited(job.data.test, asked.test_limit, DATA_SEED)
    folder = history.folder
    results = folder.results()
    results.facts |= {
        "model": job.architecture.title,
        "data": job.data.name,
        "method": repr(job.method),
        "threat": repr(job.attack.threat),
        "best epoch": best["epoch"] + 1,
    }
    if made := made_of(job.data.provenance):
        results.facts["set"] = said_of(made)
    if job.protocol.attack.threat != job.attack.threat:
        results.facts["threat on val and test"] = repr(job.protocol.attack.threat)
    if job.start is not None:
        results.facts["start"] = _start(asked, job.start)
    if probing := job.settings.probing:
        first = f"epochs 1 to {probing.epochs}" if probing.epochs > 1 else "epoch 1"
        results.facts["probing"] = f"{probing.head} alone in {first}, on {asked.probe} pictures"
    if job.settings.eps_warmup:
        results.facts["radius warm-up"] = f"{job.settings.eps_warmup} epochs"
    if engine.several:
        results.facts["devices"] = str(engine)
    if asked.compile:
        results.facts["compiled"] = "attacks and training steps"
    if job.settings.mix:
        share = f"{job.settings.mix.fraction:g} of each batch"
        count = len(job.train) - job.settings.mix.own
        results.facts["extra data"] = f"{asked.extra_data}, {count} pictures, {share}"
    if job.teachers:
        results.facts["teacher"] = job.taught_by
    results.notes += [*_notes(job.data, job.start), *job.remarks, *notes_on(job), *history.events]
    results.notes += remarks_on(job.data)
    if job.caution:
        results.notes.append(job.caution)
    verdicts: dict[str, Verdicts] = {}
    for kind in history.kinds:
        file = history.file(kind)
        network = _read(engine, file, deployed[kind])
        verdicts[kind] = _judged(engine, network, test, job.protocol, f"test, {kind}")
        results.measurements += accuracies(verdicts[kind], job.protocol, test.name, subjects[kind])
        if folder.writes:
            results.add_artifact(file, "weights")
        if folder.writes and kind == main:
            results.measurements += afterwards(asked, job, network)
            results.measurements += by_features(job.data, test, network, subjects[kind])
    for file in history.epoch_files() if folder.writes else []:
        results.add_artifact(file, "weights")
    if best is not history.rows[-1]:
        name, last = f"{subjects[main]}, last epoch", deployed[main]
        after = _judged(engine, last, test, job.protocol, "test, last epoch")
        results.measurements += accuracies(after, job.protocol, test.name, name, last=True)
        fall = gains(verdicts[main], after, job.protocol, test.name, f"{name} − {subjects[main]}")
        results.measurements += fall
        if folder.writes:
            results.measurements += by_features(job.data, test, last, name, last=True)
        results.notes += _overfitting(fall[1].interval, history)
        if folder.writes:
            history.keep(folder.path / LAST, last)
            results.add_artifact(folder.path / LAST, "weights")
    size, mix = job.settings.batch_size, job.settings.mix
    visited = size * batch_count(job.train, size, drop_last=True, mix=mix)
    visited = min(visited, len(job.train))
    results.measurements += history.measurements(subjects, visited)
    return results


def _judged(
    engine: Engine, model: nn.Module, split: Split, protocol: Protocol, label: str
) -> Verdicts:
    """Verdicts on a split, its pictures shared out to the processes of the run."""
    rank, world = engine.rank, engine.world
    if world == 1:
        return judge(model, split, protocol, label)
    none = torch.zeros(0, dtype=torch.bool)
    mine = split.take(slice(rank, None, world))
    here = judge(model, mine, protocol, label) if len(mine) else Verdicts(none, none)
    each = -(-len(split) // world)
    padded = torch.zeros(2, each, dtype=torch.uint8)
    padded[:, : len(here.clean)] = torch.stack([here.clean, here.robust])
    # Picture i went to process i % world.
    clean, robust = torch.stack(engine.gather(padded), 2).flatten(1)[:, : len(split)].bool()
    return Verdicts(clean, robust)


def _read(engine: Engine, file: Path, like: nn.Module) -> nn.Module:
    """A network that the first process has written. The others wait for it, and may be on
    machines that have no such file."""
    network = copy.deepcopy(like)
    network.load_state_dict(engine.from_first(read_file(file)[0] if engine.first else {}))
    return network


def _overfitting(interval: tuple[float, float] | None, history: History) -> list[str]:
    if interval is None or interval[1] >= 0:
        return []
    if history.select_on != "robust" or history.lost:  # never meant to be, or said already
        return []
    if history.fell:
        return ["Catastrophic overfitting in the last epoch: its robustness is gone on val too."]
    return [
        f"Robust overfitting: on test the last epoch is less robust than epoch "
        f"{history.best(history.kinds[0])['epoch'] + 1}, which was kept. Fewer epochs, an "
        "earlier drop of the learning rate, AWP or averaged weights would lose less."
    ]


def _start(asked: config.Train, start: Checkpoint) -> str:
    """What the network of a run was before it, without where that lies."""
    if start.source:
        return start.source
    if asked.pretrained:
        return f"published weights of {start.architecture.model}"
    return "a network from Python" if asked.checkpoint is None else Path(asked.checkpoint).name


def _notes(data: DataSet, start: Checkpoint | None) -> list[str]:
    once = "" if shift_of(data) else "; the test split was read once, at the end"
    found = [f"The epoch was chosen on validation pictures{once}."]
    if start is not None:
        found += start.notes
    if start is not None and not unseen_val(start, data):
        found.append(_seen(data, start))
    notes = str(data.provenance.get("notes", ""))
    return [*found, f"Data: {notes}."] if notes else found


def _seen(data: DataSet, start: Checkpoint) -> str:
    """What is not known of the pictures that a start has seen."""
    flattered = "the choice of the epoch, and val accuracies, may be flattered."
    theirs, known = start.extra.get("content_hash"), data.provenance["content_hash"]
    if start.ours and theirs not in (None, known, SEEN_ELSEWHERE):
        return (
            f"The network that this run started from was trained on other data, "
            f"{start.extra.get('data')}. Whether that holds some of the validation pictures is not "
            f"known: where it does, {flattered}"
        )
    return (
        "The network that this run started from may have seen the validation pictures in its own "
        f"training: {flattered}"
    )
