"""Measurements that were made once for each seed: their mean and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hardy.evaluation.results import Measurement, Scalar, bounds_of, is_accuracy, is_difference
from hardy.evaluation.statistics import over_seeds

MEAN = "mean over seeds"
# With an alpha these are points of a path; other quantities are read off a whole one.
PATHS = ("clean accuracy", "robust accuracy", "clean accuracy at alpha", "robust accuracy at alpha")

# What a quantity is of beside its subject: a run may lack one of them, as where no picture is left.
PARTS = ("class", "surrogate", "other")

Key = tuple[str, str, str, tuple[Scalar, ...]]


def mean_of(same: Sequence[Measurement], subject: str, **more: Scalar) -> Measurement:
    """The mean of one quantity over several networks or runs, with its 95 % t interval.

    Its setting is what all of them agree on, `more`, `of` (the quantity), `std` (the sample
    standard deviation, in the quantity's unit) and `networks` (how many); what the quantity is
    a mean of itself, as over corruptions, goes by the name `over`. Raises ValueError for fewer
    than 2.
    """
    one, of = same[0], same[0].quantity
    mean, std, (low, high) = over_seeds([m.value for m in same])
    if bounds := bounds_of(of):
        low, high = max(low, float(bounds[0])), min(high, float(bounds[1]))
    setting = _agreed(same)
    if "of" in setting:
        setting["over"] = setting.pop("of")
    return replace(
        one,
        quantity=MEAN,
        value=mean,
        n=min(m.n for m in same),
        subject=subject,
        interval=(low, high),
        no_interval="",
        setting={**setting, **more, "of": of, "std": std, "networks": len(same)},
    )


def means(runs: Sequence[Sequence[Measurement]], seeds: Sequence[int]) -> list[Measurement]:
    """The mean over the runs, one a seed, of everything that all of them measured; what is no
    accuracy and the same in all, such as a number of parameters, as it is.

    Runs that were asked for the same measure the same things in the same order, so the i-th of a
    quantity, subject, split and part belong together. Points of curves over epochs and along paths
    have no mean: where one run stops or what it tries is its own.
    """
    found, said = [], ", ".join(map(str, seeds))
    grouped = [_grouped(run) for run in runs]
    for key in _in_all(grouped):
        for same in zip(*(groups[key] for groups in grouped), strict=True):
            one = same[0]
            if _is_fixed(same):
                found.append(replace(one, setting=_agreed(same)))
                continue
            name = f"mean of {len(runs)} seeds" + (f": {one.subject}" if one.subject else "")
            found.append(mean_of(same, name, seed=said))
    return found


def unshared(runs: Sequence[Sequence[Measurement]], seeds: Sequence[int]) -> dict[str, list[int]]:
    """The subjects, and the parts of shared ones such as a class or a surrogate, of which only some
    runs measured something, each with the seeds that did."""
    grouped = [_grouped(run) for run in runs]
    keys = set(_in_all(grouped))
    shared = {subject for _, subject, _, _ in keys}
    found: dict[str, list[int]] = {}
    for seed, groups in zip(seeds, grouped, strict=True):
        names = [subject for _, subject, _, _ in groups if subject not in shared]
        for key in groups:
            quantity, subject, _, part = key
            if subject in shared and key not in keys and any(part):
                names.append(f"{quantity} of {subject}, {' and '.join(_said(part))}")
        for name in dict.fromkeys(names):
            found.setdefault(name, []).append(seed)
    return found


def is_on_the_way(m: Measurement) -> bool:
    """Whether it is a point of a curve over epochs or along a path."""
    return "epoch" in m.setting or ("alpha" in m.setting and m.quantity in PATHS)


def _grouped(run: Sequence[Measurement]) -> dict[Key, list[Measurement]]:
    found: dict[Key, list[Measurement]] = {}
    for m in run:
        if m.quantity != MEAN and not is_on_the_way(m):
            part = tuple(m.setting.get(name) for name in PARTS)
            found.setdefault((m.quantity, m.subject, m.split, part), []).append(m)
    return found


def _said(part: tuple[Scalar, ...]) -> list[str]:
    """A part in words: ['class 7'], ['surrogate at']."""
    return [f"{name} {value}" for name, value in zip(PARTS, part, strict=True) if value is not None]


def _in_all(grouped: Sequence[dict[Key, list[Measurement]]]) -> list[Key]:
    first, *others = grouped
    return [
        key
        for key, own in first.items()
        if all(len(groups.get(key, ())) == len(own) for groups in others)
    ]


def _agreed(same: Sequence[Measurement]) -> dict[str, Scalar]:
    first, *others = (m.setting for m in same)
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def _is_fixed(same: Sequence[Measurement]) -> bool:
    one = same[0]
    of_a_run = "teacher" not in one.setting  # the same teacher is no sample of several
    if of_a_run and (is_accuracy(one.quantity) or is_difference(one.quantity)):
        return False
    return all((m.value, m.n, m.interval) == (one.value, one.n, one.interval) for m in same)
