"""LIGS of networks: tables, what the numbers say and what they do not, and the curves of what a
run has watched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hardy.evaluation.results import Measurement, Results, Scalar, is_accuracy
from hardy.reporting.arrays import DAMAGED, damaged, stored
from hardy.reporting.wording import attack, count, number, percent, plain, short

LIGS, GAIN, CLASS = "ligs", "ligs gain", "class ligs"
OF_LIGS = (LIGS, GAIN, CLASS)
TITLE = "Local input gradient similarity"
CLASSES = "LIGS by class"
DRAWN = ("train loss", "clean accuracy", "robust accuracy")  # over epochs, in a figure of their own

Rows = list[list[str]]

MEANING = (
    "LIGS is the mean cosine between the gradient of the loss at a picture and that close by: 1 "
    "where the loss is locally linear, about 0 where a gradient says nothing of its neighbourhood.",
    "A high LIGS is no proof of robustness: a network whose gradients are masked, or that hardly "
    "depends on its input, can have one too. Read it beside robust accuracy (hardy evaluate).",
)


def ligs_table(results: Results) -> Rows:
    """A row a network, then one for each difference to the first."""
    rows = [["network", "v", "split", "n", "LIGS", "without a cosine, %"]]
    for m in [*of_networks(results), *results.select(GAIN)]:
        dropped = m.setting.get("dropped")
        share = number(100 * dropped) if isinstance(dropped, float) else "–"
        cells = [m.subject or "the net", beside(m.setting), m.split, count(m.n), plain(m), share]
        rows.append(cells)
    return rows if len(rows) > 1 else []


def ligs_class_table(results: Results) -> Rows:
    """The LIGS of each class, a column a network."""
    found: dict[tuple[Scalar, Scalar], dict[str, Measurement]] = {}
    for m in results.select(CLASS):
        found.setdefault((m.setting.get("label"), m.setting.get("class")), {})[m.subject] = m
    networks = list(dict.fromkeys(m.subject for m in results.select(CLASS)))
    rows = [["class", "n", *(network or "the net" for network in networks)]]
    for (_, name), of in found.items():
        n = " / ".join(dict.fromkeys(count(m.n) for m in of.values()))
        cells = [plain(of[network]) if network in of else "–" for network in networks]
        rows.append([str(name), n, *cells])
    return rows if len(rows) > 1 else []


def of_networks(results: Results) -> list[Measurement]:
    """The LIGS of whole networks, those of epochs left out."""
    return [m for m in results.select(LIGS) if "epoch" not in m.setting]


def differences(results: Results) -> list[str]:
    """Of each network against the first, whether its LIGS is higher, in words."""
    found = []
    for m in results.select(GAIN):
        one, _, other = m.subject.partition(" − ")
        one, other = short(one, 40), short(other, 40)
        low, high = m.interval or (m.value, m.value)
        how = f"{'+' if m.value > 0 else ''}{plain(m)}, paired on {count(m.n)} pictures"
        if low <= 0 <= high:
            found.append(f"{one} and {other} differ by no more than chance: {how}.")
        else:
            more = "more" if m.value > 0 else "less"
            found.append(f"The loss of {one} is {more} linear than that of {other}: {how}.")
    return found


def of_ligs(results: Results) -> str:
    """'at has a LIGS of 0.98 [0.97, 0.99] and st one of 0.59 [0.55, 0.62], on 1,000 pictures of
    test (v gaussian, sigma 0.01).' and the difference, where there are two."""
    ranked = sorted(of_networks(results), key=lambda m: -m.value)
    top, last = ranked[0], ranked[-1]
    first = f"{short(top.subject, 40) or 'The net'} has a LIGS of {plain(top)}"
    least = f"{short(last.subject, 40)} one of {plain(last)}"
    place = f"on {count(top.n)} pictures of {top.split} (v {beside(top.setting)})"
    if len(ranked) == 1:
        return f"{first}, {place}."
    if len(ranked) == 2:
        return " ".join([f"{first} and {least}, {place}.", *differences(results)])
    return f"Of {len(ranked)} nets {first}, the most, and {least}, the least, {place}."


def beside(setting: Mapping[str, Scalar]) -> str:
    """What a picture was compared with: 'gaussian, sigma 0.01', 'adversarial, PGD-10, …'."""
    kind, sigma = str(setting.get("v")), setting.get("sigma")
    how = f"sigma {sigma:g}" if isinstance(sigma, int | float) else attack(setting)
    return ", ".join(filter(None, [kind, how]))


def cosines(results: Results, folder: Path | None) -> dict[str, np.ndarray]:
    """The LIGS of each picture by network, the mean over its draws, (n,), those without one left
    out; empty where there are none.

    Raises ValueError where the file is damaged.
    """
    held = stored(results, "ligs values", folder)
    if held is None:
        return {}
    ending, found = "/cosines", {}
    try:
        for name in (name for name in held if name.endswith(ending)):
            values = held[name].astype(np.float64)
            if values.ndim != 2 or values.shape[1] != len(held["labels"]):
                raise ValueError("cosines and labels differ in number")
            known = ~np.isnan(values)
            sums, counts = np.where(known, values, 0).sum(0), known.sum(0)
            found[name.removesuffix(ending)] = sums[counts > 0] / counts[counts > 0]
    except DAMAGED as error:
        raise damaged("the artifact", "ligs values", error) from None
    return {network: values for network, values in found.items() if len(values)}


def about_ligs(results: Results) -> tuple[str, str, str]:
    """Title, caption and words of the histogram."""
    each = "; ".join(f"{m.subject or 'the net'} {plain(m)}" for m in of_networks(results))
    return (
        "How alike the gradients are, picture by picture",
        "The share of pictures by their cosine; the dashed lines are the means, LIGS. To the right "
        "the loss is locally linear. One mean can stand for many pictures alike, or for some that "
        "are linear and some that are not.",
        f"Histograms of the cosine of each picture. Means: {each}. The table below holds them.",
    )


def watched(results: Results) -> dict[str, list[Measurement]]:
    """What was measured of each epoch beside loss and accuracies, by quantity."""
    found: dict[str, list[Measurement]] = {}
    for m in results.measurements:
        if "epoch" in m.setting and m.quantity not in DRAWN:
            found.setdefault(m.quantity, []).append(m)
    return found


def named(quantity: str) -> str:
    """A watched quantity as a reader meets it."""
    return "LIGS" if quantity == LIGS else quantity


def about_watched(results: Results) -> tuple[str, str, str]:
    """Title, caption and words of the curves of what was watched."""
    found = watched(results)
    ends = []
    for quantity, points in found.items():
        for subject in dict.fromkeys(m.subject for m in points):
            own = [m for m in points if m.subject == subject]
            shown = percent if is_accuracy(quantity) else plain
            whose = f" of {subject}" if subject else ""
            ends.append(f"{named(quantity)}{whose} from {shown(own[0])} to {shown(own[-1])}")
    splits = dict.fromkeys(m.split for points in found.values() for m in points)
    return (
        "Watched in training",
        f"By epoch, on {' and '.join(splits)}; bands are 95 % intervals over the pictures. A ring "
        "marks the epoch that was kept; nothing was chosen by these curves.",
        f"Curves by epoch, from the first to the last: {'; '.join(ends)}.",
    )
