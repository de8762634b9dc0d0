"""hardy rift: more clean accuracy at the same robustness, from any robust checkpoint."""

from __future__ import annotations

from dataclasses import replace

from hardy import config
from hardy.evaluation.results import Results
from hardy.finetuning.interpolate import choose, weights_at
from hardy.finetuning.rift import best_of
from hardy.finetuning.tune import BN_ONLY
from hardy.models.load import BEST, save
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.asked.inputs import checkpoint_of, data_of, device_of, origin, protocol_of
from hardy.verbs.criticality.shards import check_devices
from hardy.verbs.mrc import measure
from hardy.verbs.rifting.choosing import where_to_choose
from hardy.verbs.rifting.searching import must_exist, search
from hardy.verbs.rifting.written import note_choice, note_paths, report
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same
from hardy.verbs.runs.seeds import repeated


@repeated
def run(asked: config.Rift) -> Results:
    """RiFT as asked; the results, with the better network in `.folder`."""
    check(asked)
    device = device_of(asked.device)
    protocol = protocol_of(asked)
    _check(asked)
    data = data_of(asked, asked.limit)
    net = checkpoint_of(asked, data, device)
    must_exist(asked.modules, net.model)
    if asked.devices > 1:
        check_devices("rift", asked, net.model, device)
    choosing, reported, how = where_to_choose(asked, net, data)
    folder = RunFolder("rift", asked)
    must_be_the_same(
        folder,
        {"the network": net.model},
        marks({"train": data.train, "val": data.val, "test": data.test}),
    )
    results = folder.results()
    results.notes += [how, *net.notes]
    if asked.mrc_split == "test" and asked.choose_on != "test":
        results.notes.append(
            "Criticality was measured on test pictures, the reported ones among them: which "
            "modules were tried is not independent of what is reported."
        )
    data = replace(data, train=data.train.to(device))
    choosing, reported = choosing.to(device), reported.to(device)

    measured = measure(asked, net, data, device, folder, results)
    start, tried = search(asked, net, data, choosing, protocol, measured, folder)
    allowed = [one for one in tried if one.candidate.modules]
    chosen, point = best_of(start, allowed, asked.tolerance)
    note_choice(results, asked, chosen, point, choosing)
    note_paths(results, start, tried, chosen, point, protocol, choosing)

    before = {key: value.clone() for key, value in net.model.state_dict().items()}
    changed = chosen.changed if chosen else {}
    states = {"start": before, "result": weights_at(before, changed, point.alpha)}
    baseline = next((one for one in tried if one.candidate.label == BN_ONLY), None)
    if baseline is not None:
        alpha = choose(start, baseline.points, asked.tolerance).alpha
        states[BN_ONLY] = weights_at(before, baseline.changed, alpha)
    report(results, net.model, states, reported, protocol, data, folder.steps())

    net.model.load_state_dict(states["result"])
    extra = {**origin(data, "rift", net), "chosen_on": choosing.name}
    save(folder.path / BEST, net.model, net.architecture, classes=data.classes, extra=extra)
    results.add_artifact(folder.path / BEST, "weights")
    results.facts |= {"model": net.architecture.title, "data": data.name}
    results.facts |= {"threat": repr(protocol.attack.threat)}
    return finish(results)


rift = keywords(config.Rift, run)


def _check(asked: config.Rift) -> None:
    if not asked.lr or not asked.batchnorm:
        raise ValueError("--lr and --batchnorm need at least one value each")
    if asked.racing and asked.modules == "most":
        raise ValueError(
            "--racing finds the least critical modules, not --modules most: leave it out"
        )
    if not asked.alphas or not all(0 < alpha <= 1 for alpha in asked.alphas):
        raise ValueError("--alphas must lie in (0, 1]; 0, the start, is always measured")
