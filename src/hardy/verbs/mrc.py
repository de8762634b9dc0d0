"""hardy mrc: the robust criticality of every module, and its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from hardy import config
from hardy.console import say
from hardy.data.splits import DataSet, Split, limited
from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.finetuning.mrc import Ascent, Criticality, OfficialAscent
from hardy.finetuning.rift import criticalities
from hardy.models.load import Checkpoint
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.asked.inputs import DATA_SEED, checkpoint_of, data_of, device_of, protocol_of
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same
from hardy.verbs.runs.seeds import repeated


@repeated
def run(asked: config.Mrc) -> Results:
    """Measure as asked; the results, with the run folder in `.folder`."""
    check(asked)
    device = device_of(asked.device)
    protocol = protocol_of(asked)
    data = data_of(asked, asked.limit)
    net = checkpoint_of(asked, data, device)
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
    least = min(measured, key=lambda one: one.mrc)
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
    """The criticality of every module, written into the results."""
    sample = _sample(asked, data).to(device)
    protocol = protocol_of(asked)
    attack = replace(protocol.attack, step_size=asked.mrc_step_size or asked.step_size)
    protocol = replace(protocol, attack=attack, restarts=1)
    ascent = (
        Ascent(radius=asked.radius)
        if asked.mrc_ascent == "full"
        else OfficialAscent(radius=asked.radius, seed=asked.seed)
    )
    say(f"criticality on {len(sample)} pictures of {sample.name}: {attack!r}, {ascent!r}")
    found = list(
        criticalities(
            net.model,
            sample,
            protocol,
            ascent=ascent,
            steps=folder.steps(),
            say=say,
            note=results.notes.append,
        )
    )
    setting: dict[str, Scalar] = {**protocol.setting, "ascent": repr(ascent)}
    for one in found:
        results.measurements += _measurements(one, sample, setting)
    return found


def _sample(asked: config.Criticality, data: DataSet) -> Split:
    split = data.train if asked.mrc_split == "train" else data.test
    return limited(split, asked.mrc_pictures or None, DATA_SEED)


def _measurements(
    one: Criticality, sample: Split, setting: dict[str, Scalar]
) -> Iterator[Measurement]:
    about = {**setting, "parameters": one.parameters}
    where = {"split": sample.name, "n": len(sample), "subject": one.module, "setting": about}
    yield Measurement("mrc", one.mrc, interval=one.interval, **where)
    fixed = "at the worst weight found, on the pictures it was sought on"
    yield Measurement("robust accuracy drop", one.robust_drop, no_interval=fixed, **where)
    gradient = "a property of two mean gradients"
    yield Measurement("clean potential", one.clean_potential, no_interval=gradient, **where)
    yield Measurement("conflict", one.conflict, no_interval=gradient, **where)
