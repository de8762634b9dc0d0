"""Which figures a page has, in which order, and what is said of each: title, caption, and what a
reader who cannot see it would miss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from hardy.evaluation.results import Results
from hardy.reporting import figures, tables
from hardy.reporting.candidates import candidates
from hardy.reporting.evaluation_captions import (
    about_broken,
    about_classes,
    about_confusion,
    about_corruptions,
    about_equal_clean,
    about_radius,
    about_stages,
)
from hardy.reporting.features import about_features
from hardy.reporting.ligs import about_ligs, about_watched
from hardy.reporting.transfer import matrices
from hardy.reporting.why.profile import profile
from hardy.reporting.wording import count, short, value_of

Draw = Callable[[Results, Path], Figure | None]
Describe = Callable[[Results], tuple[str, str, str]]


def _about_mrc(results: Results) -> tuple[str, str, str]:
    values = {m.subject: m.value for m in results.select("mrc")}
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    marked = "; what was fine-tuned is orange" if tables.chosen_modules(results) else ""
    bounded = any(m.interval for m in results.select("mrc"))
    lines = "; dark lines are 95 % intervals" if bounded else ""
    dropped = len({m.subject for m in results.select(tables.BOUND)} - values.keys())
    if dropped:
        lines += f", then in outline lower bounds of the {dropped} that the race dropped"
    return (
        "Robust criticality of the least critical modules"
        if dropped
        else "Robust criticality of every module",
        "How much the robust loss (left) and robust accuracy (right) can suffer when one module's "
        "weights move by a bounded, worst-case step. Low is harmless to change; it does not say "
        f"that changing it helps. In network order{marked}{lines}.",
        f"Bars of MRC for {len(values)} modules, from {values[low]:.3g} nats ({low}) to "
        f"{values[high]:.3g} nats ({high}). The table below holds all values.",
    )


def _about_potential(results: Results) -> tuple[str, str, str]:
    measured = {m.subject for m in results.select("mrc")}
    found = {m.subject: m.value for m in results.select("clean potential")}
    found = {name: value for name, value in found.items() if name in measured}
    top = max(found, key=found.__getitem__)
    return (
        "Where there is something to gain",
        "To the right there is clean accuracy to gain, further down there is little robustness "
        "to lose. Names are shown for the extreme modules, where there is room.",
        f"MRC against clean potential for {len(found)} modules; {top} has the highest "
        f"potential, {found[top]:.3g}. The table of modules holds all values.",
    )


def _about_profile(results: Results) -> tuple[str, str, str]:
    found = profile(results)
    assert found is not None, "it was drawn"
    rows = figures.profile_rows(found)
    names = [name for name in (found.network, found.baseline) if name]
    each = "; ".join(
        f"{row}: {', '.join(f'{short(name, 40)} {value_of(m)}' for name, m in of.items())}"
        for row, of in rows.items()
    )
    corrupted = rows.keys() - {"clean accuracy", "robust accuracy", "LIGS"}
    kinds = "clean and under the attack"
    if corrupted:
        kinds = "clean, under the attack and under common corruptions"
    linear = ""
    if "LIGS" in rows:
        linear = (
            ", and LIGS, which is 1 where the gradients of the loss at a picture and close by "
            "point the same way"
        )
    return (
        "Side by side" if len(names) > 1 else "In one look",
        f"Accuracies in percent, {kinds}{linear}. Dark lines are 95 % intervals.",
        f"Bars for {' and '.join(names)}. {each}.",
    )


def _about_tradeoff(results: Results) -> tuple[str, str, str]:
    curves = candidates(results)
    chosen = [(c.label, p.alpha) for c in curves for p in c.points if p.chosen]
    choice = "".join(f" Chosen: {label} at α = {alpha:g}." for label, alpha in chosen)
    alone = (
        " Ticks at the lower edge are points of which clean accuracy alone was measured, because "
        "the choice did not need more."
        if any(c.alone for c in curves)
        else ""
    )
    return (
        "What each step towards the fine-tuned weights buys",
        "Each curve runs from the start (α = 0, small marks) to the fine-tuned weights (α = 1, "
        f"large marks). Measured on {curves[0].split}, {count(curves[0].points[0].clean.n)} "
        "pictures, the same for all points: so differences between points are firmer than the "
        f"interval of one point. Whatever lies below the dashed line breaks the rule.{alone}",
        f"Robust against clean accuracy for {len(curves)} candidates along α.{choice}",
    )


def _about_training(results: Results) -> tuple[str, str, str]:
    epochs = [m for m in results.measurements if "epoch" in m.setting]
    runs = list(dict.fromkeys(m.subject for m in epochs if m.subject))
    drawn = ("clean accuracy", "robust accuracy")
    splits = dict.fromkeys(m.split for m in epochs if m.quantity in drawn)
    return (
        "Training",
        f"By epoch; accuracies on {' and '.join(splits) or 'no split'}"
        f"{' (train dotted)' if 'train' in splits else ''}. A ring marks the epoch that was kept.",
        f"Curves of loss and accuracy by epoch{' for ' if runs else ''}{', '.join(runs)}.",
    )


def _about_transfer(results: Results) -> tuple[str, str, str]:
    found = matrices(results)
    targeted = any(matrix.targeted for matrix in found)
    aim = "the class aimed at" if targeted else "another class than its own"
    ends = []
    for matrix in found:
        for which, pick in (("highest", max), ("lowest", min)):
            if matrix.between:
                m = pick(matrix.between, key=lambda m: m.value)
                cell = f"{m.setting.get('surrogate')} to {m.subject} {value_of(m)}"
                ends.append(f"{matrix.attack}, {which} between different networks: {cell}")
    return (
        "What fools one network fools the other",
        "Percent of the pictures that surrogate and target both classify rightly which the target "
        f"takes for {aim} once the attack has changed them on the surrogate. Framed: a network "
        "as its own surrogate, a white-box attack. The number of pictures is another in each "
        "cell (see the table), so columns are compared on common pictures.",
        f"A map of surrogates by targets for {len(found)} attacks. {'; '.join(ends)}. The table "
        "below holds all values.",
    )


def _about_pictures(_: Results) -> tuple[str, str, str]:
    return (
        "Pictures",
        f"The first {figures.PICTURES_SHOWN} pictures stored, not selected ones. Above each its "
        "true class; below it what the net said (before and after the run where both are "
        "known), ✓ right, ✗ wrong. "
        f"The difference is amplified {figures.AMPLIFIED} times around grey.",
        "Clean pictures, what the attack added, and the attacked pictures, with the classes "
        "that the nets gave them.",
    )


FIGURES: dict[str, tuple[Draw, Describe]] = {
    "profile": (lambda results, _: figures.profile_bars(results), _about_profile),
    "tradeoff": (lambda results, _: figures.tradeoff(results), _about_tradeoff),
    "mrc": (lambda results, _: figures.mrc_bars(results), _about_mrc),
    "potential": (lambda results, _: figures.potential_scatter(results), _about_potential),
    "training": (lambda results, _: figures.training_curves(results), _about_training),
    "watched": (lambda results, _: figures.watched_curves(results), about_watched),
    "ligs": (figures.ligs_histogram, about_ligs),
    "transfer": (lambda results, _: figures.transfer_map(results), _about_transfer),
    "equal": (lambda results, _: figures.equal_clean_curves(results), about_equal_clean),
    "stages": (lambda results, _: figures.stages(results), about_stages),
    "radius": (lambda results, _: figures.radius_curves(results), about_radius),
    "confusion": (figures.confusion_matrices, about_confusion),
    "classes": (figures.class_scatter, about_classes),
    "corruptions": (lambda results, _: figures.corruption_map(results), about_corruptions),
    "broken": (figures.broken_pictures, about_broken),
    "pictures": (figures.pictures, _about_pictures),
    "features": (figures.feature_pictures, about_features),
}
