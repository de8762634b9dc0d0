"""hardy why: all that is measured of one network, beside a baseline, told on one page: what it
is, why, and what to try next."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from hardy import config
from hardy.evaluation.results import Measurement, Results
from hardy.modes import batchnorms
from hardy.verbs import mrc
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.asked.inputs import attack_of, device_of
from hardy.verbs.evaluate import checked, notes_on
from hardy.verbs.evaluating.comparison import measured
from hardy.verbs.evaluating.measuring import Job, attack_name, job_of
from hardy.verbs.evaluating.tallies import tallies
from hardy.verbs.explaining.beside import earlier, similarity, transferred
from hardy.verbs.explaining.trained import of_training
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same
from hardy.verbs.runs.seeds import repeated


@repeated
def run(asked: config.Why) -> Results:
    """Measure as asked; the results, with the run folder in `.folder`."""
    check(asked)
    device = device_of(asked.device)
    path = _given(asked)
    job = job_of(_evaluation(asked, path))
    _must_be_single(path, job)
    *baseline, network = job.nets
    kept = earlier(path, network, job) if baseline else {}
    folder = RunFolder("why", asked)
    steps = folder.steps()
    networks = {label: net.model for label, net in (*job.nets.items(), *kept.items())}
    splits = {"test": job.test, **({"train": job.data.train} if asked.mrc else {})}
    must_be_the_same(folder, networks, marks(splits))
    job = job.to(device)
    results = folder.results()
    results.facts |= _facts(job, network, *baseline)
    results.notes += notes_on(job)
    results.findings += checked(job, steps)
    found = tallies(job, steps)
    # A page on one question: each class has its place in hardy evaluate.
    results.measurements += [m for m in measured(job, found) if m.quantity != "class accuracy"]
    results.measurements += _layers(job)
    similarity(asked, job, steps, results)
    if baseline:
        results.measurements += transferred(asked, job, kept, steps)
    if asked.mrc:
        mrc.measure(asked, job.nets[network], job.data, device, folder, results)
    results.measurements += of_training(path, network, results.notes.append)
    return finish(results)


why = keywords(config.Why, run)


def _given(asked: config.Why) -> Path | None:
    """Where the network is; None for one from Python."""
    if asked.network is not None and asked.checkpoint is not None:
        raise ValueError("give a network by its position or by --checkpoint, not both")
    path = asked.checkpoint if asked.network is None else asked.network
    if path is None and not isinstance(asked.model, nn.Module):
        raise ValueError("nothing to explain: give a run folder or a checkpoint")
    if path is None and asked.baseline is not None:
        raise ValueError(
            "--baseline goes with a network of a file: save the one from Python, or leave it out"
        )
    if path is not None and asked.baseline is not None and Path(path) == Path(asked.baseline):
        raise ValueError(f"--baseline {path} is the network itself: give another, or leave it out")
    return None if path is None else Path(path)


def _evaluation(asked: config.Why, path: Path | None) -> config.Evaluate:
    """The part of it that is an evaluation, the baseline first: differences are to the first."""
    own = {f.name for f in fields(config.Why)} & {f.name for f in fields(config.Evaluate)}
    same: dict[str, Any] = {name: getattr(asked, name) for name in own - {"checkpoint"}}
    given = [each for each in (asked.baseline, path) if each is not None]
    return config.Evaluate(**same, checkpoints=tuple(given), curve_pictures=0)


def _must_be_single(path: Path | None, job: Job) -> None:
    if not job.settings:
        return
    name = next(iter(job.settings))
    flag = "" if path is not None and path.name == name else "--baseline "
    raise ValueError(
        f"{flag}{name} holds the runs of several seeds: give one of them, such as {name}/seed-0"
    )


def _facts(job: Job, network: str, baseline: str = "") -> dict[str, Any]:
    facts: dict[str, Any] = {
        "model": job.nets[network].architecture.title,
        "data": job.data.name,
        "network": network,
        "baseline": baseline or None,
        "method": job.nets[network].extra.get("method"),
        "threat": repr(attack_of(job.asked).threat),
        "attack": ", ".join(attack_name(protocol) for protocol in job.protocols),
    }
    if job.asked.preflight_pictures:
        facts["preflight"] = min(job.asked.preflight_pictures, len(job.test))
    return {name: value for name, value in facts.items() if value is not None}


def _layers(job: Job) -> list[Measurement]:
    return [
        Measurement(
            "BatchNorm layers",
            len(batchnorms(net.model)),
            job.test.name,
            1,
            label,
            no_interval="counted",
        )
        for label, net in job.nets.items()
    ]
