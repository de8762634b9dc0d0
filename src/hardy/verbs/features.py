"""hardy features: a data set of a network's robust or non-robust features, and its page."""

from __future__ import annotations

from typing import Any

from hardy import config
from hardy.console import say
from hardy.data.made import PROVENANCE
from hardy.evaluation.results import Results
from hardy.verbs.asked.arguments import keywords
from hardy.verbs.asked.inputs import device_of
from hardy.verbs.feature_sets.files import content_hash, must_be_storable, write_set, write_shown
from hardy.verbs.feature_sets.job import ROBUST, Job, job_of
from hardy.verbs.feature_sets.making import Made, made
from hardy.verbs.feature_sets.measured import measured
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same

SET = "features"


def run(asked: config.Features) -> Results:
    """Make the set that was asked for; the results, with the set in the run folder `.folder`."""
    device = device_of(asked.device)
    job = job_of(asked)
    must_be_storable(job)
    folder = RunFolder("features", asked)
    networks = {f"the {role}": net.model for role, net in job.nets.items()}
    pictures = marks({"train": job.originals, "test": job.data.test})
    must_be_the_same(folder, networks, pictures)
    say(f"{job.asked.set} of {job.originals!r} of {job.data.name}")
    about = job.provenance("")  # of the networks as they were read
    job = job.to(device)
    found = made(job, device, folder.steps())
    about |= {"content_hash": content_hash(found)}
    results = folder.results()
    results.facts |= _facts(job, about)
    results.notes += _notes(job, found, about)
    results.measurements += measured(job, found)
    path = write_set(job, found, about, folder.path)
    if path.is_file():
        results.add_artifact(path, SET)
    results.add_artifact(folder.path / PROVENANCE, "provenance")
    write_shown(job, found, results)
    say(f"train on it: hardy train --data {job.asked.format}:{path}")
    return finish(results)


features = keywords(config.Features, run)


def _facts(job: Job, about: dict[str, Any]) -> dict[str, Any]:
    asked = job.asked
    facts = {
        "model": ", ".join(dict.fromkeys(n.architecture.title for n in job.nets.values())),
        "data": job.data.name,
        "set": asked.set,
    }
    if job.kind.inverts:
        whose = ROBUST if ROBUST in job.nets else "network"
        facts["features"] = f"input of {asked.head}, {whose}"
        facts["inversion"] = f"{asked.inversion_steps} steps of {asked.inversion_step_size:g}"
    if job.kind.target != "none":
        facts["attack"] = f"{job.attack!r}, to the {job.kind.target} class"
    return {**facts, "content": about["content_hash"]}


def _notes(job: Job, found: Made, about: dict[str, Any]) -> list[str]:
    """What a reader, and whoever trains on the set, must know."""
    count, name = len(job.originals), job.data.name
    notes = [f"{role}: {said}" for role, net in job.nets.items() for said in net.notes]
    notes.append(
        f"The set's train part is made of {count:,} pictures of the train part of {name}, without "
        "those that it keeps for val; its test part is that of the original set, unchanged. hardy "
        "train cuts val from the made pictures, with their labels."
    )
    if job.kind.target == "random":
        same = int((found.labels == job.originals.labels.cpu()).sum())
        notes.append(
            f"Labels are drawn from all {job.data.num_classes} classes: {same:,} of {count:,} "
            "pictures keep their own by chance."
        )
    if job.asked.format == "folder":
        notes.append(
            "The pictures were rounded to 8 bits, by a distance of "
            f"{float(found.values['rounding'].mean()):.3f} in l2 on average; what is measured of "
            "the stored pictures is measured after it. --format npz loses almost nothing."
        )
    if job.known is not None:
        same_bits = job.known["content_hash"] == about["content_hash"]
        notes.append(
            "Made again from a provenance: "
            + (
                "the same set, to the bit."
                if same_bits
                else "the same settings, networks and data, but not the same bits: another kind of "
                "processor, or another version of torch, rounds otherwise "
                f"(made with torch {job.known['torch']})."
            )
        )
    return notes
