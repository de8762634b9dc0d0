"""The results of one verb with several seeds as one: means, and beside them what each run says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from hardy.evaluation.results import Artifact, Measurement, Results, Scalar
from hardy.evaluation.seeds import means, unshared

T = TypeVar("T")

NETWORKS = ("surrogate", "other")  # in the setting of a measurement, that name networks

SEED = "{seed}"
# Of each run these stand beside the means; all else is in the run's own folder.
SHOWN = {"clean accuracy", "robust accuracy", "robust accuracy (reference)", "train loss"}
SHOWN |= {"clean accuracy gain", "robust accuracy gain"}


def place(seed: int) -> str:
    """The folder of a seed's run in that of all."""
    return f"seed-{seed}"


def joined(results: Results, runs: Mapping[int, Results], names: Iterable[str]) -> Results:
    """Fill in the results of a run over several seeds from those of each.

    names: what networks are called by and {seed} is a part of, so that they have one name in all
    runs. The means of everything that all measured come first, then the accuracies and training
    curves of each run. Facts, notes and findings that all share stand once, others under their
    seed. The files of weights are noted where they lie.
    """
    runs = {seed: _renamed(one, names, seed) for seed, one in runs.items()}
    seeds, measured = list(runs), [one.measurements for one in runs.values()]
    results.facts = _facts({seed: one.facts for seed, one in runs.items()})
    results.measurements += means(measured, seeds)
    for seed, own in zip(seeds, measured, strict=True):
        results.measurements += [replace(m, subject=_of(seed, m.subject)) for m in own if _shown(m)]
    results.notes += [
        f"The interval of a mean is a t interval over {len(seeds)} seeds: how far other seeds may "
        "move it. That of a single run is over its pictures.",
        *_shared({seed: one.notes for seed, one in runs.items()}, _noted),
    ]
    alone = unshared(measured, seeds)
    lacking = [f"{name} ({', '.join(map(str, of))})" for name, of in alone.items()]
    if lacking:
        results.notes.append(
            f"Measured with some of the seeds only, and so without a mean: {'; '.join(lacking)}."
        )
    findings = {seed: one.findings for seed, one in runs.items()}
    results.findings += _shared(findings, lambda f, seed: replace(f, subject=_of(seed, f.subject)))
    results.artifacts += [
        Artifact(f"{place(seed)}/{a.path}", a.kind, a.sha256)
        for seed, one in runs.items()
        for a in one.artifacts
        if a.kind == "weights"
    ]
    return results


def _renamed(one: Results, pieces: Iterable[str], seed: int) -> Results:
    """The results with networks named alike in all runs: what is called at/seed-0 in one and
    at/seed-1 in the next is at."""

    def name(text: str) -> str:
        for piece in sorted(pieces, key=len, reverse=True):  # a name with its ending first
            if not re.search(r"[^\W\d]", piece.replace(SEED, "")):
                continue  # a bare number is too many other things
            own = re.escape(piece.replace(SEED, str(seed)))
            text = re.sub(rf"(?<!\w){own}(?!\w)", piece.replace("\\", r"\\"), text)
        return text.replace(f"/seed-{SEED}", "")

    def subject(text: str) -> str:
        bare = {piece.replace(SEED, str(seed)): piece for piece in pieces}
        return " − ".join(bare.get(part, name(part)) for part in text.split(" − "))

    def setting(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        named = {key: subject(str(values[key])) for key in NETWORKS if key in values}
        return {**values, **named}

    return replace(
        one,
        facts={key: name(v) if isinstance(v, str) else v for key, v in one.facts.items()},
        notes=[name(note) for note in one.notes],
        measurements=[
            replace(m, subject=subject(m.subject), setting=setting(m.setting))
            for m in one.measurements
        ],
        findings=[replace(f, subject=subject(f.subject)) for f in one.findings],
    )


def _of(seed: int, what: str) -> str:
    return f"seed {seed}: {what}" if what else f"seed {seed}"


def _noted(note: str, seed: int) -> str:
    return f"Seed {seed}: {note}"


def _shown(m: Measurement) -> bool:
    if m.quantity == "mean corruption accuracy":
        return m.setting.get("of") == "standard 15"
    if {"alpha", "teacher"} & m.setting.keys():
        return False
    return m.quantity in SHOWN or "epoch" in m.setting  # a curve


def _facts(by_seed: Mapping[int, Mapping[str, Scalar]]) -> dict[str, Scalar]:
    """What all runs agree on; of the rest what each says, in the order of the seeds."""
    found: dict[str, Scalar] = {"seeds": ", ".join(map(str, by_seed))}
    for name in dict.fromkeys(name for facts in by_seed.values() for name in facts):
        own = [facts.get(name, "–") for facts in by_seed.values()]
        if all(value == own[0] for value in own):
            found[name] = own[0]
        else:
            found[f"{name} by seed"] = " / ".join(map(_short, own))
    return found


def _short(value: Scalar) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shared(by_seed: Mapping[int, list[T]], own: Callable[[T, int], T]) -> list[T]:
    """What stands in all of the lists, once, and then what some have, marked by `own`."""
    first, *others = by_seed.values()
    common = [one for one in first if all(one in other for other in others)]
    return common + [
        own(one, seed) for seed, found in by_seed.items() for one in found if one not in common
    ]
