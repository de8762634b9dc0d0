"""hardy ligs: how alike the gradients of the loss are at a picture and a little beside it, of one
or several networks on the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torch import nn

from hardy import config
from hardy.console import say
from hardy.data.splits import DataSet, Split, limited
from hardy.diagnosis.cosines import KIND, Ligs, write_ligs
from hardy.diagnosis.ligs import SIGMA, Neighbour
from hardy.diagnosis.ligs import ligs as measure
from hardy.evaluation.results import Measurement, Results
from hardy.models.load import Checkpoint
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.asked.inputs import DATA_SEED, attack_of, data_of, device_of
from hardy.verbs.asked.networks import networks_of, placed_on, remarks_on
from hardy.verbs.evaluating.measuring import asked_for
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same
from hardy.verbs.runs.seeds import repeated


@dataclass(frozen=True)
class Job:
    """What is measured: networks by their labels, the test pictures and what lies beside them."""

    asked: config.Ligs
    data: DataSet
    test: Split
    nets: dict[str, Checkpoint]
    neighbour: Neighbour

    @property
    def models(self) -> dict[str, nn.Module]:
        """The networks alone."""
        return {label: net.model for label, net in self.nets.items()}


@repeated
def run(asked: config.Ligs) -> Results:
    """Measure as asked; the results, with the run folder in `.folder`."""
    device = device_of(asked.device)
    job = _job(asked)
    folder = RunFolder("ligs", asked)
    steps = folder.steps()
    must_be_the_same(folder, job.models, marks({"test": job.test}))
    job = replace(job, test=job.test.to(device), nets=placed_on(device, job.nets))
    results = folder.results()
    results.facts |= _facts(job)
    found: dict[str, Ligs] = {}
    for number, (label, model) in enumerate(job.models.items()):
        say(f"{label}: LIGS, {asked.v} v, {job.test!r}")
        found[label] = measure(
            model,
            job.test,
            job.neighbour,
            loss=asked.loss,
            draws=asked.draws,
            seed=asked.seed,
            batch_size=2 * asked.batch_size,
            precision=asked.precision,
            label=f"{label}: LIGS",
            # Not the label: two may be one when written as the name of a file.
            steps=steps.within(str(number)),
        )
    results.measurements += _measured(job, found)
    results.notes += _notes(job, found)
    path = folder.path / "ligs.npz"
    write_ligs(path, job.test, job.data.classes, found)
    results.add_artifact(path, KIND)
    return finish(results)


ligs = keywords(config.Ligs, run)


def _job(asked: config.Ligs) -> Job:
    """On the CPU. Raises ValueError for anything that was asked for wrongly."""
    check(asked)
    adversarial = asked.v == "adversarial"
    if adversarial and asked.sigma is not None:
        raise ValueError("--sigma is for gaussian and uniform v: adversarial v has --eps")
    attack = attack_of(asked) if adversarial else None
    data = data_of(asked)
    nets, _ = networks_of(asked_for(asked), asked, data)
    test = limited(data.test, asked.limit, DATA_SEED)
    return Job(asked, data, test, nets, Neighbour(asked.v, asked.sigma or SIGMA, attack))


def _measured(job: Job, found: Mapping[str, Ligs]) -> Iterator[Measurement]:
    """Of each network and its classes, and what each has more than the first."""
    split = job.test.name
    for label, one in found.items():
        if one.kept.any():
            yield one.measurement(split, label)
            yield from one.by_class(job.data.classes, split, label)
    (first, before), *others = found.items()
    for label, after in others:
        if gain := after.less(before, split, f"{label} − {first}"):
            yield gain


def _facts(job: Job) -> dict[str, str | int]:
    asked, beside = job.asked, job.neighbour
    how = f"sigma {beside.sigma:g}" if beside.attack is None else repr(beside.attack)
    return {
        "model": ", ".join(dict.fromkeys(net.architecture.title for net in job.nets.values())),
        "data": job.data.name,
        "v": f"{asked.v}, {how}",
        "draws": asked.draws,
        "loss": {"ce": "cross-entropy", "margin": "margin of the logits"}[asked.loss],
    }


def _notes(job: Job, found: Mapping[str, Ligs]) -> list[str]:
    """What a reader must know of the networks, the data and the pictures left out."""
    notes = remarks_on(job.nets, job.data)
    for label, one in found.items():
        without, n = int((~one.kept).sum()), len(one.kept)
        if without == n:
            notes.append(
                f"{label} has no LIGS: the gradient of its loss is zero at every picture, so its "
                "output does not depend on them, or hides that it does."
            )
        elif without:
            notes.append(
                f"{label}: {without} of {n} pictures have no cosine, for the gradient of the loss "
                "is zero there, and are left out: the mean is over the others."
            )
    return notes
