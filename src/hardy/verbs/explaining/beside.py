"""What hardy why measures beside accuracies: LIGS, and transfer to and from the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from hardy import config
from hardy.console import say
from hardy.diagnosis.cosines import KIND, Ligs, write_ligs
from hardy.diagnosis.ligs import SIGMA, Neighbour, ligs
from hardy.diagnosis.transferability import transfer
from hardy.evaluation.results import Measurement, Results
from hardy.evaluation.steps import Steps
from hardy.models.hub import is_hub
from hardy.models.load import Checkpoint
from hardy.verbs.asked.inputs import attack_of, checkpoint_of
from hardy.verbs.asked.networks import placed_on
from hardy.verbs.evaluating.measuring import Job


def similarity(asked: config.Why, job: Job, steps: Steps, results: Results) -> None:
    """The LIGS of every network on the test pictures, one draw of Gaussian noise, and what the
    last has more than the first, written into the results, and that of each picture into a file."""
    split, found = job.test, dict[str, Ligs]()
    beside = Neighbour(sigma=asked.ligs_sigma or SIGMA)
    for number, (label, net) in enumerate(job.nets.items()):
        one = ligs(
            net.model,
            split,
            beside,
            seed=asked.seed,
            batch_size=job.batch_size,
            label=f"{label}: LIGS",
            steps=steps.within(f"{number} ligs"),
        )
        if not one.kept.any():
            results.notes.append(f"{label} has no LIGS: its loss has no gradient at any picture.")
            continue
        found[label] = one
    if not found:
        return
    results.measurements += [one.measurement(split.name, label) for label, one in found.items()]
    if len(found) > 1:
        (first, before), (last, after) = found.items()
        gain = after.less(before, split.name, f"{last} − {first}")
        results.measurements += [gain] if gain else []
    assert results.folder is not None, "a run folder makes its results"
    path = results.folder / "ligs.npz"
    write_ligs(path, split, job.data.classes, found)
    results.add_artifact(path, KIND)


def earlier(path: Path | None, network: str, job: Job) -> dict[str, Checkpoint]:
    """The networks of earlier epochs that hardy train --keep-epochs has left in a run folder, the
    earliest first; on the CPU."""
    if path is None or is_hub(path) or not path.is_dir():
        return {}
    files = sorted(path.glob("epoch-*.safetensors"), key=lambda f: (len(f.name), f.name))
    return {
        f"{network}/{file.stem}": checkpoint_of(
            config.FromCheckpoint(checkpoint=file), job.data, torch.device("cpu")
        )
        for file in files
    }


def transferred(
    asked: config.Why, job: Job, kept: Mapping[str, Checkpoint], steps: Steps
) -> list[Measurement]:
    """How often the adversarial examples of network and baseline fool each other, and whether
    those of earlier epochs fool the baseline more often than the network's."""
    device = job.test.device
    targets = {label: net.model for label, net in job.nets.items()}
    old = {label: net.model for label, net in placed_on(device, kept).items()}
    attack = attack_of(asked)
    say(f"transfer: {attack!r}, {job.test!r}")
    found = transfer(
        {**targets, **old},
        targets,
        job.test,
        attack,
        seed=asked.seed,
        batch_size=job.batch_size,
        precision=asked.precision,
        steps=steps.within("transfer"),
    )
    split, setting, (first, last) = job.test.name, found.setting, targets
    cells = [cell for cell in found.cells() if cell.n]
    gains = [found.compared(label, last, first) for label in old]
    return [
        *(cell.measurement(split, setting) for cell in cells),
        *(gain.measurement(split, setting) for gain in gains if gain.n),
    ]
