"""hardy mrc: the robust criticality of every module, and its page."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hardy import config
from hardy.console import say
from hardy.data.splits import DataSet
from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.finetuning.mrc import Criticality
from hardy.models.load import Checkpoint
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.asked.inputs import checkpoint_of, data_of, device_of, protocol_of
from hardy.verbs.criticality.job import Job, in_order, job_of
from hardy.verbs.criticality.shards import check_devices, measure_in_shards
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same
from hardy.verbs.runs.seeds import repeated


@repeated
def run(asked: config.Mrc) -> Results:
    """Measure as asked; the results, with the run folder in `.folder`. devices=N as in evaluate."""
    check(asked)
    device = device_of(asked.device)
    protocol = protocol_of(asked)
    data = data_of(asked, asked.limit)
    net = checkpoint_of(asked, data, device)
    if asked.devices > 1:
        check_devices("mrc", asked, net.model, device)
    folder = RunFolder("mrc", asked)
    pictures = marks({"train": data.train, "test": data.test})
    must_be_the_same(folder, {"the network": net.model}, pictures)
    results = folder.results()
    results.facts |= {
        "model": net.architecture.title,
        "data": data.name,
        "threat": repr(protocol.attack.threat),
    }
    results.notes += net.notes
    measured = measure(asked, net, data, device, folder, results)
    least = min(measured, key=lambda one: one.mrc)  # no bound: those lie above
    results.facts["least critical"] = least.module
    return finish(results)


mrc = keywords(config.Mrc, run)


def measure(
    asked: config.Criticality,
    net: Checkpoint,
    data: DataSet,
    device: torch.device,
    folder: RunFolder,
    results: Results,
) -> list[Criticality]:
    """The criticality of every module, in order of execution, written into the results."""
    job = job_of(asked, data, device)
    say(str(job))
    if isinstance(asked, config.Shared) and asked.devices > 1:
        measure_in_shards(asked, device, folder.steps())
        results.facts["devices"] = f"{asked.devices} processes on {device.type}"
    found = in_order(
        list(job.found(net.model, folder.steps(), say, results.notes.append)), net.model
    )
    for one in found:
        results.measurements += _measurements(one, job)
    if bounds := [one for one in found if not one.complete]:
        results.notes.append(
            f"A race: {len(bounds)} of {len(found)} modules were dropped as soon as their "
            f"criticality was known to be above that of the {job.racing} least critical; of them a "
            "lower bound is given."
        )
    return found


def _measurements(one: Criticality, job: Job) -> Iterator[Measurement]:
    sample = job.sample
    about: dict[str, Scalar] = {**job.setting, "parameters": one.parameters}
    where = {"split": sample.name, "n": len(sample), "subject": one.module}
    if one.complete:
        yield Measurement("mrc", one.mrc, interval=one.interval, setting=about, **where)
        fixed = "at the worst weight found, on the pictures it was sought on"
        drop = one.robust_drop
        yield Measurement("robust accuracy drop", drop, no_interval=fixed, setting=about, **where)
    else:
        yield Measurement(
            "mrc bound",
            one.mrc,
            no_interval="a lower bound, at which the ascent was stopped",
            setting={**about, "ascent steps": one.steps},
            **where,
        )
    gradient = "a property of two mean gradients"
    for quantity, value in (("clean potential", one.clean_potential), ("conflict", one.conflict)):
        yield Measurement(quantity, value, no_interval=gradient, setting=about, **where)
