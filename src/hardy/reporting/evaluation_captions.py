"""What is said of the figures of an evaluation: title, caption, and the words in their place."""

from __future__ import annotations

from hardy.evaluation.results import Results
from hardy.reporting.classes import by_class
from hardy.reporting.corruptions import corruptions
from hardy.reporting.curves import curves, ensembles
from hardy.reporting.equal_clean import equal_clean, level
from hardy.reporting.evaluation_tables import attacked_by
from hardy.reporting.figures.broken import BROKEN_SHOWN
from hardy.reporting.figures.thumbnails import AMPLIFIED
from hardy.reporting.wording import attack, count, number, radius

About = tuple[str, str, str]


def about_equal_clean(results: Results) -> About:
    """Of the curves of robust over clean accuracy."""
    found, at = equal_clean(results), level(results)
    _, robust = next(iter(found.values())).points[0]
    assert at is not None, "it was drawn"
    read = [one.reading for one in found.values() if one.reading is not None]
    values = ", ".join(f"{m.subject or 'the net'} {number(100 * m.value)} %" for m in read)
    return (
        "At equal clean accuracy",
        "A copy of each network is fine-tuned on clean pictures, and each curve runs from its own "
        "weights (large mark) to the copy's in tenths of the way, on the same "
        f"{count(robust.n)} pictures of {robust.split} under {attack(robust.setting)}, one start. "
        "Robust accuracy is read (rings, with 95 % intervals) where each curve first reaches the "
        "highest clean accuracy that one of the networks has by itself (dashed).",
        f"Curves of robust against clean accuracy for {len(found)} networks; at "
        f"{number(100 * at)} % clean: {values}. The table below holds the values.",
    )


def about_stages(results: Results) -> About:
    """Of the bars of an ensemble's stages."""
    found = ensembles(results)
    least = min(found, key=lambda one: one.stands)
    names = list(dict.fromkeys(one.attack for one in found))
    return (
        "What each stage of the attack broke",
        f"{'; '.join(names)}. Each stage attacks only what those before it left: a late stage "
        "that breaks much says that the early ones were misled. All pictures, in percent.",
        f"Bars for {len(found)} evaluations, from wrong when clean to standing; "
        f"{least.network or 'the net'} keeps least, {number(100 * least.stands, 1)} %.",
    )


def about_radius(results: Results) -> About:
    """Of the curves over the radius."""
    found = curves(results)
    first = next(iter(found.values()))
    attack, steps = first[0].setting.get("attack", ""), first[0].setting.get("steps", "")
    furthest = first[-1].setting
    ends = ", ".join(
        f"{network or 'the net'} {number(100 * points[-1].value, 1)} %"
        for network, points in found.items()
    )
    at = radius(furthest.get("norm"), furthest.get("eps"))
    return (
        "Robust accuracy over the radius",
        f"{attack}-{steps} on {count(first[0].n)} pictures of {first[0].split}; bands are 95 % "
        "intervals, the dashed line is the radius of the table. An attack this cheap bounds "
        "robust accuracy from above; a curve that does not fall towards 0 says that it fails.",
        f"A falling curve a network; at {at} stand: {ends}.",
    )


def about_confusion(results: Results) -> About:
    """Of the confusion matrices."""
    return (
        "Which class is taken for which",
        f"Percent of each true class (row). Left without an attack, right under "
        f"{attacked_by(results) or 'the attack'}; what a network gets wrong without an attack "
        "counts there with the class that it says then.",
        "Confusion matrices, a pair a network; the tables below hold the accuracy of every "
        "class and the classes confused most.",
    )


def about_classes(results: Results) -> About:
    """Of the accuracy of every class under the attack over that without."""
    found = by_class(results)
    classes = {name for of in found.values() for name in of}
    return (
        "Which classes give way",
        "A dot a class: on the line the attack costs nothing, at the bottom it breaks every "
        f"picture. Under {attacked_by(results) or 'the attack'}. Names are shown for the "
        "extreme classes, where there is room.",
        f"Accuracy of {count(len(classes))} classes under the attack against that without, "
        f"a panel for each of {len(found)} networks; the table below holds all values.",
    )


def about_corruptions(results: Results) -> About:
    """Of the map of corruptions."""
    found = corruptions(results)
    assert found is not None, "it was drawn"
    some = next(iter(found.cells.values()))
    source = {"generated": "Generated here", "published": "The published pictures"}
    parameters = some.setting.get("parameters")
    how = source.get(str(some.setting.get("source")), "Pictures of unknown origin")
    how += f", with the parameters of {parameters}" if parameters else ""
    worst = min(found.cells.values(), key=lambda m: m.value)
    name = str(worst.setting["corruption"]).replace("_", " ")
    return (
        "Common corruptions",
        f"Accuracy in percent by corruption and severity, on {count(some.n)} pictures of "
        f"{some.split}. {how}."
        + (" Differences to the first network in points." if len(found.networks) > 1 else ""),
        f"A map of accuracy by corruption and severity for {len(found.networks)} networks; the "
        f"lowest cell is {number(100 * worst.value, 1)} % ({worst.subject or 'the net'}, {name}, "
        f"severity {worst.setting['severity']}). The tables below hold all values.",
    )


def about_broken(results: Results) -> About:
    """Of the pictures that break."""
    return (
        "Pictures that break",
        f"At most {BROKEN_SHOWN} pictures that are right when clean and broken by "
        f"{attacked_by(results) or 'the attack'} for one network at least. Above each its true "
        "class, below what the network takes it for, ✓ right, ✗ wrong. What the attack adds is "
        f"amplified {AMPLIFIED} times around grey.",
        "Clean pictures, and for each network what breaks them, what was added, and the class "
        "that it then says.",
    )
