"""hardy transfer: whether what fools one network fools another, surrogates x targets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from hardy import config
from hardy.attacks.mi_fgsm import Iterative
from hardy.console import say
from hardy.data.splits import DataSet, Split, limited
from hardy.diagnosis.transferability import transfer as transferred
from hardy.diagnosis.transferred import SUCCESS, Transfer
from hardy.evaluation.results import Measurement, Results
from hardy.evaluation.robustness import accuracy
from hardy.models.load import Checkpoint
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.asked.inputs import DATA_SEED, data_of, device_of, fingerprint
from hardy.verbs.asked.networks import networks_of, placed_on, remarks_on
from hardy.verbs.asked.protocols import iterative_of
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same
from hardy.verbs.runs.seeds import repeated

FEW = 100  # pictures, below which an interval is wider than most differences


@dataclass(frozen=True)
class Job:
    """What is attacked: networks by their labels, on which examples are made and to which they
    are shown, the test pictures and the attacks."""

    asked: config.Transfer
    data: DataSet
    test: Split
    nets: dict[str, Checkpoint]
    surrogates: list[str]
    targets: list[str]
    attacks: list[Iterative]

    @property
    def models(self) -> dict[str, nn.Module]:
        """The networks alone."""
        return {label: net.model for label, net in self.nets.items()}


@repeated
def run(asked: config.Transfer) -> Results:
    """Measure as asked; the results, with the run folder in `.folder`."""
    device = device_of(asked.device)
    job = _job(asked)
    folder = RunFolder("transfer", asked)
    must_be_the_same(folder, job.models, marks({"test": job.test}))
    job = replace(job, test=job.test.to(device), nets=placed_on(device, job.nets))
    results = folder.results()
    results.facts |= _facts(job)
    for attack in job.attacks:
        aim = ", targeted" if asked.targeted else ""
        say(f"transfer: {attack!r}{aim}, {len(job.surrogates)} x {len(job.targets)}, {job.test!r}")
        found = transferred(
            {label: job.models[label] for label in job.surrogates},
            {label: job.models[label] for label in job.targets},
            job.test,
            attack,
            targeted=asked.targeted,
            seed=asked.seed,
            batch_size=2 * asked.batch_size,
            precision=asked.precision,
            steps=folder.steps().within(attack.name),
        )
        if not results.measurements:
            results.measurements += _clean(job, found)
        results.measurements += _measured(job, found)
    results.notes += _notes(job, results)
    return finish(results)


transfer = keywords(config.Transfer, run)


def _job(asked: config.Transfer) -> Job:
    """On the CPU. Raises ValueError for anything that was asked for wrongly."""
    check(asked)
    if not asked.attack:
        raise ValueError("--attack needs at least one: pgd or mi-fgsm")
    attacks = [iterative_of(name, asked) for name in dict.fromkeys(asked.attack)]
    surrogates = _given(asked)
    targets = [Path(path) for path in asked.targets] or surrogates
    data = data_of(asked)
    nets, labels = networks_of(list(dict.fromkeys([*surrogates, *targets])), asked, data)
    return Job(
        asked,
        data,
        limited(data.test, asked.limit, DATA_SEED),
        nets,
        [label for path in dict.fromkeys(surrogates) for label in labels[path]],
        [label for path in dict.fromkeys(targets) for label in labels[path]],
        attacks,
    )


def _given(asked: config.Transfer) -> list[Path | None]:
    if asked.surrogates and asked.checkpoint:
        raise ValueError("give surrogates by position or one by --checkpoint, not both")
    if not asked.surrogates and not asked.checkpoint and not isinstance(asked.model, nn.Module):
        raise ValueError("nothing to attack: give run folders or checkpoints as surrogates")
    given = asked.surrogates or (asked.checkpoint,)
    return [None if path is None else Path(path) for path in given]


def _clean(job: Job, found: Transfer) -> list[Measurement]:
    right = {**found.surrogates, **found.targets}
    return [
        accuracy("clean accuracy", right[label], job.test.name, label, {"dtype": "fp32"})
        for label in job.nets
    ]


def _measured(job: Job, found: Transfer) -> Iterator[Measurement]:
    """Every cell; of each target the others' cells again on the pictures that all of them get
    right, and each two of them compared."""
    split, setting = job.test.name, found.setting
    for cell in found.cells():
        if cell.n:
            yield cell.measurement(split, setting)
    for target in job.targets:
        common = found.on_common(target)
        if len(common) < 2:
            continue
        for cell in common:
            if cell.n:
                yield cell.measurement(split, setting, f"{SUCCESS} on common pictures")
        for one, other in itertools.combinations([cell.surrogate for cell in common], 2):
            compared = found.compared(one, other, target)
            if compared.n:
                yield compared.measurement(split, setting)


def _facts(job: Job) -> dict[str, str | int]:
    models = dict.fromkeys(net.architecture.title for net in job.nets.values())
    return {
        "model": ", ".join(models),
        "data": job.data.name,
        "threat": repr(job.attacks[0].threat),
        "attack": ", ".join(attack.name for attack in job.attacks),
        "aim": "a wrong class drawn for each picture" if job.asked.targeted else "any other class",
    }


def _notes(job: Job, results: Results) -> list[str]:
    """What a reader must know of the networks, the data and the cells."""
    notes = remarks_on(job.nets, job.data)
    marked: dict[str, str] = {}
    for label, net in job.nets.items():
        first = marked.setdefault(fingerprint(net.model.state_dict()), label)
        if first != label:
            notes.append(f"{label} has the weights of {first}: between them nothing transfers.")
    cells = list(results.select(SUCCESS, attack=job.attacks[0].name))
    lacking = len(job.surrogates) * len(job.targets) - len(cells)
    if lacking:
        notes.append(
            f"{lacking} of the cells have no number: no picture is classified rightly by both."
        )
    if few := [m.n for m in cells if m.n < FEW]:
        notes.append(
            f"{len(few)} of the {len(cells)} cells count fewer than {FEW} pictures, the smallest "
            f"{min(few)}: their intervals are wide."
        )
    return notes
