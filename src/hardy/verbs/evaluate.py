"""hardy evaluate: clean, robust and corruption accuracy of one or several networks, side by
side on one test split, after a look for what would make a robust accuracy worthless."""

from __future__ import annotations

from dataclasses import asdict

from hardy import config
from hardy.compiled import must_compile
from hardy.console import say
from hardy.evaluation.preflight import preflight, too_few
from hardy.evaluation.results import Finding, Results
from hardy.evaluation.steps import Steps
from hardy.verbs.asked.arguments import keywords
from hardy.verbs.asked.inputs import attack_of, device_of
from hardy.verbs.asked.protocols import remarks
from hardy.verbs.evaluating.comparison import keep_files, measured
from hardy.verbs.evaluating.equal_clean import at_equal_clean
from hardy.verbs.evaluating.measuring import Job, attack_name, job_of
from hardy.verbs.evaluating.shards import check_devices, tally_in_shards
from hardy.verbs.evaluating.sizes import footprints
from hardy.verbs.evaluating.tallies import tallies
from hardy.verbs.runs.folder import RunFolder, finish
from hardy.verbs.runs.same import marks, must_be_the_same
from hardy.verbs.runs.seeds import repeated


@repeated
def run(asked: config.Evaluate) -> Results:
    """Evaluate as asked; the results, with the run folder in `.folder`.

    With devices=N this process starts N others, waits for them and ends them with itself;
    networks and data that were handed in are copied to them. A program that calls this must do
    so under `if __name__ == "__main__":`.
    """
    device = device_of(asked.device)
    job = job_of(asked)
    if asked.devices > 1:
        check_devices(job, device)
    if asked.compile:
        pictures = job.test.pixels(slice(0, 2)).cpu()
        must_compile(device, [net.model for net in job.nets.values()], pictures, modes=(False,))
    folder = RunFolder("evaluate", asked)
    steps = folder.steps()
    splits = {"test": job.test, **({"train": job.data.train} if asked.equal_clean else {})}
    networks = {label: net.model for label, net in job.nets.items()}
    must_be_the_same(folder, networks, marks(splits))
    job = job.to(device)
    results = folder.results()
    results.facts |= _facts(job, device.type)
    results.notes += notes_on(job)
    results.findings += checked(job, steps)
    # Before the attacks: training can fail, and hours of attacks cannot mend it.
    equal = at_equal_clean(job, steps, results.notes.append) if asked.equal_clean else []
    if asked.devices > 1:
        tally_in_shards(asked, device, steps)
    found = tallies(job, steps)
    # After the attacks: what counts operations takes a second to import.
    costs = footprints(job, steps)
    results.measurements += [*measured(job, found), *costs, *equal]
    keep_files(job, found, results)
    return finish(results)


evaluate = keywords(config.Evaluate, run)


def _facts(job: Job, device: str) -> dict[str, str | int]:
    models = dict.fromkeys(net.architecture.title for net in job.nets.values())
    facts: dict[str, str | int] = {
        "model": ", ".join(models),
        "data": job.data.name,
        "threat": repr(attack_of(job.asked).threat),
        "attack": ", ".join(attack_name(protocol) for protocol in job.protocols),
    }
    if job.asked.preflight_pictures:
        facts["preflight"] = min(job.asked.preflight_pictures, len(job.test))
    if job.asked.devices > 1:
        facts["devices"] = f"{job.asked.devices} processes on {device}"
    if job.asked.compile:
        facts["compiled"] = "the search of attacks"
    return facts


def notes_on(job: Job) -> list[str]:
    """What a reader must know of the networks, the data and the attacks."""
    notes = []
    for label, net in job.nets.items():
        notes += [f"{label}: {sentence}" for sentence in net.notes]
        if str(net.extra.get("chosen_on", "")).startswith(job.data.test.name):
            notes.append(
                f"{label} was chosen on pictures of this very test split: its figures are "
                "flattered; its own run reports the others."
            )
    if job.data.provenance.get("notes"):
        notes.append(f"Data: {job.data.provenance['notes']}.")
    return [*notes, *remarks(job.asked, job.data.num_classes), *_notes_on_corruptions(job)]


def _notes_on_corruptions(job: Job) -> list[str]:
    if not job.corruptions:
        return []
    notes, files = [], job.asked.corruption_files
    if files is not None:
        notes.append(f"Corrupted pictures are the published ones, read from {files}.")
    elif "frost" in job.corruptions:
        notes.append(
            "Frost was made with a procedural texture, not with the published photographs: its "
            "accuracy compares networks here and is not that of CIFAR-10-C."
        )
    few, all_of_them = len(job.under_corruption), len(job.test)
    if few < all_of_them:
        notes.append(f"Corruptions were measured on {few} of the {all_of_them} test pictures.")
    return notes


def checked(job: Job, steps: Steps) -> list[Finding]:
    """What the checks before the attack find, of every network."""
    asked = job.asked
    if not asked.preflight_pictures:
        return []
    few = too_few(len(job.test))
    found = [few] if few else []
    for one in found:
        say(f"{one.grade}: {one.sentence}")
    for number, (label, net) in enumerate(job.nets.items()):
        kept = steps.json(f"{number} preflight")
        if kept is None:
            say(f"{label}: checks before the attack")
            findings = preflight(
                net.model,
                job.test,
                attack_of(asked).threat,
                num_classes=job.data.num_classes,
                seed=asked.seed,
                pictures=asked.preflight_pictures,
                batch_size=job.batch_size,
                subject=label,
                precision=asked.precision,
                transfer={name: one.model for name, one in job.nets.items() if name != label},
                same_classes=net.ours and net.classes == job.data.classes,
            )
            kept = [asdict(one) for one in (*job.handed_over, *findings)]
            steps.keep_json(f"{number} preflight", kept)
        for one in (Finding(**each) for each in kept):
            say(f"{one.grade}: {label}: {one.sentence}")
            found.append(one)
    return found
