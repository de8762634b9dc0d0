"""hardy evaluate: clean and robust accuracy of one or several networks on one test split."""

from __future__ import annotations

from pathlib import Path

from hardy import config
from hardy.console import say
from hardy.data.splits import limited
from hardy.evaluation.results import Results
from hardy.evaluation.robustness import accuracies, gains, judge
from hardy.models.load import BEST, Checkpoint
from hardy.verbs.folder import RunFolder, finish
from hardy.verbs.inputs import (
    DATA_SEED,
    check,
    checkpoint_of,
    data_of,
    device_of,
    keywords,
    protocol_of,
)


def run(asked: config.Evaluate) -> Results:
    """Evaluate as asked; the results, with the run folder in `.folder`."""
    check(asked)
    device = device_of(asked.device)
    protocol = protocol_of(asked)
    data = data_of(asked)
    test = limited(data.test, asked.limit, DATA_SEED).to(device)
    nets: dict[str, Checkpoint] = {}
    for path in _asked_for(asked):
        one = config.FromCheckpoint(checkpoint=path, model=asked.model, normalize=asked.normalize)
        nets[_label(path, nets)] = checkpoint_of(one, data, device)
    folder = RunFolder("evaluate", asked)

    results = folder.results()
    results.facts |= {
        "model": ", ".join(dict.fromkeys(net.architecture.model for net in nets.values())),
        "data": data.name,
        "threat": repr(protocol.attack.threat),
    }
    for label, net in nets.items():
        results.notes += [f"{label}: {sentence}" for sentence in net.notes]
        if str(net.extra.get("chosen_on", "")).startswith(data.test.name):
            results.notes.append(
                f"{label} was chosen on pictures of this very test split: its figures are "
                "flattered; its own run reports the others."
            )
    if data.provenance.get("notes"):
        results.notes.append(f"Data: {data.provenance['notes']}.")
    steps = folder.steps()
    verdicts = {}
    for label, net in nets.items():
        say(f"{label}: {protocol.attack!r}, worst of {protocol.restarts}, {test!r}")
        verdicts[label] = steps.verdicts(
            label, lambda net=net, label=label: judge(net.model, test, protocol, label)
        )
        results.measurements += accuracies(verdicts[label], protocol, test.name, label)
    first, *others = verdicts
    for label in others:
        results.measurements += gains(
            verdicts[first], verdicts[label], protocol, test.name, f"{label} − {first}"
        )
    return finish(results)


evaluate = keywords(config.Evaluate, run)


def _asked_for(asked: config.Evaluate) -> list[Path | None]:
    if asked.checkpoints and asked.checkpoint:
        raise ValueError("give checkpoints by position or one by --checkpoint, not both")
    if not asked.checkpoints and not asked.checkpoint and asked.model is None:
        raise ValueError("nothing to evaluate: give run folders or checkpoints")
    found = asked.checkpoints or (asked.checkpoint,)
    return [None if path is None else Path(path) for path in found]


def _label(path: Path | None, taken: dict[str, Checkpoint]) -> str:
    """A short name for a checkpoint: its own, or its folder's where files have one name."""
    if path is None:
        return "network"
    name = path.parent.name if path.name == BEST else path.name if path.is_dir() else path.stem
    return name if name not in taken else str(path)
